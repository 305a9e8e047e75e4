"""Notes on facts that Celery does not report, with the setting that makes it report them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from tasktools.core.dialects.celery_control import EVENTS_SETTING
from tasktools.core.dialects.celery_workers import DIALECT, CeleryWorkers
from tasktools.core.errors import PermissionDenied
from tasktools.core.models import ClusterState, PrefetchedTask, RunningTask
from tasktools.core.workload import live_workers

_MAX_NAMED: Final = 3


def no_subscription(exchange: str, why: Exception) -> str:
    """Return in words that the events of Celery cannot be received."""
    grant = (
        f" Grant this user `read` on the exchange {exchange!r} and `write` on queues that begin "
        "with tasktools."
    )
    advice = grant if isinstance(why, PermissionDenied) else ""
    return f"Celery is here, but its events cannot be received ({why}){advice}"


def why_no_events(exchange: str, why: Exception | None = None) -> str:
    """Return why no events of Celery's workers arrive, as a part of a sentence; *why* they are
    refused, or `None` if there is no such *exchange*."""
    match why:
        case None:
            return f"the exchange {exchange!r} of their events does not exist"
        case PermissionDenied():
            return f"this user may not receive their events (`read` on the exchange {exchange!r})"
        case _:
            return f"their events cannot be received ({why})"


def no_events(exchange: str) -> str:
    """Return in words that Celery's workers send no events, not even heartbeats."""
    return (
        f"Celery is here, but the exchange of its events, {exchange!r}, does not exist: its "
        "workers have sent none yet, or send them to another exchange (event_exchange)"
    )


def no_control(exchange: str) -> str:
    """Return in words that no worker of Celery can be asked or commanded."""
    return (
        f"Celery is here, but the exchange {exchange!r}, over which its workers are asked, does "
        "not exist: none has started since the broker did, or they take no commands "
        "(worker_enable_remote_control), or from another exchange (control_exchange)"
    )


def unasked(exchange: str, why: Exception, permission: str) -> str:
    """Return a note that the workers of Celery cannot be queried; if this user lacks *permission*,
    the note says so."""
    grant = f"; grant this user {permission} on the exchange {exchange!r}"
    advice = grant if isinstance(why, PermissionDenied) else ""
    return (
        f"workers of Celery cannot be asked ({why}) Without that their capacity and queues are "
        f"not known, nor what they run without events of tasks{advice}"
    )


def notes(
    state: ClusterState,
    prefetched: Sequence[PrefetchedTask],
    workers: CeleryWorkers,
    connected: Collection[str],
) -> Iterator[str]:
    """Yield notes on missing facts of Celery's live workers and their tasks."""
    live = [each.worker_id for each in live_workers(state.workers) if each.dialect == DIALECT]
    known = [worker for name in live if (worker := workers.known.get(name)) is not None]
    mute = [worker.worker_id for worker in known if worker.sends_task_events is False]
    if mute and workers.are_subscribed:
        yield (
            f"{len(mute)} of {len(live)} workers of Celery send no events of their tasks, so that "
            f"their failures, counts and durations are not known: {_named(mute)}; "
            f"{EVENTS_SETTING}"
        )
    if silent := [name for name in live if name in connected]:
        yield (
            f"silent, and yet connected to RabbitMQ: {_named(silent)}; a worker of Celery with a "
            "solo pool sends no events while it runs a task"
        )
    if unanswered := [worker.worker_id for worker in known if not worker.has_answered]:
        yield (
            f"{len(unanswered)} of {len(live)} workers of Celery have not answered which queues "
            f"they consume, their pool's size or what they run: {_named(unanswered)}; a solo pool "
            "answers between two tasks"
        )
    if earlier := [worker.worker_id for worker in known if worker.misses_earlier]:
        yield (
            f"succeeded and failed are counted from {state.listening_since:%H:%M:%S} UTC on, when "
            f"this process began to listen, for {_named(earlier)}: Celery does not count them"
        )
    names = set(live)
    tasks = [run for run in state.running if run.worker_id in names]
    yield from _of_tasks([*tasks, *prefetched])


def _of_tasks(tasks: Sequence[RunningTask | PrefetchedTask]) -> Iterator[str]:
    without_topic = sum(task.topic is None for task in tasks)
    if without_topic:
        yield (
            f"the queue of {without_topic} running or prefetched tasks is not known: events of "
            "Celery do not name it, unless task_send_sent_event is set"
        )
    as_text = sum(isinstance(task.args, str) for task in tasks)
    if as_text:
        yield (
            f"arguments of {as_text} tasks are Celery's own text, a repr that may be cut; workers "
            "are asked for the arguments themselves every 30 s"
        )


def _named(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_MAX_NAMED]) + (", …" if len(listed) > _MAX_NAMED else "")
