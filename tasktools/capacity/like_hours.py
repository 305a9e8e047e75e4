"""Hours like this one: the recorded traffic around the same time of day, simulated with a replay.

Each window begins within 45 minutes of that time on one of the days before, after an hour that
fills the queue as it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray, TopicDemand
from tasktools.capacity.models import Pool, needs_events
from tasktools.capacity.pools import PoolTopic, pool_waits
from tasktools.capacity.simulation import (
    IntArray,
    Retries,
    Tasks,
    completed_services,
    in_order,
    simulated_waits,
    tasks_of,
)

DAY: Final = 86_400.0
WARM_UP: Final = 3600.0
"""Seconds before each window, in which the queue fills."""
_DAYS: Final = 7
_OFFSETS: Final = tuple(60.0 * minutes for minutes in (-45, -27, -9, 9, 27, 45))
_SEED: Final = 41
_SLACK: Final = 600.0  # seconds of traffic that are simulated beyond the last message that is sent
_MAX_EXTENSIONS: Final = 6
_POOL_BUDGET: Final = 1_000_000
"""Tries of all windows of a pool, of which one takes a microsecond at each rate."""
_DRAWN_BUDGET: Final = 1_000_000
"""Messages of all windows: they are in memory, and take some seconds at each rate."""
MAX_MESSAGES: Final = 200_000
"""Messages of a replay, or of a queue before it, that can be simulated."""


class LiveWaits(NamedTuple):
    """Waits (s) of the live tasks that arrive in a window, until the last replayed task begins."""

    waits: FloatArray
    lasts: float
    """Seconds from the first message that is sent to the begin of the last task."""


@dataclass(frozen=True, slots=True)
class Window:
    """The traffic around one start, which is at 0, and the tasks that are replayed there."""

    start: float
    """Seconds since the epoch."""
    until: float
    """Seconds for which traffic was recorded from the start on."""
    live: Mapping[str, Tasks]
    """Live tasks of all topics of the pool, from an hour before the start on."""
    replayed: Tasks
    """Replayed tasks, all at time 0."""
    backlog: Tasks
    """Tasks that wait already, at time 0."""


@dataclass(frozen=True, slots=True)
class LikeHours:
    """Windows of the pool of a topic, to be simulated at any rate."""

    topic: str
    pool: Pool
    slots: int
    limits: Mapping[str, int | None]
    is_pool: bool
    """Whether the pool must be simulated event by event (`models.needs_events`)."""
    windows: tuple[Window, ...]

    @property
    def days(self) -> int:
        """On how many days there are windows."""
        return len({window.start // DAY for window in self.windows})

    def waits(self, window: Window, rate: float | None) -> LiveWaits:
        """Return the waits of live tasks while messages are replayed at *rate* (messages a second).

        With `None` nothing is replayed, and the waits are those of an hour.
        """
        count = len(window.replayed.times) if rate is not None else 0
        sent = count / rate if rate else WARM_UP
        end = min(sent + _SLACK, window.until)
        waits, lasts = self._simulated(window, rate, end)
        for _ in range(_MAX_EXTENSIONS):
            if lasts <= end or end >= window.until:
                break
            end = min(2 * end, window.until)
            waits, lasts = self._simulated(window, rate, end)
        lasts = max(lasts, min(sent, window.until))
        live = window.live[self.topic].times
        is_counted = (live >= 0) & (live <= min(lasts, end))
        return LiveWaits(waits[is_counted[live <= end]], lasts)

    def _simulated(
        self, window: Window, rate: float | None, end: float
    ) -> tuple[FloatArray, float]:
        """Return the waits of the live tasks up to *end*, and when the last replayed one begins."""
        parts = {name: each.only(each.times <= end) for name, each in window.live.items()}
        live = parts[self.topic]
        added = window.backlog
        if rate is not None:
            times = np.arange(len(window.replayed.times)) / rate
            added = merged(added, replace(window.replayed, times=times))[0]
        parts[self.topic], order = merged(live, added)
        waits = self._waits(parts)
        by_task = np.empty(len(waits))
        by_task[order] = waits
        begun = added.times + by_task[len(live.times) :]
        return by_task[: len(live.times)], float(begun.max(initial=0.0))

    def _waits(self, tasks: Mapping[str, Tasks]) -> FloatArray:
        """Return the waits of the first tries of the topic's *tasks*."""
        if self.is_pool:
            topics = {name: PoolTopic(each, self.limits[name]) for name, each in tasks.items()}
            return pool_waits(self.pool.workers, topics)[self.topic]
        tries = in_order(tasks[self.topic])
        return simulated_waits(tries.times, tries.services, self.slots)[tries.is_first]


