"""Rules about workers that are started again and again, and end soon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, Presence
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import SILENT_AFTER, heard_for, needs_events

RESTART_SECONDS: Final = 180.0
"""Seconds over which the starts of workers are counted."""
MIN_RESTARTS: Final = 3
"""Least number of workers that started on a host in that time."""
MIN_SHORT_LIVES: Final = 2
"""Least number of these workers that fell silent soon after."""
SHORT_LIFE: Final = 30.0
"""Seconds below which a worker's life is short; in a deploy workers live longer."""


def restart_loop(facts: Facts) -> Iterator[Judgement]:
    """Find hosts on which workers are started again and again, and die."""
    yield from _restarts(facts, "restart_loop")


def restarts_often(facts: Facts) -> Iterator[Judgement]:
    """Find hosts on which workers are started again and again, and say goodbye."""
    yield from _restarts(facts, "restarts_often")


def _restarts(facts: Facts, check: str) -> Iterator[Judgement]:
    if heard_for(facts) < SHORT_LIFE / 2:
        yield needs_events(facts, "which workers come and go")
        return
    groups: defaultdict[tuple[str, tuple[str, ...]], list[Presence]] = defaultdict(list)
    for each in facts.presence:
        if facts.at - _start(each) <= RESTART_SECONDS:
            groups[each.host or "an unknown host", tuple(sorted(set(each.topics)))].append(each)
    for (host, topics), started in sorted(groups.items()):
        short = [each for each in started if _end(each, facts.at) - _start(each) <= SHORT_LIFE]
        died = [each for each in short if each.stopped_at is None and _is_over(each, facts.at)]
        left = [each for each in short if each.stopped_at is not None]
        if len(started) < MIN_RESTARTS:
            continue
        if check == "restart_loop" and len(died) >= MIN_SHORT_LIVES:
            yield _restarted(host, topics, started, died, facts)
        elif check == "restarts_often" and len(left) >= MIN_RESTARTS:
            yield _restarted(host, topics, started, left, facts)


def _start(each: Presence) -> float:
    """Return the start of a worker: the reported time, or the time of its first event if that is
    earlier."""
    return min(each.first_beat, each.first_beat if each.started_at is None else each.started_at)


def _is_over(each: Presence, now: float) -> bool:
    return each.stopped_at is not None or now - each.last_beat >= SILENT_AFTER


def _end(each: Presence, now: float) -> float:
    if each.stopped_at is not None:
        return each.stopped_at
    return each.last_beat if _is_over(each, now) else float("inf")


def _restarted(
    host: str,
    topics: tuple[str, ...],
    started: list[Presence],
    ended: list[Presence],
    facts: Facts,
) -> Finding:
    is_loop = ended[0].stopped_at is None
    lives = [_end(each, facts.at) - _start(each) for each in ended]
    first, newest = min(map(_start, started)), max(started, key=_start)
    has_ended = _end(newest, facts.at) == float("inf") and facts.at - _start(newest) > SHORT_LIFE
    return Finding(
        check="restart_loop" if is_loop else "restarts_often",
        severity="critical" if is_loop and not has_ended else "suspect",
        subject_kind="worker",
        subject=f"{host}: {', '.join(topics)}",
        finding=(
            f"Workers of {', '.join(topics) or 'no topic'} start again and again on {host}: "
            f"{len(started)} in {in_words(facts.at - first)}, of which {len(ended)} "
            f"{'fell silent' if is_loop else 'said goodbye'} within {in_words(max(lives))}."
        ),
        evidence={
            "started": len(started),
            "ended soon": len(ended),
            "longest life": round(max(lives), 1),
        },
        against={
            "a deploy": "its workers live longer than 30 s, or say goodbye",
            "the newest worker": "lives for longer" if has_ended else "has just begun, or is gone",
        },
        since=first,
        remedy=(
            f"Read the log of the worker on {host}: a module that cannot be imported, a task that "
            "ends the process, too little memory."
        ),
        call="cluster.workers()",
        needs=("events",),
        topics=topics,
        workers=tuple(sorted({each.worker_id for each in started})),
    )


RULES: Final = (
    Rule("restart_loop", 4, restart_loop, "workers that die soon after each start"),
    Rule("restarts_often", 4, restarts_often, "workers that are started again and again"),
)
