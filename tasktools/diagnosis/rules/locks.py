"""Checks of locks: those of workers that are gone, lost tokens, and locks held for too long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Final

from tasktools.core.models import Lock, Worker
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Finding, Judgement, Rule, Severity
from tasktools.diagnosis.readings import (
    SILENT_AFTER,
    heard_for,
    is_connection_of,
    needs_events,
    needs_server,
)

_UNANNOUNCED_SECONDS: Final = 330.0
"""Seconds without an announcement after which nobody holds a lock: a peer releases it after 300
s."""
_LONG_SECONDS: Final = 300.0
_TIMES_USUAL: Final = 10.0
"""Least seconds, and least multiple of the usual, for which a lock is held too long."""
_MIN_HOLDS: Final = 5
"""Earlier holds that are needed to know the usual duration of a lock's holds."""
_MAX_NAMED: Final = 10  # locks


def _lock_orphaned(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None and _may_be_held(facts):
        yield needs_events(facts, "who holds locks")
    workers = {worker.worker_id: worker for worker in facts.state.workers}
    by_holder: defaultdict[str, list[Lock]] = defaultdict(list)
    for lock in facts.state.locks:
        holder = workers.get(lock.worker_id or "")
        if lock.worker_id and (lock.orphaned or (holder and _is_cut_off(facts, holder))):
            by_holder[lock.worker_id].append(lock)
    for worker_id, locks in sorted(by_holder.items()):
        locks.sort(key=lambda lock: (_acquired(lock) or 0.0, lock.lock))
        yield _orphaned(facts, worker_id, workers.get(worker_id), locks)


def _may_be_held(facts: Facts) -> bool:
    """Whether a lock may be held; false for a lock of peers whose token is in its queue."""
    if facts.state.locks or facts.server is None or facts.server.queues is None:
        return True
    return any(ready != 1 for ready, _ in facts.locks_of_peers.values())


def _is_cut_off(facts: Facts, worker: Worker) -> bool:
    """Whether *worker* is silent and its connection is gone (only workers of tasktools name
    theirs)."""
    connections = facts.server.connections if facts.server else None
    if not worker.is_tasktools or connections is None or (worker.silence or 0) < SILENT_AFTER:
        return False
    return not any(is_connection_of(each, worker) for each in connections)


def _orphaned(facts: Facts, worker_id: str, worker: Worker | None, locks: list[Lock]) -> Finding:
    oldest = locks[0]
    # Peers publish a task again and again that wants a lock which is held.
    tasks = {lock.task_id for lock in locks}
    orphans = (orphan.task for orphan in facts.orphans)
    topics = {task.topic for task in (*orphans, *facts.state.running) if task.task_id in tasks}
    silence = worker.silence if worker else None
    more = f" and {len(locks) - 1} more" if len(locks) > 1 else ""
    gone = f"is gone: silent for {in_words(silence)}" if silence is not None else "is gone"
    return Finding(
        check="lock_orphaned",
        severity="warning",
        subject_kind="lock",
        subject=oldest.lock,
        finding=f"Lock {oldest.lock!r}{more} is held by {worker_id!r}, which {gone}.",
        evidence={
            "locks": [lock.lock for lock in locks[:_MAX_NAMED]],
            "count": len(locks),
            "silence": silence,
            "held for": _held_for(facts, oldest),
        },
        since=None if silence is None else facts.at - silence,
        remedy="Release it, once it is certain that the worker does not run any more.",
        call=f"cluster.force_release_lock({oldest.lock!r})",
        needs=("events",),
        needs_second_look=True,
        topics=tuple(sorted(topic for topic in topics if topic is not None)),
        workers=(worker_id,),
    )


def _acquired(lock: Lock) -> float | None:
    return None if lock.acquired_at is None else lock.acquired_at.timestamp()


def _held_for(facts: Facts, lock: Lock) -> float | None:
    acquired = _acquired(lock)
    return None if acquired is None else round(facts.at - acquired, 1)


def _lock_token_lost(facts: Facts) -> Iterator[Judgement]:
    held = {lock.lock: lock for lock in facts.state.locks}
    if facts.layout.has_lock_tokens and (facts.server is None or facts.server.queues is None):
        if held or heard_for(facts) < _UNANNOUNCED_SECONDS:
            yield needs_server(facts, "queues", "whether the tokens of locks are there")
        return
    for name, (ready, unacked) in sorted(facts.locks_of_peers.items()):
        if (ready, unacked) == (0, 0):
            finding = _token_lost(facts, name, held.get(name))
            if finding is not None:
                yield finding


def _token_lost(facts: Facts, name: str, lock: Lock | None) -> Finding | None:
    """Judge a lock whose token is not in its queue.

    While a live peer holds the lock the token is missing as well, since a peer acknowledges it.
    """
    severity: Severity = "suspect"
    if lock is not None:
        duration = _held_for(facts, lock)
        if not lock.orphaned and (duration or 0.0) < _UNANNOUNCED_SECONDS:
            return None  # held
        severity = "warning"
        why = (
            "its holder is gone" if lock.orphaned else f"it was taken {in_words(duration or 0)} ago"
        )
    else:
        why = f"nobody took it within the {in_words(heard_for(facts))} for which events are known"
        if heard_for(facts) >= _UNANNOUNCED_SECONDS:
            severity = "warning"
    return Finding(
        check="lock_token_lost",
        severity=severity,
        subject_kind="lock",
        subject=name,
        finding=(
            f"The token of lock {name!r} is neither in its queue nor held by anybody, and "
            f"{why}: tasks that want the lock wait for ever."
        ),
        evidence={
            "ready": 0,
            "unacked": 0,
            "holder": lock.worker_id if lock else None,
            "held for": _held_for(facts, lock) if lock else None,
        },
        remedy="Release the lock, which puts a token back, once nobody holds it.",
        call=f"cluster.force_release_lock({name!r})",
        needs=("management", "events"),
        needs_second_look=True,
        workers=(lock.worker_id,) if lock and lock.worker_id else (),
    )


def _lock_held_long(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None and _may_be_held(facts):
        yield needs_events(facts, "for how long locks are held")
    for lock in facts.state.locks:
        duration = _held_for(facts, lock)
        if lock.orphaned or duration is None or duration <= _LONG_SECONDS:
            continue
        earlier = facts.lock_holds.get(lock.lock, ())
        if len(earlier) < _MIN_HOLDS:
            what = f"for how long {lock.lock!r} is usually held ({counted(len(earlier), 'hold')})"
            yield needs_events(facts, what)
        elif duration > _TIMES_USUAL * median(earlier):
            yield _long(facts, lock, duration, median(earlier), len(earlier))


def _long(facts: Facts, lock: Lock, duration: float, usual: float, holds: int) -> Finding:
    return Finding(
        check="lock_held_long",
        severity="warning",
        subject_kind="lock",
        subject=lock.lock,
        finding=(
            f"Lock {lock.lock!r} is held by {lock.worker_id!r} for {in_words(duration)}; usually "
            f"it is held for {in_words(usual)}."
        ),
        evidence={
            "held for": duration,
            "usual": round(usual, 1),
            "earlier holds": holds,
            "task": lock.task_id,
        },
        since=facts.at - duration + max(_TIMES_USUAL * usual, _LONG_SECONDS),
        remedy="See whether the task that holds it still runs; release it only if it does not.",
        call="cluster.locks()",
        needs=("events",),
        needs_second_look=True,
        workers=(lock.worker_id,) if lock.worker_id else (),
    )


RULES: Final = (
    Rule("lock_orphaned", 7, _lock_orphaned, "locks of workers that are gone"),
    Rule("lock_token_lost", 7, _lock_token_lost, "locks of which the token is lost"),
    Rule("lock_held_long", 7, _lock_held_long, "locks held far longer than usual"),
)
"""Checks of locks."""