def like_hours(
    demand: Demand,
    pool: Pool,
    topic: str,
    *,
    at: float,
    messages: int,
    backlog: int = 0,
    parts: Sequence[Demand] = (),
) -> LikeHours:
    """Return the windows of *topic* for a replay of *messages* messages that begins *at* (s).

    *demand* has service times of each topic of *pool*; the pool has workers. The traffic is taken
    from *parts* of the demand that were read as a whole, if there are any, else from *demand*.
    """
    topics = {
        name: demand.topics[name]
        for name in pool.topics
        if len(demand.topics[name].arrivals) or name == topic
    }
    is_pool = needs_events(pool, topics)
    rng = np.random.default_rng(_SEED)
    windows: list[Window] = []
    backlog = min(backlog, MAX_MESSAGES)
    drawn = len(_OFFSETS) * _DAYS * (messages + backlog)
    step = _step(drawn, _DRAWN_BUDGET, most=len(_OFFSETS))
    for part in parts or (demand,):
        tasks = {name: tasks_of(part.topics[name]) for name in topics if name in part.topics}
        if topic not in tasks:
            continue
        for start, until in list(_starts(part, at))[::step]:
            live = {name: _shifted(each, start, until) for name, each in tasks.items()}
            replayed = _drawn(topics[topic], messages, rng)
            waiting = _drawn(topics[topic], backlog, rng)
            windows.append(Window(start, until - start, live, replayed, waiting))
    limits = {name: each.limit for name, each in topics.items()}
    slots, limit = pool.slots or 0, limits[topic]
    return LikeHours(
        topic,
        pool,
        slots if limit is None else min(slots, limit),
        limits,
        is_pool,
        _affordable(windows) if is_pool else tuple(windows),
    )


def _affordable(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return every window, or every second or third one, if there are too many tasks to simulate
    event by event."""
    tries = sum(each.tries for window in windows for each in window.live.values())
    return tuple(windows[:: _step(tries, _POOL_BUDGET, most=len(_OFFSETS) // 2)])


def _step(count: int, budget: int, *, most: int) -> int:
    """Return 1 to take every window, 2 for every second one, and so on."""
    return min(max(math.ceil(count / budget), 1), most)


def days_like(demand: Demand, at: float) -> list[float]:
    """Return the time of the day *at* on each of the last days of *demand*, the newest first."""
    newest = np.floor((demand.until - at) / DAY)
    return [float(at + (newest - day) * DAY) for day in range(_DAYS + 1)]


def _starts(demand: Demand, at: float) -> Iterator[tuple[float, float]]:
    """Yield the starts of windows, and until when traffic was recorded from there on."""
    for day in days_like(demand, at):
        for offset in _OFFSETS:
            start = day + offset
            for since, until in demand.recorded:
                if since <= start - WARM_UP and start + WARM_UP <= until:
                    yield start, until


def _shifted(tasks: Tasks, start: float, until: float) -> Tasks:
    """Return the tasks of a window, with the start at 0."""
    part = tasks.only((tasks.times >= start - WARM_UP) & (tasks.times < until))
    return replace(part, times=part.times - start)


def _drawn(topic: TopicDemand, count: int, rng: np.random.Generator) -> Tasks:
    """Return *count* tasks at time 0, with the service times and failures of others."""
    services, failed = completed_services(topic, rng)
    order = rng.integers(0, len(services), max(len(services), count))
    another = replace(
        topic,
        arrivals=np.zeros(count),
        service_times=services[order],
        failed=failed[order],
        censored=np.zeros(0),
    )
    return tasks_of(another)


def merged(first: Tasks, second: Tasks) -> tuple[Tasks, IntArray]:
    """Return the tasks of both in order of arrival, and the position of each in the list of all
    *first* tasks followed by all *second* tasks.
    """
    times = np.concatenate([first.times, second.times])
    order = np.argsort(times, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    rounds, before = [], len(first.times)
    for own, other in _rounds(first.retries, second.retries):
        after = np.concatenate([own.after, before + other.after])
        services = np.concatenate([own.services, other.services])
        rounds.append(Retries(place[after], services, own.delay or other.delay))
        place, before = np.arange(len(after)), len(own.after)
    services = np.concatenate([first.services, second.services])
    return Tasks(times[order], services[order], tuple(rounds)), order


def _rounds(
    first: Sequence[Retries], second: Sequence[Retries]
) -> Iterator[tuple[Retries, Retries]]:
    none = Retries(np.zeros(0, dtype=np.int64), np.zeros(0), 0.0)
    for number in range(max(len(first), len(second))):
        yield (
            first[number] if number < len(first) else none,
            second[number] if number < len(second) else none,
        )
