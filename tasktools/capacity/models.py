"""Models of how long tasks wait with a given number of slots or workers.

A unit is a slot if the workers have one topic, and a worker if topics share the workers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import numpy as np

from tasktools.capacity.demand import Demand, FloatArray, TopicDemand, WorkerSlots
from tasktools.capacity.need import MAX_UNITS, LateShares
from tasktools.capacity.pools import PoolQueues, PoolTopic
from tasktools.capacity.sampling import Span, span_of
from tasktools.capacity.share_interval import Blocks, Share
from tasktools.capacity.simulation import Queue, Tasks, in_order

_MIN_PAUSE: Final = 60.0  # seconds
Method = Literal["trace", "events"]
Checkpoint = Callable[[], object]
"""Is called before each simulation; what it raises ends the computation."""

_TRACE_BUDGET: Final = 200_000
"""Tries of a topic; of more, hours are drawn."""
_POOL_BUDGET: Final = 60_000
"""Tries of all topics of a pool likewise: a try takes four times as long."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Topics that are connected by workers that consume several of them."""

    topics: tuple[str, ...]
    workers: tuple[WorkerSlots, ...]

    @property
    def capacity(self) -> int | None:
        """The most frequent capacity of a worker; `None` without workers."""
        counts = Counter(worker.capacity for worker in self.workers)
        return max(counts, key=lambda size: (counts[size], size)) if counts else None

    @property
    def slots(self) -> int | None:
        """The slots of all workers; `None` without workers."""
        return sum(worker.capacity for worker in self.workers) if self.workers else None

    def of_workers(self, count: int) -> tuple[WorkerSlots, ...]:
        """Return *count* workers, with the recorded kinds in equal proportion."""
        kinds: dict[tuple[str, ...], list[WorkerSlots]] = {}
        for worker in self.workers:
            kinds.setdefault(worker.topics, []).append(worker)
        most = max(map(len, kinds.values()))
        in_turn = [
            workers[turn]
            for turn in range(most)
            for workers in kinds.values()
            if turn < len(workers)
        ]
        return tuple(in_turn[place % len(in_turn)] for place in range(count))


def pools_of(demand: Demand) -> list[Pool]:
    """Return the pools of *demand*; a topic without workers is a pool of its own."""
    present = _present(demand)
    group = {name: {name} for name in demand.topics}
    for worker in present:
        names = [name for name in worker.topics if name in group]
        joined: set[str] = set().union(*(group[name] for name in names))
        for name in joined:
            group[name] = joined
    pools: list[Pool] = []
    seen: set[str] = set()
    for name in demand.topics:
        if name not in seen:
            members = group[name]
            seen |= members
            workers = tuple(each for each in present if members.intersection(each.topics))
            pools.append(Pool(tuple(sorted(members)), workers))
    return pools


def _present(demand: Demand) -> tuple[WorkerSlots, ...]:
    """Return the last recorded workers; cached, since a solver asks a thousand times."""
    latest = max((worker.until for worker in demand.workers), default=0.0)
    pause = max(2 * (demand.until - demand.since) / 1_000, _MIN_PAUSE)
    return tuple(
        worker
        for worker in demand.workers
        if worker.until >= latest - pause and worker.capacity > 0
    )


class Model(Protocol):
    """A model of the topics of a pool."""

    method: Method
    unit: float
    """Slots of a unit in the mean."""
    most: int
    """Units that are tried at most."""

    is_sampled: bool
    """Whether only a part of the recording is simulated."""

    def slots(self, units: int) -> int:
        """Return the slots of *units* units."""

    def late(self, topic: str) -> LateShares:
        """Return the late shares of *topic* by number of units."""

    def waits(self, topic: str, units: int) -> FloatArray:
        """Return the waits (s) of the counted tasks of *topic* (not those of a warm-up)."""

    def blocks(self, topic: str) -> Blocks:
        """Return the blocks of these tasks."""

    def times(self, topic: str) -> FloatArray:
        """Return the arrivals of the counted tasks, in seconds since the epoch."""


class TraceModel:
    """One topic alone on its workers: the recorded tasks, taken in order by a number of slots."""

    method: Method = "trace"
    unit = 1.0
    most = MAX_UNITS

    def __init__(self, tasks: Tasks, span: Span, wait_below: float, checkpoint: Checkpoint) -> None:
        tries = in_order(tasks)
        self._checkpoint = checkpoint
        self.is_sampled = span.starts is not None
        mask = span.simulated(tries.times)
        times = tries.times[mask]
        self._queue = Queue(times, tries.services[mask])
        self._counted = tries.is_first[mask] & span.counted(times)
        self._counted_times = times[self._counted]
        self._blocks = span.blocks(self._counted_times)
        self._waits: dict[int, FloatArray] = {}
        self._late = LateShares(
            lambda slots: self._blocks.share(self.waits("", slots) > wait_below)
        )

    def slots(self, units: int) -> int:
        """Return *units*: a unit is one slot."""
        return units

    def late(self, topic: str) -> LateShares:
        """Return the late shares by number of slots."""
        del topic
        return self._late

    def waits(self, topic: str, units: int) -> FloatArray:
        """Return the waits (s) of the counted tasks (not those of a warm-up)."""
        del topic
        if units not in self._waits:
            self._checkpoint()
            self._waits[units] = self._queue.waits(units)[self._counted]
        return self._waits[units]

    def blocks(self, topic: str) -> Blocks:
        """Return the blocks of these tasks."""
        del topic
        return self._blocks

    def times(self, topic: str) -> FloatArray:
        """Return the arrivals of these tasks."""
        del topic
        return self._counted_times


