"""The rule about poison: a task that ends its workers, or that never ends itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from tasktools.core.events import REQUEUED
from tasktools.core.models import Orphan
from tasktools.core.plurals import counted
from tasktools.diagnosis.facts import Facts, TaskEnd
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import heard_for, judged_topics, may_move, needs_events
from tasktools.diagnosis.worker_reports import dialect_of, needs_task_events

MIN_BEGINS: Final = 3
"""Begins of a task without an end, from which on it is poison."""
MIN_DEATHS: Final = 2
"""Workers that died with a task, from which on it is poison."""
_QUICK_SECONDS: Final = 30.0  # from the begin of a poison task to the end of its worker
_BEGINS_SECONDS: Final = 180.0  # in which a poison task begins again and again
_HEARD_SECONDS: Final = 20.0  # for which events are needed


def poison_task(facts: Facts) -> Iterator[Judgement]:
    """Find tasks that begin again and again, or end their worker's process."""
    if heard_for(facts) < _HEARD_SECONDS:
        yield needs_events(facts, "which tasks begin and end")
        return
    moving = (topic for topic in judged_topics(facts) if may_move(facts, topic))
    yield from needs_task_events(facts, moving, "which tasks begin and end")
    deaths = _deaths(facts)
    begun = _begun_without_end(facts)
    for task_id in sorted({*deaths, *begun}):
        orphans, begins = deaths.get(task_id, ()), begun.get(task_id, ())
        topic = _topic(facts, task_id, orphans)
        yield _poison(facts, task_id, topic, orphans, begins)


def _deaths(facts: Facts) -> dict[str, Sequence[Orphan]]:
    """Return tasks during which several workers died soon after the begin."""
    by_task: defaultdict[str, dict[str, Orphan]] = defaultdict(dict)
    for orphan in facts.orphans:
        started = orphan.task.started_at
        if started is not None and orphan.silent_since - started.timestamp() <= _QUICK_SECONDS:
            by_task[orphan.task.task_id][orphan.task.worker_id] = orphan
    return {
        task: tuple(orphans.values())
        for task, orphans in by_task.items()
        if len(orphans) >= MIN_DEATHS
    }


def _begun_without_end(facts: Facts) -> dict[str, Sequence[float]]:
    """Return the begins of tasks with several begins and no end; a try whose message was given
    back is no end."""
    counts = Counter(begin.task_id for begin in facts.begins)
    often = {task for task, count in counts.items() if count >= MIN_BEGINS}
    ended = {end.task_id for end in facts.ends if end.task_id in often and not _is_return(end)}
    begins: defaultdict[str, list[float]] = defaultdict(list)
    for begin in facts.begins:
        if begin.task_id in often - ended:
            begins[begin.task_id].append(begin.at)
    return {task: sorted(times) for task, times in begins.items()}


def _is_return(end: TaskEnd) -> bool:
    return end.error == REQUEUED


def _topic(facts: Facts, task_id: str, orphans: Sequence[Orphan]) -> str | None:
    of_orphans = (orphan.task.topic for orphan in orphans)
    of_begins = (begin.topic for begin in facts.begins if begin.task_id == task_id)
    return next((topic for topic in (*of_orphans, *of_begins) if topic is not None), None)


def _poison(
    facts: Facts,
    task_id: str,
    topic: str | None,
    orphans: Sequence[Orphan],
    begins: Sequence[float],
) -> Finding:
    workers = tuple(sorted({orphan.task.worker_id for orphan in orphans}))
    is_quick = len(begins) >= MIN_BEGINS and begins[-1] - begins[-MIN_BEGINS] <= _BEGINS_SECONDS
    where = "" if topic is None else f" of {topic}"
    returns = sum(end.task_id == task_id and _is_return(end) for end in facts.ends)
    is_revocable = "revoke" in dialect_of(facts, facts.topics.get(topic or "")).commands
    if workers:
        sentence = (
            f"{counted(len(workers), 'worker')} fell silent within 30 s of beginning the task "
            f"{task_id}{where}."
        )
    else:
        sentence = f"The task {task_id}{where} was begun {len(begins)} times, and never ended"
        given_back = f": its message was given back to the queue {counted(returns, 'time')}"
        sentence += f"{given_back if returns else ''}."
    return Finding(
        check="poison_task",
        # A task that outlives several deploys is begun as often, but not as quickly.
        severity="critical" if workers else "warning" if is_quick else "suspect",
        subject_kind="task",
        subject=task_id,
        finding=sentence,
        evidence={
            "begins without an end": len(begins),
            "given back": returns,
            "workers that fell silent": list(workers),
        },
        against={"a deploy": "would end the workers of longer tasks, too"},
        since=begins[0] if begins else min(orphan.silent_since for orphan in orphans),
        remedy=(
            "Revoke it: a worker then drops it when it comes next (and forgets that when it is "
            "restarted). See in the worker's log what ends the process, or why it gives the "
            "message back."
            if is_revocable
            else "Take the message out of its queue while no worker holds it (stop its workers), "
            "and archive it with `plan_discard`."
        ),
        call=(
            f"cluster.revoke({task_id!r})"
            if is_revocable
            else f"cluster.task_events(task_id={task_id!r})"
        ),
        needs=("events",),
        topics=() if topic is None else (topic,),
        workers=workers,
    )


RULES: Final = (Rule("poison_task", 3, poison_task, "a task that ends its workers, or never ends"),)
