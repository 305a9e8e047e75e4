"""The part of the facts from the minutes before their moment: attempts, workers, orphans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from tasktools.core.models import (
    ClusterState,
    DurationReading,
    Orphan,
    RunningTask,
    TopicReport,
    Worker,
)
from tasktools.core.redaction import Redaction
from tasktools.diagnosis.facts import EarlierEnd, Presence, TaskBegin, TaskEnd
from tasktools.diagnosis.readings import SILENT_AFTER
from tasktools.history.recent import RecentHistory
from tasktools.history.samples import Facts as WorkerFacts

_ATTEMPTS_SECONDS: Final = 900.0
EARLIER_SECONDS: Final = 4500.0
_PRESENCE_SECONDS: Final = 600.0
_LOST_SECONDS: Final = 3600.0
_HOLDS_SECONDS: Final = 86_400.0
_UNCONSUMED_SECONDS: Final = 90_000.0
"""Seconds of samples to read: more than the day that is judged, as old samples are 10 minutes
apart."""


def ends(recent: RecentHistory, redaction: Redaction) -> tuple[TaskEnd, ...]:
    """Return the ends of attempts of the last 15 minutes; secrets in errors are masked."""
    shown: dict[str, str] = {}

    def masked(text: str | None) -> str | None:
        if text is None:
            return None
        if text not in shown:  # the same few errors, thousands of times
            shown[text] = redaction.text(text)
        return shown[text]

    return tuple(
        TaskEnd(
            at=row.ended / 1000,
            task_id=row.task,
            topic=row.topic,
            task_name=row.name,
            worker_id=row.worker,
            succeeded=row.outcome == 0,
            duration=row.duration,
            error_type=masked(row.error_type),
            error=masked(row.error),
        )
        for row in recent.ends(_ATTEMPTS_SECONDS)
    )


def earlier_ends(
    recent: RecentHistory, later: Sequence[TaskEnd], now: float
) -> tuple[EarlierEnd, ...]:
    """Return some ends of the hour before those that are *later*."""
    since, until = now - EARLIER_SECONDS, now - _ATTEMPTS_SECONDS
    if later:  # of a busy cluster only the latest are read
        until = max(until, later[0].at)
    return tuple(
        EarlierEnd(row.ended / 1000, row.topic, row.name, row.duration)
        for row in recent.some_durations(since, until)
    )


def begins(recent: RecentHistory) -> tuple[TaskBegin, ...]:
    """Return the begins of attempts of the last 15 minutes."""
    return tuple(
        TaskBegin(at=row.started / 1000, task_id=row.task, topic=row.topic, worker_id=row.worker)
        for row in recent.begins(_ATTEMPTS_SECONDS)
    )


def lock_holds(recent: RecentHistory) -> dict[str, tuple[float, ...]]:
    """Return for how long each lock was held in the last day."""
    return {lock: tuple(holds) for lock, holds in recent.lock_holds(_HOLDS_SECONDS).items()}


def unconsumed(recent: RecentHistory, report: TopicReport | None) -> dict[str, float]:
    """Return for how long topics with messages have had no consumer, by all that was recorded."""
    topics = () if report is None else report.topics
    waiting = [each.topic for each in topics if each.queued and each.consumers == 0]
    return recent.unconsumed_for(waiting, _UNCONSUMED_SECONDS) if waiting else {}


def durations(state: ClusterState) -> dict[tuple[str, str], tuple[DurationReading, ...]]:
    """Return the histograms of workers for the last 2 minutes, by worker and task name."""
    readings: defaultdict[tuple[str, str], list[DurationReading]] = defaultdict(list)
    for each in state.recent_durations:
        for name, histogram in each.by_name.items():
            readings[each.worker_id, name].append(
                DurationReading(at=each.at, span=each.span, durations=histogram)
            )
    return {key: tuple(series) for key, series in readings.items()}


# --- workers --------------------------------------------------------------------------


def presence(state: ClusterState) -> tuple[Presence, ...]:
    """Return the workers of the last 10 minutes, by their own events."""
    begin = state.at.timestamp() - _PRESENCE_SECONDS
    seen = (_presence_of(worker) for worker in (*state.replaced, *state.workers))
    return tuple(each for each in seen if each is not None and each.last_beat > begin)


def _presence_of(worker: Worker) -> Presence | None:
    if worker.first_seen is None or worker.last_seen is None:
        return None  # only others spoke of it
    return Presence(
        worker_id=worker.worker_id,
        host=worker.host,
        role=worker.role,
        topics=worker.topics,
        started_at=None if worker.started_at is None else worker.started_at.timestamp(),
        first_beat=worker.first_seen.timestamp(),
        last_beat=worker.last_seen.timestamp(),
        stopped_at=None if worker.stopped_at is None else worker.stopped_at.timestamp(),
    )


def recorded_presence(recent: RecentHistory) -> tuple[Presence, ...]:
    """Return the workers of the last 10 minutes, as a recorder sampled them."""
    goodbyes = recent.goodbyes(_PRESENCE_SECONDS)
    return tuple(
        Presence(
            worker_id=row.worker,
            host=facts.host,
            role=facts.role,
            topics=facts.topics,
            started_at=facts.started_at,
            first_beat=row.first / 1000,
            last_beat=row.last / 1000,
            stopped_at=goodbyes.get(row.worker),
        )
        for row in recent.workers(_PRESENCE_SECONDS)
        for facts in (msgspec.json.decode(row.facts, type=WorkerFacts),)
    )


# --- orphans --------------------------------------------------------------------------


def orphans(state: ClusterState) -> tuple[Orphan, ...]:
    """Return the tasks of gone workers, and the running tasks of silent ones."""
    silent = _silent(state)
    running = [
        Orphan(task=run, silent_since=silent[run.worker_id])
        for run in state.running
        if run.worker_id in silent
    ]
    return (*state.orphans, *running)


def recorded_orphans(
    state: ClusterState,
    recent: RecentHistory,
    begun: tuple[TaskBegin, ...],
    ended: tuple[TaskEnd, ...],
) -> tuple[Orphan, ...]:
    """Return the orphans in a recording, which stores them as lost tasks; without tasks that
    *begun* or *ended* show to have run again since."""
    silent = _silent(state)
    goodbyes = recent.goodbyes(_LOST_SECONDS)
    worker_of = {begin.task_id: begin.worker_id for begin in begun}
    done = {end.task_id for end in ended}
    lost = [
        Orphan(
            task=RunningTask(
                task_id=row.task, worker_id=row.worker, topic=row.topic, task_name=row.name
            ),
            silent_since=silent[row.worker],
        )
        for row in recent.lost(_LOST_SECONDS)
        if row.worker in silent
        and row.worker not in goodbyes
        and worker_of.get(row.task, row.worker) == row.worker
        and row.task not in done
    ]
    return (*lost, *orphans(state))


def _silent(state: ClusterState) -> dict[str, float]:
    """Return since when workers are silent that did not say goodbye."""
    now = state.at.timestamp()
    return {
        worker.worker_id: now - worker.silence
        for worker in state.workers
        if worker.silence is not None
        and worker.silence >= SILENT_AFTER
        and worker.stopped_at is None
    }
