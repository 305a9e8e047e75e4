"""Simulation of one topic: the wait of each task when *slots* take tasks in order of arrival.

Sources: Kiefer & Wolfowitz 1955, On the theory of queues with many servers (the vector of free
times, here a heap); Lindley 1952, The theory of queues with a single server; Efron 1967, The two
sample problem with censored data (redistribution to the right).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tasktools.capacity.demand import BoolArray, FloatArray, TopicDemand

IntArray = np.ndarray[Any, np.dtype[np.int64]]

DEFAULT_RETRY_DELAY: Final = 1.0
"""Seconds before the first retry where none was recorded; it doubles with each try."""
MAX_RETRY_DELAY: Final = 3600.0
_MAX_DOUBLINGS: Final = 32
_SEED: Final = 14  # the same tasks for all numbers of slots, and each time
_JITTER_SECONDS: Final = 60.0
"""Seconds by which an additional task may come before or after the task that it copies."""


@dataclass(frozen=True, slots=True)
class Retries:
    """The tries of one round: the retries of the failed tries of the round before."""

    after: IntArray
    """Place of each failed try in the round before; in the first round, of the task."""
    services: FloatArray
    """Seconds."""
    delay: float
    """Seconds from the end of the failed try."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks of a topic in order of arrival, each with its service time, and their retries."""

    times: FloatArray
    """Arrival in seconds since the epoch; ascending."""
    services: FloatArray
    """Seconds of the first try."""
    retries: tuple[Retries, ...]

    @property
    def busy_seconds(self) -> float:
        """The seconds for which all tries hold a slot."""
        return float(self.services.sum() + sum(each.services.sum() for each in self.retries))

    @property
    def tries(self) -> int:
        """The number of tries, the retries included."""
        return len(self.times) + sum(len(each.after) for each in self.retries)

    def only(self, mask: BoolArray) -> Tasks:
        """Return the tasks of *mask*, with their retries."""
        place, rounds = np.cumsum(mask) - 1, []
        is_in = mask
        for each in self.retries:
            chosen = is_in[each.after]
            rounds.append(Retries(place[each.after[chosen]], each.services[chosen], each.delay))
            place, is_in = np.cumsum(chosen) - 1, chosen
        return Tasks(self.times[mask], self.services[mask], tuple(rounds))


@dataclass(frozen=True, slots=True)
class Tries:
    """Tries of tasks in order of arrival, each with its service time."""

    times: FloatArray
    """Arrival of each try, in seconds since the epoch; ascending."""
    services: FloatArray
    """Seconds."""
    is_first: BoolArray
    """Whether it is the first try of its task."""


class Queue:
    """A queue of tries in order of arrival, before any number of slots."""

    def __init__(self, times: FloatArray, services: FloatArray) -> None:
        self._begin: FloatArray = times - times[0] if len(times) else times
        self._services = services
        self._lists = self._begin.tolist(), services.tolist()  # once: it takes a fifth of a run

    def waits(self, slots: int) -> FloatArray:
        """Return the wait (s) of each try."""
        if not len(self._begin):
            return np.zeros(0)
        if slots == 1:
            return _one_slot(self._begin, self._services)
        replace = heapq.heapreplace
        free = [-math.inf] * slots
        taken = [
            replace(free, (first if (first := free[0]) > at else at) + service)
            for at, service in zip(*self._lists, strict=True)
        ]
        waits: FloatArray = np.maximum(np.array(taken) - self._begin, 0.0)
        return waits


def simulated_waits(times: FloatArray, services: FloatArray, slots: int) -> FloatArray:
    """Return the wait (s) of each try.

    >>> simulated_waits(np.array([0.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0]), 2).tolist()
    [0.0, 0.0, 3.0]
    """
    return Queue(times, services).waits(slots)


def wait_quantile(waits: FloatArray, share: float) -> float:
    """Return the quantile of *waits*, in which tasks that never begin have an infinite wait.

    >>> wait_quantile(np.array([1.0, 2.0, 3.0]), 0.5), wait_quantile(np.array([1.0, np.inf]), 0.9)
    (2.0, inf)
    """
    with np.errstate(invalid="ignore"):
        value = float(np.quantile(waits, share))
    return math.inf if math.isnan(value) else value


