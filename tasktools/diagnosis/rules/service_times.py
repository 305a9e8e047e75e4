"""The check of service times: tasks that take far longer than before."""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from tasktools.core.models import DurationReading
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import EarlierEnd, Facts, TaskEnd, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    heard_for,
    is_as_on_earlier_days,
    judged_topics,
    may_move,
    needs_events,
    subscribers_of,
)
from tasktools.diagnosis.worker_reports import needs_task_events

_RISEN_TIMES: Final = 3.0
_RISEN_SECONDS: Final = 0.05
"""Least factor, and least difference in seconds, by which a service time has risen."""
_RECENT_READINGS: Final = 24.0
"""Seconds of heartbeats, each with the tasks that ended in 3 s, that are compared with the time
before."""
_RECENT_ENDS: Final = 30.0
"""Seconds of ends of single tasks that are compared with the time before."""
_SLOT_SECONDS: Final = 3.0
_HIGH_SHARE: Final = 0.95
"""Share of the time before in which tasks must have taken less: where some tasks always take long,
a few of them in a row are no rise."""
_HIGHER_TIMES: Final = 1.2
"""Least factor by which tasks must take longer than these; smaller factors are within the error of
measurement."""
_SPANS: Final = 5
"""Number of neighbouring spans of time of which most must be long: in a rise that lasts, some are
not."""
_MIN_RECENT: Final = 8
_MIN_READ_BEFORE: Final = 15
_MIN_ENDED_BEFORE: Final = 20
"""Least number of tasks that ended recently, and before: from heartbeats, and from single ends."""
_MIN_SLOTS: Final = 8
_MIN_SHARE: Final = 0.1
"""Least number of slots of the time before, and its least share of the time since: a batch of short
tasks is not what is usual."""
_SAME_SHARE: Final = 0.5
"""Part of its share of the tasks now that a task name must have had before the rise."""
_MIN_HEARD_SECONDS: Final = 45.0
"""Least seconds of received events: fewer contain no time before the recent one."""


class _Slot(NamedTuple):
    """A span of time from *at* on, in which *tasks* ended: how long they took.

    Spans are compared, not tasks, so that a batch of short tasks does not make others look long.
    """

    at: float
    seconds: float
    tasks: int


class _Risen(msgspec.Struct, frozen=True):
    """Service times (s) of *recent* and of earlier tasks (*before*), by task name if known."""

    before: float
    recent: float
    count: int
    since: float
    task_name: str | None = None


def _service_time_risen(facts: Facts) -> Iterator[Judgement]:
    judged = list(judged_topics(facts))
    if heard_for(facts) < _MIN_HEARD_SECONDS:
        if any(may_move(facts, topic) for topic in judged):
            yield needs_events(facts, "how long tasks took before")
        return
    moving = (topic for topic in judged if may_move(facts, topic))
    yield from needs_task_events(facts, moving, "how long tasks take")
    names = _risen_names(facts)
    risen = {topic.topic: _of_topic(facts, topic, names) for topic in judged}
    unplaced = _place(facts, names, risen)
    for topic, change in sorted(risen.items()):
        if change is not None and not _is_usual_at_this_time(facts.topics[topic], change):
            yield _of_a_topic(topic, change, _alike(facts, topic, risen))
    for name, (change, topics) in sorted(unplaced.items()):
        yield _of_a_name(name, change, topics)


def _is_usual_at_this_time(topic: TopicFacts, risen: _Risen) -> bool:
    """Whether such tasks took as long around the same time on earlier days."""
    days = [
        day.duration if risen.task_name is None else day.durations.get(risen.task_name)
        for day in topic.earlier_days
    ]
    return is_as_on_earlier_days(risen.recent, [each for each in days if each is not None])


def _place(
    facts: Facts, names: dict[str, _Risen | None], risen: dict[str, _Risen | None]
) -> dict[str, tuple[_Risen, list[str]]]:
    """Assign slow task names to their topics; return the rest with their possible topics: short
    tasks are seldom seen running."""
    seen: defaultdict[str | None, set[str]] = defaultdict(set)
    pairs = {(task.task_name, task.topic) for task in facts.state.running}
    pairs |= {(end.task_name, end.topic) for end in facts.ends}
    for task_name, topic in pairs:
        if topic in risen:
            seen[task_name].add(topic)
    workers = {worker.worker_id: worker.topics for worker in facts.state.workers}
    unplaced = {}
    for name, change in names.items():
        topics = seen[name] or {
            topic
            for worker_id, ran in facts.durations
            if ran == name
            for topic in workers.get(worker_id, ())
            if topic in risen
        }
        if change is None or any(risen[topic] for topic in topics):
            continue
        if len(topics) > 1 or not topics:
            unplaced[name] = (change, sorted(topics))
            continue
        (topic,) = topics
        others = seen.keys() - {name, None}  # an end without a received begin has no name
        is_only_name = not any(topic in seen[other] for other in others)
        if not (is_only_name and _begins_earlier(facts, topic, name)):
            risen[topic] = change
    return unplaced


