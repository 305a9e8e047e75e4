"""Simulation of topics that share workers: prefetch, limits and retries, event by event.

A queue pushes its oldest message to the workers that have credit for its topic, in turn. Credit is
the prefetch less the messages that the worker holds unsettled, whether they run or wait for a slot
of it. With a limit, credit is the number of permits, each of which is a consumer with a turn of its
own: the workers that come first take them, as many as their prefetch, and keep them. A failed try
comes back after its delay, to the end of the queue.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasktools.capacity.demand import FloatArray, WorkerSlots
from tasktools.capacity.simulation import Tasks

_NONE = -1


@dataclass(frozen=True, slots=True)
class PoolTopic:
    """A topic of a pool: its tasks, and how many of them may be unsettled at once."""

    tasks: Tasks
    limit: int | None = None


def credits_of(workers: Sequence[WorkerSlots], topics: Mapping[str, PoolTopic]) -> list[list[int]]:
    """Return how many messages each worker holds of each topic at most."""
    left = {name: topic.limit for name, topic in topics.items()}
    rows = []
    for worker in workers:
        row = []
        for name in topics:
            credit = worker.prefetch.get(name, worker.capacity) if name in worker.topics else 0
            permits = left[name]
            if permits is not None:
                credit = min(credit, permits)
                left[name] = permits - credit
            row.append(credit)
        rows.append(row)
    return rows


class PoolQueues:
    """The queues of the topics of a pool, before any workers."""

    def __init__(self, topics: Mapping[str, PoolTopic]) -> None:
        self._topics = topics
        self._events = _Events.of(topics)  # once: it takes a fifth of a run

    def waits(self, workers: Sequence[WorkerSlots]) -> dict[str, FloatArray]:
        """Return by topic the wait of each task's first try; infinite if it never begins."""
        begun = _begun(
            self._events,
            credits_of(workers, self._topics),
            [worker.capacity for worker in workers],
            [topic.limit is not None for topic in self._topics.values()],
        )
        start = np.array(begun)
        waits, first = {}, 0
        for name, topic in self._topics.items():
            last = first + len(topic.tasks.times)
            waits[name] = start[first:last] - (topic.tasks.times - self._events.origin)
            first = last
        return waits


def pool_waits(
    workers: Sequence[WorkerSlots], topics: Mapping[str, PoolTopic]
) -> dict[str, FloatArray]:
    """Return by topic the wait of each task's first try; infinite if it never begins."""
    return PoolQueues(topics).waits(workers)


@dataclass(frozen=True, slots=True)
class _Events:
    """All tries, numbered: the first ones by topic and arrival, then the retries."""

    origin: float
    arrivals: list[float]
    """Arrival times of first tries, ascending, relative to the origin."""
    numbers: list[int]
    """The number of the try that arrives."""
    services: list[float]
    topics: list[int]
    following: list[int]
    """Number of the retry of each try; `_NONE`: it does not fail."""
    delays: list[float]
    """For each try, the seconds from the end of the try before."""

    @classmethod
    def of(cls, topics: Mapping[str, PoolTopic]) -> _Events:
        """Return the tries of *topics*, numbered."""
        tasks = [topic.tasks for topic in topics.values()]
        times = np.concatenate([each.times for each in tasks])
        origin = float(times.min()) if len(times) else 0.0
        order = np.argsort(times, kind="stable")
        services = [each.services for each in tasks]
        places = [np.full(len(each.times), number) for number, each in enumerate(tasks)]
        delays = [np.zeros(len(times))]
        links, count, first = [], len(times), 0
        for number, each in enumerate(tasks):
            base = first
            for part in each.retries:
                links.append((base + part.after, count))
                services.append(part.services)
                places.append(np.full(len(part.after), number))
                delays.append(np.full(len(part.after), part.delay))
                base, count = count, count + len(part.after)
            first += len(each.times)
        following = np.full(count, _NONE)
        for failed, start in links:
            following[failed] = start + np.arange(len(failed))
        return cls(
            origin,
            (times[order] - origin).tolist(),
            order.tolist(),
            np.concatenate(services).tolist(),
            np.concatenate(places).tolist(),
            following.tolist(),
            np.concatenate(delays).tolist(),
        )


def _begun(  # noqa: C901, PLR0912, PLR0915 - one loop, whose time is that of calls that it does not make
    events: _Events, credit: list[list[int]], capacity: list[int], is_limited: list[bool]
) -> list[float]:
    """Return when each try begins."""
    push, pop = heapq.heappush, heapq.heappop
    services, topic_of = events.services, events.topics
    following, delays = events.following, events.delays
    begun = [math.inf] * len(services)
    queues: list[deque[int]] = [deque() for _ in is_limited]
    with_credit = [  # in turn; with a limit each permit has a turn, else each worker
        deque(
            worker
            for worker, row in enumerate(credit)
            for _ in range(row[topic] if has_permits else min(row[topic], 1))
        )
        for topic, has_permits in enumerate(is_limited)
    ]
    held: list[deque[int]] = [deque() for _ in capacity]  # fetched, without a slot
    free = list(capacity)
    heap: list[tuple[float, int, int]] = []  # time, worker (or none: a retry is due), try
    due = iter(zip(events.arrivals, events.numbers, strict=True))
    next_at, next_try = next(due, (math.inf, _NONE))
    while True:
        if heap and heap[0][0] <= next_at:
            now, worker, number = pop(heap)
            topic = topic_of[number]
            if worker != _NONE:  # a try ends
                retry = following[number]
                if retry != _NONE:
                    push(heap, (now + delays[retry], _NONE, retry))
                if held[worker]:
                    waiting = held[worker].popleft()
                    begun[waiting] = now
                    push(heap, (now + services[waiting], worker, waiting))
                else:
                    free[worker] += 1
                if not queues[topic]:
                    if is_limited[topic] or not credit[worker][topic]:
                        with_credit[topic].append(worker)
                    credit[worker][topic] += 1
                    continue
                number = queues[topic].popleft()
                if free[worker]:
                    free[worker] -= 1
                    begun[number] = now
                    push(heap, (now + services[number], worker, number))
                else:
                    held[worker].append(number)
                continue
        elif next_try != _NONE:
            now, number = next_at, next_try
            topic = topic_of[number]
            next_at, next_try = next(due, (math.inf, _NONE))
        else:
            return begun
        takers = with_credit[topic]
        if not takers:
            queues[topic].append(number)
            continue
        worker = takers.popleft()
        credit[worker][topic] -= 1
        if credit[worker][topic] and not is_limited[topic]:
            takers.append(worker)
        if free[worker]:
            free[worker] -= 1
            begun[number] = now
            push(heap, (now + services[number], worker, number))
        else:
            held[worker].append(number)
