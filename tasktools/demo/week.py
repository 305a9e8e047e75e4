"""A week of the demo's shop as a recording: simulated traffic with a fixed seed, in two seconds."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from tasktools.core.models import RetryRule, TopicSettings
from tasktools.demo.recording_file import (
    Ints,
    SimulatedCluster,
    SimulatedTries,
    SimulatedWorker,
    milliseconds,
    write_recording,
)

Floats = npt.NDArray[np.float64]

_START: Final = datetime(2026, 11, 16, tzinfo=UTC).timestamp()
"""A Monday."""
_DAY: Final = 86_400.0
_HOUR: Final = 3_600.0
_WEEK: Final = 7 * _DAY
_EVERY_MS: Final = 60_000
_GAP: Final = (_START + 2 * _DAY + 14.1 * _HOUR, _START + 2 * _DAY + 15.4 * _HOUR)
"""Wednesday afternoon, in the busiest hours: the recorder was not running."""


@dataclass(frozen=True, slots=True)
class _Traffic:
    """The traffic of a topic: tasks a week, how long they take, and how they arrive."""

    topic: str
    tasks: int
    mean: float
    """The mean of the service times in seconds; they are lognormal with `sigma`."""
    sigma: float
    names: tuple[tuple[str, float], ...]
    """Tasks, and the share of each."""
    fails: float = 0.0
    """Share of tries."""
    batch: int = 1
    on_off: bool = False
    limit: int | None = None


_TRAFFIC: Final = (
    _Traffic("emails", 9_000, 14.0, 0.6, (("send_welcome", 0.3), ("send_receipt", 0.7))),
    _Traffic("newsletters", 2_400, 20.0, 0.4, (("send_newsletter", 1.0),), batch=40),
    _Traffic("orders", 10_000, 40.0, 0.7, (("charge_card", 0.8), ("refund", 0.2)), fails=0.04),
    _Traffic("images", 5_000, 45.0, 1.0, (("resize_image", 1.0),), on_off=True),
    _Traffic("reports", 900, 240.0, 0.8, (("build_report", 1.0),), limit=2),
)
_POOLS: Final = {"mail": (3, 4), "pay": (3, 2), "image": (2, 2), "report": (2, 2)}
"""Workers and their slots, by host name."""
_TOPICS_OF: Final = {
    "mail": ("emails", "newsletters"),
    "pay": ("orders",),
    "image": ("images",),
    "report": ("reports",),
}
_RETRY: Final = RetryRule(max_retries=2, retry_delay=30.0)
_NO_RETRY: Final = RetryRule(max_retries=0, retry_delay=1.0)


def write_week(path: str | os.PathLike[str], *, seed: int = 0) -> None:
    """Write a recording of a week of a shop: five topics, 28,000 tasks, 10 MB, in seconds.

    It is simulated, and always the same for a *seed*. Mail workers share ``emails`` and
    ``newsletters`` (which come in batches of 40); ``images`` come in bursts; tasks of ``orders``
    fail now and then and are tried again; ``reports`` have a limit of 2. Traffic has the shape of
    days and weekends. On Wednesday afternoon nothing was recorded. For notebooks, and for trying
    `tasktools.capacity`.

    Parameters
    ----------
    path
        A file that is not there yet.
    seed
        Of the random numbers.

    Raises
    ------
    FileExistsError
        The file is there already; nothing was written.

    Examples
    --------
    >>> import os, tempfile
    >>> import tasktools as tt
    >>> from tasktools.demo import write_week
    >>> path = os.path.join(tempfile.mkdtemp(), "week.db")
    >>> write_week(path)
    >>> with tt.connect(f"sqlite:///{path}") as week:
    ...     week.topics()["topic"].tolist()
    ['emails', 'images', 'newsletters', 'orders', 'reports']

    """
    if os.path.lexists(path):
        raise FileExistsError(
            f"{os.fspath(path)} is there already; nothing was written. Name a file that is not."
        )
    spans = [(_START, _GAP[0]), (_GAP[1], _START + _WEEK)]
    in_ms = [(round(since * 1000), round(until * 1000)) for since, until in spans]
    write_recording(path, simulated_week(seed), in_ms, every=_EVERY_MS)


def simulated_week(seed: int) -> SimulatedCluster:
    """Return the week that `write_week` records, the time in the gap included."""
    dice = np.random.default_rng(seed)
    workers = tuple(
        SimulatedWorker(f"{pool}-{n + 1}", f"{pool}-{n + 1}", slots, _TOPICS_OF[pool], slots)
        for pool, (count, slots) in _POOLS.items()
        for n in range(count)
    )
    names = tuple(name for traffic in _TRAFFIC for name, _ in traffic.names)
    rules = {
        name: _RETRY if traffic.fails else _NO_RETRY
        for traffic in _TRAFFIC
        for name, _ in traffic.names
    }
    return SimulatedCluster(
        topics=tuple(traffic.topic for traffic in _TRAFFIC),
        names=names,
        workers=workers,
        settings={
            traffic.topic: TopicSettings(concurrency_limit=traffic.limit)
            for traffic in _TRAFFIC
            if traffic.limit is not None
        },
        retries=rules,
        tries=_Simulation(workers, names, dice).run(),
    )


def _arrivals(traffic: _Traffic, dice: np.random.Generator) -> Floats:
    """Return when the tasks of a topic are published, ascending."""
    minutes = np.arange(0, _WEEK, 60.0)
    hour, day = minutes % _DAY / _HOUR, minutes // _DAY
    shape = 0.15 + np.exp(-(((hour - 14.0) / 4.0) ** 2))
    shape *= np.where(day < 5, 1.0, 0.45)
    if traffic.on_off:
        steps = dice.choice([0.3, 3.0], len(minutes) // 20 + 1, p=[0.75, 0.25])
        shape = shape * np.repeat(steps, 20)[: len(minutes)]
    expected = shape / shape.sum() * traffic.tasks / traffic.batch
    times = np.repeat(minutes, dice.poisson(expected))
    times = times + dice.uniform(0, 60.0, len(times))
    batched = np.repeat(times, traffic.batch)
    if traffic.batch > 1:
        batched = batched + dice.uniform(0, 5.0, len(batched))
    return np.asarray(_START + np.sort(batched), np.float64)


@dataclass(slots=True)
class _Waiting:
    """A try that waits in its queue."""

    task: int
    name: int
    published: float
    duration: float
    fails: bool
    attempts: int = 0


@dataclass(slots=True)
class _Simulation:
    """Queues and workers: a free slot takes the oldest message of its topics, in turn."""

    workers: tuple[SimulatedWorker, ...]
    names: tuple[str, ...]
    dice: np.random.Generator
    queues: list[deque[_Waiting]] = field(default_factory=list)
    tries: list[tuple[float, ...]] = field(default_factory=list)

    def run(self) -> SimulatedTries:
        """Return all tries."""
        self.queues = [deque() for _ in _TRAFFIC]
        free = [worker.capacity for worker in self.workers]
        running = [0] * len(_TRAFFIC)
        arrivals = sorted(self._tasks(), key=lambda entry: entry[0])
        due: list[tuple[float, int, int, _Waiting | int]] = [
            (at, n, topic, waiting) for n, (at, topic, waiting) in enumerate(arrivals)
        ]
        heapq.heapify(due)
        count = len(due)
        while due:
            now, _, topic, item = heapq.heappop(due)
            if isinstance(item, int):
                free[item] += 1
                running[topic] -= 1
            else:
                item.published = now
                self.queues[topic].append(item)
            for worker, chosen, waiting in self._begin(free, running):
                end = now + waiting.duration
                self.tries.append(self._row(chosen, worker, waiting, now, end))
                count += 2
                heapq.heappush(due, (end, count, chosen, worker))
                if waiting.fails and waiting.attempts < (_RETRY.max_retries or 0):
                    again = end + _RETRY.retry_delay * 2**waiting.attempts
                    heapq.heappush(due, (again, count + 1, chosen, self._next(chosen, waiting)))
        return self._columns()

    def _tasks(self) -> Iterator[tuple[float, int, _Waiting]]:
        task = 0
        for topic, traffic in enumerate(_TRAFFIC):
            times = _arrivals(traffic, self.dice)
            durations = self._durations(traffic, len(times))
            shares = [share for _, share in traffic.names]
            first = self.names.index(traffic.names[0][0])
            names = first + self.dice.choice(len(shares), len(times), p=shares)
            fails = self.dice.random(len(times)) < traffic.fails
            values = zip(times, names, durations, fails, strict=True)
            for at, name, duration, is_failing in values:
                task += 1
                waiting = _Waiting(task, int(name), float(at), float(duration), bool(is_failing))
                yield float(at), topic, waiting

    def _durations(self, traffic: _Traffic, count: int) -> Floats:
        mu = np.log(traffic.mean) - traffic.sigma**2 / 2
        return np.asarray(self.dice.lognormal(mu, traffic.sigma, count), np.float64)

    def _next(self, topic: int, waiting: _Waiting) -> _Waiting:
        traffic = _TRAFFIC[topic]
        duration = float(self._durations(traffic, 1)[0])
        fails = bool(self.dice.random() < traffic.fails)
        return _Waiting(waiting.task, waiting.name, 0.0, duration, fails, waiting.attempts + 1)

    def _begin(self, free: list[int], running: list[int]) -> Iterator[tuple[int, int, _Waiting]]:
        """Yield what can begin now: the worker, the topic, the try."""
        for topic, traffic in enumerate(_TRAFFIC):
            queue = self.queues[topic]
            while queue and (traffic.limit is None or running[topic] < traffic.limit):
                able = [
                    place
                    for place, worker in enumerate(self.workers)
                    if free[place] and traffic.topic in worker.topics
                ]
                if not able:
                    break
                worker = max(able, key=free.__getitem__)
                free[worker] -= 1
                running[topic] += 1
                yield worker, topic, queue.popleft()

    def _row(
        self, topic: int, worker: int, waiting: _Waiting, start: float, end: float
    ) -> tuple[float, ...]:
        of_task = (topic, waiting.name, worker, waiting.task, waiting.attempts)
        return (*of_task, waiting.published, start, end, waiting.fails)

    def _columns(self) -> SimulatedTries:
        table = np.array(sorted(self.tries, key=lambda row: row[6]), np.float64)
        whole: list[Ints] = [table[:, place].astype(np.int64) for place in range(5)]
        published, started, ended = (milliseconds(table[:, place]) for place in (5, 6, 7))
        return SimulatedTries(
            topic=whole[0],
            name=whole[1],
            worker=whole[2],
            task=whole[3],
            attempts=whole[4],
            published=published,
            started=started,
            ended=ended,
            failed=table[:, 8].astype(np.int64),
        )