def _begins_earlier(facts: Facts, topic: str, name: str) -> bool:
    """Whether more of the past is known of *topic* than of the tasks called *name*: if the topic
    has no other tasks, its own readings are the better evidence."""
    of_topic = (*facts.topics[topic].earlier_durations, *facts.topics[topic].durations)
    first = min((reading.at for reading in of_topic), default=math.inf)
    return first < min(reading.at for reading in facts.durations_by_name[name])


def _of_topic(facts: Facts, topic: TopicFacts, names: dict[str, _Risen | None]) -> _Risen | None:
    earlier = facts.earlier_ends_by_topic.get(topic.topic, ())
    by_ends = _by_ends([*earlier, *facts.ends_by_topic.get(topic.topic, ())], facts.at)
    by_readings = _by_readings((*topic.earlier_durations, *topic.durations), facts.at)
    if by_readings is not None and _is_another_mix(facts, topic, by_readings, names):
        by_readings = None
    return by_ends or by_readings


def _is_another_mix(
    facts: Facts, topic: TopicFacts, risen: _Risen, names: dict[str, _Risen | None]
) -> bool:
    """Whether no kind of task takes longer than before, but more tasks of a slower kind came.

    Readings by name are of the last two minutes. For a rise that began before the first reading,
    the names of the ended tasks are compared.
    """
    if not names or any(names.values()):
        return False
    if all(_is_known_before(facts.durations_by_name[name], risen.since) for name in names):
        return True
    ends = [end for end in facts.ends_by_topic.get(topic.topic, ()) if end.task_name is not None]
    after = Counter(end.task_name for end in ends if end.at >= risen.since)
    before = Counter(end.task_name for end in ends if end.at < risen.since)
    if not after or before.total() < _MIN_READ_BEFORE:
        return False  # peers name tasks in heartbeats only, and short ones seldom
    name, count = after.most_common(1)[0]
    return before[name] / before.total() < _SAME_SHARE * count / after.total()


def _is_known_before(readings: Iterable[DurationReading], since: float) -> bool:
    filled = [each for each in readings if each.durations.count and each.at <= since]
    return len(filled) >= _MIN_SLOTS


def _by_ends(ends: Iterable[TaskEnd | EarlierEnd], now: float) -> _Risen | None:
    """Compare the durations that workers report with each end, by task name.

    Peers tell names of tasks only in heartbeats, so that long tasks more often have one: an end
    without a name may be of any that ended before.
    """
    by_name: defaultdict[str | None, list[tuple[float, float]]] = defaultdict(list)
    of_any = []
    for end in ends:
        if end.duration is not None:
            by_name[end.task_name].append((end.at, end.duration))
            of_any.append((end.at, end.duration))
    for name, timed in by_name.items():
        earlier = of_any if name is None else timed
        recent = _in_slots((at, duration) for at, duration in timed if at > now - _RECENT_ENDS)
        before = _in_slots((at, duration) for at, duration in earlier if at <= now - _RECENT_ENDS)
        risen = _compared(before, recent, _MIN_ENDED_BEFORE, name)
        if risen is not None:
            return risen
    return None


