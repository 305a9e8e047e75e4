"""Running and queued tasks, from events and from peeking at queues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from tasktools.brokers.base import Broker
from tasktools.core.errors import (
    BrokerError,
    BrokerTimeout,
    Closed,
    ConnectionLost,
    LookRefused,
    UnknownTopic,
    Unreachable,
)
from tasktools.core.frames.schemas import ACTIVE_TASKS
from tasktools.core.models import (
    ClusterState,
    PrefetchedTask,
    RunningTask,
    SeenMessage,
    Source,
    TaskMessage,
    TopicSettings,
)
from tasktools.core.redaction import Redaction
from tasktools.core.suggestions import did_you_mean

Waiting = tuple[str, SeenMessage]
"""A topic and a message in its queue."""

_MAX_CLOCK_SKEW_SECONDS: Final = 1.0  # between machines with synchronised clocks
_MASKED_COLUMNS: Final = tuple(
    ACTIVE_TASKS.names.index(name) for name in ("args", "kwargs", "headers")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookReport:
    """The result and the cost of a look at one queue; `why` and `note` are in words."""

    queue: str
    cost: str | None
    why: str
    shown: int
    ready: int | None
    refused: bool = False
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the look as a dict for `attrs["looks"]`."""
        return asdict(self)


def kept_settings(broker: Broker) -> tuple[Mapping[str, TopicSettings], str | None]:
    """Return the settings that the broker stores, and why they could not be read, if so."""
    try:
        return broker.topic_settings(), None
    except (ConnectionLost, Unreachable, Closed):
        raise
    except BrokerError as error:  # no right, no answer, a limit of queues is reached
        return {}, f"stored settings of topics could not be read: {error}"


def check_known(broker: Broker, state: ClusterState, topic: str) -> None:
    """Raise `UnknownTopic` if *topic* has no queue and no worker has ever named it."""
    if topic not in state.topics and not broker.topic_exists(topic):
        raise unknown_topic(broker, topic, state.topics)


def unknown_topic(broker: Broker, topic: str, known: Iterable[str] = ()) -> UnknownTopic:
    """Return the error for a topic without a queue, with similar names."""
    names = {*known, *(stats.topic for stats in broker.topic_report().topics if stats.exists)}
    hint = did_you_mean(topic, names) or "check its name."
    return UnknownTopic(f"There is no topic {topic!r}; nothing was changed: {hint}")


def look_at_queues(
    broker: Broker, topics: Sequence[str], limit: int
) -> tuple[list[Waiting], list[LookReport]]:
    """Look at the queues of *topics*, at up to *limit* messages each."""
    waiting: list[Waiting] = []
    reports = []
    for topic in topics:
        try:
            look = broker.peek(topic, limit)
        except LookRefused as refusal:
            reports.append(_refused(topic, str(refusal)))
            continue
        except (ConnectionLost, Unreachable, BrokerTimeout, Closed):
            raise
        except BrokerError as error:  # this queue only: missing, exclusive, no right to read
            reports.append(_refused(topic, f"{topic}: {error}"))
            continue
        waiting += [(topic, message) for message in look.messages]
        reports.append(
            LookReport(
                queue=topic,
                cost=look.verdict.cost.value,
                why=look.verdict.why,
                shown=len(look.messages),
                ready=look.ready_before,
                note=look.note,
            )
        )
    return waiting, reports


def _refused(queue: str, why: str) -> LookReport:
    return LookReport(queue=queue, cost=None, why=why, shown=0, ready=None, refused=True)


def look_source(reports: Sequence[LookReport]) -> Source:
    """Return the looks as a source."""
    notes = [report.why for report in reports if report.refused]
    notes += [
        f"{report.queue}: {report.shown} of {report.ready} queued messages are shown"
        for report in reports
        if report.ready is not None and report.shown < report.ready
    ]
    notes += [f"{report.queue}: {report.note}" for report in reports if report.note]
    return Source(
        name="look",
        ok=not any(report.refused for report in reports),
        columns=tuple(c.name for c in ACTIVE_TASKS.columns if "look" in c.source),
        age=0.0,
        note="; ".join(notes) or None,
    )


def running_row(run: RunningTask, seen: TaskMessage | None, now: float) -> tuple[Any, ...]:
    """Return the row of a running task; *seen* is the task of its message, if known."""
    return (
        None,
        run.task_id,
        run.task_name or (seen and seen.task_name),
        run.topic,
        "running",
        run.worker_id,
        seen and seen.attempts,
        seen and seen.published_at,
        run.started_at,
        None,
        _since(run.started_at, now),
        *_arguments(run, seen),
        None,
    )


def prefetched_row(task: PrefetchedTask, seen: TaskMessage | None) -> tuple[Any, ...]:
    """Return the row of a prefetched task; *seen* is the task in its message, if that was seen."""
    return (
        None,
        task.task_id,
        task.task_name or (seen and seen.task_name),
        task.topic,
        "prefetched" if task.eta is None else "scheduled",
        task.worker_id,
        seen and seen.attempts,
        seen and seen.published_at,
        None,
        task.eta,
        None,
        *_arguments(task, seen),
        None,
    )


def _arguments(task: RunningTask | PrefetchedTask, seen: TaskMessage | None) -> tuple[Any, ...]:
    """Return arguments and headers: from the message, else as its worker reported them."""
    if seen is not None and seen.args is not None:
        return seen.args, seen.kwargs, seen.headers
    return task.args, task.kwargs, seen and seen.headers


def queued_row(topic: str, message: SeenMessage, now: float) -> tuple[Any, ...]:
    """Return the row of a queued task."""
    task = message.task
    return (
        message.key,
        task.task_id,
        task.task_name,
        topic,
        "queued",
        None,
        task.attempts,
        task.published_at,
        None,
        None,
        _since(task.published_at, now),
        task.args,
        task.kwargs,
        task.headers,
        task.problem,
    )


def _since(time: datetime | None, now: float) -> float | None:
    """Return the age (s) of *time*; missing if it lies in the future: the other machine's clock is
    ahead of ours."""
    age = None if time is None else now - time.timestamp()
    return age if age is None or age >= 0 else 0.0 if age > -_MAX_CLOCK_SKEW_SECONDS else None


def masked(row: tuple[Any, ...], redaction: Redaction) -> tuple[Any, ...]:
    """Return *row* with the secrets in arguments and headers masked."""
    return tuple(
        redaction.value(value) if index in _MASKED_COLUMNS else value
        for index, value in enumerate(row)
    )


def total(counts: Sequence[int | None]) -> int | None:
    """Return the sum of the known *counts*; `None` if there are counts but all are unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if known or not counts else None


def notes_of_totals(counts: Mapping[str, Sequence[int | None]]) -> list[str]:
    """Return in words which totals leave out topics with unknown *counts*."""
    return [
        f"{name} leaves out {each.count(None)} of {len(each)} topics, of which it is not known"
        for name, each in counts.items()
        if 0 < each.count(None) < len(each)
    ]