class PoolModel:
    """Topics that share workers: the recorded tasks, event by event."""

    method: Method = "events"

    def __init__(
        self,
        pool: Pool,
        topics: Mapping[str, PoolTopic],
        span: Span,
        wait_below: float,
        load: float,
        checkpoint: Checkpoint,
        prefetch: int | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        self.unit = (pool.slots or 1) / max(len(pool.workers), 1)
        tasks = {name: topic.tasks for name, topic in topics.items()}
        self.most = min(64 + 20 * guess_of(load / self.unit), MAX_UNITS)
        self._pool = pool if prefetch is None else replace(pool, workers=_with(pool, prefetch))
        self.is_sampled = span.starts is not None
        masks = {name: span.simulated(each.times) for name, each in tasks.items()}
        parts = {name: each.only(masks[name]) for name, each in tasks.items()}
        self._counted = {name: span.counted(each.times) for name, each in parts.items()}
        self._times = {name: each.times[self._counted[name]] for name, each in parts.items()}
        self._blocks = {name: span.blocks(times) for name, times in self._times.items()}
        limited = {name: PoolTopic(each, topics[name].limit) for name, each in parts.items()}
        self._queues = PoolQueues(limited)
        self._simulated: dict[int, dict[str, FloatArray]] = {}
        self._wait_below = wait_below
        self._late = {name: self._shares(name) for name in tasks}

    def _shares(self, topic: str) -> LateShares:
        def simulate(units: int) -> Share:
            return self._blocks[topic].share(self.waits(topic, units) > self._wait_below)

        return LateShares(simulate, most=self.most, is_coarse=True)

    def slots(self, units: int) -> int:
        """Return the slots of *workers* workers, with the recorded kinds in equal proportion."""
        return sum(worker.capacity for worker in self._pool.of_workers(units))

    def late(self, topic: str) -> LateShares:
        """Return the late shares of *topic* by number of workers."""
        return self._late[topic]

    def waits(self, topic: str, units: int) -> FloatArray:
        """Return the waits (s) of the counted tasks of *topic* (not those of a warm-up)."""
        if units not in self._simulated:
            self._checkpoint()
            waits = self._queues.waits(self._pool.of_workers(units))
            self._simulated[units] = {name: waits[name][self._counted[name]] for name in waits}
        return self._simulated[units][topic]

    def blocks(self, topic: str) -> Blocks:
        """Return the blocks of these tasks."""
        return self._blocks[topic]

    def times(self, topic: str) -> FloatArray:
        """Return the arrivals of these tasks."""
        return self._times[topic]


def _with(pool: Pool, prefetch: int) -> tuple[WorkerSlots, ...]:
    return tuple(
        replace(worker, prefetch=dict.fromkeys(worker.topics, prefetch)) for worker in pool.workers
    )


def simulated_span(demand: Demand, tasks: Sequence[Tasks], method: Method) -> Span:
    """Return the part of *demand* to simulate; shorter for many tasks, to limit the time."""
    tries = sum(each.tries for each in tasks)
    budget = _POOL_BUDGET if method == "events" else _TRACE_BUDGET
    return span_of(demand, tries, budget)


def needs_events(pool: Pool, topics: Mapping[str, TopicDemand]) -> bool:
    """Return whether a pool must be simulated event by event: it is more than one queue for equal
    slots."""
    if len(pool.topics) > 1 or not pool.workers or not topics:
        return len(pool.topics) > 1
    (name,) = pool.topics
    return topics[name].limit is not None or any(
        worker.prefetch.get(name, worker.capacity) != worker.capacity for worker in pool.workers
    )


def guess_of(load: float) -> int:
    """Return a first guess of slots for *load* (erlang)."""
    return max(math.ceil(load + 1.5 * math.sqrt(load)), 1)


def joined_tasks(parts: Sequence[Tasks]) -> Tasks:
    """Return all tasks in one queue."""
    if len(parts) == 1:
        return parts[0]
    tries = [in_order(part) for part in parts]
    times = np.concatenate([each.times for each in tries])
    order = np.argsort(times, kind="stable")
    return Tasks(times[order], np.concatenate([each.services for each in tries])[order], ())