def _one_slot(times: FloatArray, services: FloatArray) -> FloatArray:
    steps = np.concatenate([[0.0], services[:-1] - np.diff(times)])
    walk = np.cumsum(steps)
    waits: FloatArray = walk - np.minimum.accumulate(walk)
    return waits


def completed_services(
    topic: TopicDemand, rng: np.random.Generator
) -> tuple[FloatArray, BoolArray]:
    """Return the service times of all tries in order of start, and which of them failed.

    A try whose end is unknown gets the time of one that took at least as long: this follows the
    estimate of Kaplan and Meier. Where no try took as long, it gets the time that is known.
    """
    if not len(topic.censored):
        return topic.service_times, topic.failed
    ended = np.sort(topic.service_times)
    first = np.searchsorted(ended, topic.censored)
    chosen = first + (rng.random(len(first)) * (len(ended) - first)).astype(np.int64)
    longer = np.append(ended, np.inf)[np.minimum(chosen, len(ended))]
    drawn = np.where(first < len(ended), longer, topic.censored)
    places = rng.integers(0, len(ended) + 1, len(drawn))
    services = np.insert(topic.service_times, places, drawn)
    return services, np.insert(topic.failed, places, np.zeros(len(drawn), dtype=bool))


def changed_traffic(arrivals: FloatArray, factor: float, rng: np.random.Generator) -> FloatArray:
    """Return *factor* times as many arrivals, with the same bursts and the same pattern of days.

    Additional tasks come within a minute of the one that they copy; fewer are drawn at random.
    """
    if factor == 1:
        return arrivals
    whole, part = divmod(factor, 1.0)
    copies = int(whole) + (rng.random(len(arrivals)) < part)
    times = np.repeat(arrivals, copies)
    number = np.arange(len(times)) - np.repeat(np.cumsum(copies) - copies, copies)
    shift = rng.uniform(-_JITTER_SECONDS, _JITTER_SECONDS, len(times))
    return np.sort(times + np.where(number > 0, shift, 0.0))


def paired(count: int, tries: int, rng: np.random.Generator) -> IntArray:
    """Return for each of *count* arrivals the number of the recorded try whose duration it gets.

    They keep the order of the recorded ones. Where there are too few, the others are drawn.
    """
    if tries >= count:
        return np.arange(count) * tries // max(count, 1)
    chosen = rng.integers(0, tries, count)
    own = np.sort(rng.permutation(count)[:tries])
    chosen[own] = np.arange(tries)
    return chosen


def tasks_of(topic: TopicDemand, *, traffic: float = 1.0, service: float = 1.0) -> Tasks:
    """Return the tasks of *topic* with *traffic* times as many and *service* times as long ones.

    A failed try comes again as often as the topic allows it, with the service time of another.
    There are none where no try has ended.
    """
    rng = np.random.default_rng(_SEED)
    arrivals = changed_traffic(topic.arrivals, traffic, rng)
    services, failed = completed_services(topic, rng)
    if not len(services):
        return Tasks(np.zeros(0), np.zeros(0), ())
    services = services * service
    chosen = paired(len(arrivals), len(services), rng)
    delay = DEFAULT_RETRY_DELAY if topic.retry_delay is None else topic.retry_delay
    rounds, tries = [], chosen
    for number in range(topic.max_retries or 0):
        after = np.flatnonzero(failed[tries])
        if not len(after):
            break
        tries = rng.integers(0, len(services), len(after))
        pause = min(delay * 2.0 ** min(number, _MAX_DOUBLINGS), MAX_RETRY_DELAY)
        rounds.append(Retries(after, services[tries], pause))
    return Tasks(arrivals, services[chosen], tuple(rounds))


def in_order(tasks: Tasks) -> Tries:
    """Return all tries in order of arrival; a retry arrives as if the failed try had not waited."""
    times, services = tasks.times, tasks.services
    columns = [(times, services, np.ones(len(times), dtype=bool))]
    for each in tasks.retries:
        times = times[each.after] + services[each.after] + each.delay
        services = each.services
        columns.append((times, services, np.zeros(len(times), dtype=bool)))
    if len(columns) == 1:
        return Tries(*columns[0])
    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    order = np.argsort(joined[0], kind="stable")
    return Tries(joined[0][order], joined[1][order], joined[2][order])