def _in_slots(timed: Iterable[tuple[float, float]]) -> list[_Slot]:
    """Return the slots of time in which tasks ended, with the median of their durations."""
    slots: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for at, duration in timed:
        slots[int(at // _SLOT_SECONDS)].append((at, duration))
    return [
        _Slot(min(at for at, _ in each), median(duration for _, duration in each), len(each))
        for _, each in sorted(slots.items())
    ]


def _by_readings(
    readings: Iterable[DurationReading], now: float, task_name: str | None = None
) -> _Risen | None:
    """Compare the means of histogram readings; only the mean of a histogram is exact."""
    filled = sorted(
        (reading for reading in readings if reading.durations.count), key=lambda each: each.at
    )
    recent = [_slot_of(reading) for reading in filled if reading.at > now - _RECENT_READINGS]
    before = [_slot_of(reading) for reading in filled if reading.at <= now - _RECENT_READINGS]
    return _compared(before, recent, _MIN_READ_BEFORE, task_name)


def _slot_of(reading: DurationReading) -> _Slot:
    durations = reading.durations
    return _Slot(reading.at - reading.span, durations.sum / durations.count, durations.count)


def _count(readings: Iterable[DurationReading]) -> int:
    return sum(reading.durations.count for reading in readings)


def _compared(
    before: Sequence[_Slot], recent: Sequence[_Slot], min_before: int, task_name: str | None
) -> _Risen | None:
    """Return the rise of *recent* over the time before it, in which at least *min_before* tasks
    ended; `None` if there is none."""
    count = sum(slot.tasks for slot in recent)
    if count < _MIN_RECENT or sum(slot.tasks for slot in before) < min_before:
        return None
    new = median(slot.seconds for slot in recent)
    earlier = _time_before(before, new, min_before)
    if earlier is None:
        return None
    usual = median(slot.seconds for slot in before[:earlier])
    far = _far(usual)
    while before[earlier - 1].seconds > far:  # the rise has begun
        earlier -= 1
    since = min(slot.at for slot in (*before[earlier:], *recent) if slot.seconds > far)
    return _Risen(usual, new, count, since, task_name)


def _time_before(before: Sequence[_Slot], recent: float, min_count: int) -> int | None:
    """Return the number of slots in *before* that precede a rise to *recent* seconds; `None`: there
    is no rise.

    *recent* is far more than the median of these slots, and than nearly all of them. The rise
    continues in the remaining slots of *before*, however many they are: of any few neighbouring
    ones, most are far above that median, too.
    """
    least_after = _least_median_after([slot.seconds for slot in before])
    ascending: list[float] = []
    count = 0
    boundary = None
    for place, slot in enumerate(before):
        insort(ascending, slot.seconds)
        count += slot.tasks
        middle = len(ascending) // 2
        far = _far((ascending[middle] + ascending[~middle]) / 2)
        high = ascending[math.ceil(_HIGH_SHARE * len(ascending)) - 1]
        has_risen = recent > max(far, _HIGHER_TIMES * high) and least_after[place + 1] > far
        is_enough = place + 1 >= _MIN_SLOTS and count >= min_count
        span, later = slot.at - before[0].at, before[-1].at - slot.at
        if has_risen and is_enough and span >= _MIN_SHARE * later:
            boundary = place + 1
    return boundary


def _least_median_after(values: Sequence[float]) -> list[float]:
    """Return for each place the least median of neighbours from there on; none: infinity."""
    least = [math.inf] * (len(values) + 1)
    for place in reversed(range(len(values))):
        near = median(values[place : place + _SPANS])
        has_next = place + _SPANS < len(values)
        least[place] = min(near, least[place + 1]) if has_next else near
    return least


def _far(usual: float) -> float:
    return max(_RISEN_TIMES * usual, usual + _RISEN_SECONDS)


def _risen_names(facts: Facts) -> dict[str, _Risen | None]:
    """Return by how much the tasks of each name take longer; `None`: no longer than before."""
    known = {}
    for name, readings in facts.durations_by_name.items():
        if any(reading.at > facts.at - _RECENT_READINGS for reading in readings):
            known[name] = _by_readings(readings, facts.at, name)
    return known


def _alike(facts: Facts, name: str, risen: dict[str, _Risen | None]) -> list[str]:
    """Return the other topics on the same hosts, if the service times of all of them rose, too."""
    by_topic = subscribers_of(facts)
    hosts = {worker.host for worker in by_topic.get(name, ()) if worker.host}
    there = {
        topic
        for topic, workers in by_topic.items()
        if topic != name and hosts & {worker.host for worker in workers}
    }
    moving = {topic for topic in there if _has_recent(facts, topic)}
    return sorted(moving) if moving and all(risen.get(topic) for topic in moving) else []


def _has_recent(facts: Facts, name: str) -> bool:
    topic = facts.topics.get(name)
    ends = facts.ends_by_topic.get(name, ())
    by_end = sum(end.at > facts.at - _RECENT_ENDS for end in ends if end.duration is not None)
    since = facts.at - _RECENT_READINGS
    by_reading = _count(each for each in (topic.durations if topic else ()) if each.at > since)
    return by_end + by_reading >= _MIN_RECENT


def _of_a_topic(topic: str, change: _Risen, alike: list[str]) -> Finding:
    hosts = (
        f" So do those of {', '.join(map(repr, alike[:5]))} on the same hosts, which may be short "
        "of processor time."
        if alike
        else ""
    )
    name = f"{change.task_name!r} " if change.task_name else ""
    finding = _finding(f"{name}of {topic!r}", change, hosts)
    return replace(
        finding,
        subject_kind="topic",
        subject=topic,
        against={"other topics on these hosts that rose": alike},
        call=f"cluster.service_time({topic!r}, since='15min', every='30s')",
        topics=(topic,),
    )


def _of_a_name(name: str, change: _Risen, topics: list[str]) -> Finding:
    some = ", ".join(map(repr, topics[:5]))
    where = f" Workers of {some} run them." if topics else ""
    return replace(_finding(f"{name!r}", change, where), subject=name, topics=tuple(topics))


def _finding(what: str, change: _Risen, more: str) -> Finding:
    return Finding(
        check="service_time_risen",
        severity="warning",
        subject_kind="task",
        subject="",
        finding=(
            f"Tasks {what} take {in_words(change.recent)}, "
            f"{change.recent / max(change.before, 1e-3):.3g} times the "
            f"{in_words(change.before)} before.{more}"
        ),
        evidence={
            "seconds": round(change.recent, 3),
            "before": round(change.before, 3),
            "tasks": change.count,
            "task name": change.task_name,
        },
        since=change.since,
        remedy=(
            "See what these tasks call: a slower database or service is the most frequent cause. "
            "More workers would call it more."
        ),
        call="cluster.service_time(since='15min', every='30s')",
        needs=("events",),
    )


RULES: Final = (
    Rule("service_time_risen", 6, _service_time_risen, "tasks that take far longer than before"),
)
"""The check of service times."""
