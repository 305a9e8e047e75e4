"""Running and queued tasks: from the events, and from looking at queues."""

from __future__ import annotations

import difflib
from collections import Counter
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
    PermissionDenied,
    UnknownTopic,
    Unreachable,
)
from tasktools.core.models import (
    ClusterState,
    RunningTask,
    SeenMessage,
    Source,
    TaskMessage,
    TopicSettings,
    Worker,
)
from tasktools.core.redaction import mask
from tasktools.core.schemas import ACTIVE_TASKS

Waiting = tuple[str, SeenMessage]
"""A topic, and a message seen in its queue."""

_MASKED_COLUMNS: Final = tuple(
    ACTIVE_TASKS.names.index(name) for name in ("args", "kwargs", "headers")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookReport:
    """What a look at one queue showed and cost; *refused* and *note* are in words."""

    queue: str
    cost: str | None
    why: str
    shown: int
    ready: int | None
    refused: bool = False
    note: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for `attrs["looks"]`."""
        return asdict(self)


def count_by_topic(running: Iterable[RunningTask]) -> Counter[str | None]:
    """Count running tasks by topic."""
    return Counter(task.topic for task in running)


def subscribers_by_topic(workers: Iterable[Worker]) -> Counter[str]:
    """Count the live workers that say they consume each topic."""
    live = (worker for worker in workers if worker.state in ("alive", "late"))
    return Counter(topic for worker in live for topic in set(worker.topics))


def kept_settings(broker: Broker) -> tuple[Mapping[str, TopicSettings], str | None]:
    """Return the settings that the broker keeps; where they cannot be read none, and why."""
    try:
        return broker.topic_settings(), None
    except (PermissionDenied, BrokerTimeout) as error:
        return {}, f"kept settings of topics could not be read: {error}"


def check_known(broker: Broker, state: ClusterState, topic: str) -> None:
    """Raise `UnknownTopic` when *topic* has no queue and no worker has ever spoken of it."""
    if topic not in state.topics and not broker.topic_exists(topic):
        raise unknown_topic(broker, topic, state.topics)


def unknown_topic(broker: Broker, topic: str, known: Iterable[str] = ()) -> UnknownTopic:
    """Return the error for a topic without a queue, with the names it may have meant."""
    names = {*known, *(stats.topic for stats in broker.topic_report().topics if stats.exists)}
    close = difflib.get_close_matches(topic, sorted(names), n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "check its name."
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
    """Return the row of a running task, with what was *seen* of its message."""
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
        _since(run.started_at, now),
        seen and seen.args,
        seen and seen.kwargs,
        seen and seen.headers,
        None,
    )


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
        _since(task.published_at, now),
        task.args,
        task.kwargs,
        task.headers,
        task.problem,
    )


def _since(time: datetime | None, now: float) -> float | None:
    return None if time is None else now - time.timestamp()


def masked(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *row* with the secrets in arguments and headers masked."""
    return tuple(
        mask(value) if index in _MASKED_COLUMNS else value for index, value in enumerate(row)
    )
