"""A recording made of simulated tries, as a recorder would have written it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tasktools.core.events import settings_json
from tasktools.core.models import RetryRule, TopicSettings
from tasktools.history import tables
from tasktools.history.samples import Facts
from tasktools.history.store import File
from tasktools.history.tables import Row, Table

Ints = npt.NDArray[np.int64]

_ROWS_PER_BATCH: Final = 100_000
_WORKERS_EVERY: Final = 600_000  # ms between two samples of a worker
_STOPPED: Final = "no recorder was running"
_LOST: Final = 2
_SIZE: Final = 640  # bytes of a message


@dataclass(frozen=True, slots=True)
class SimulatedWorker:
    """A worker of a simulated cluster."""

    worker: str
    host: str
    capacity: int
    topics: tuple[str, ...]
    prefetch: int


@dataclass(frozen=True, slots=True)
class SimulatedTries:
    """Tries in the order of their start, in columns; times in ms since the epoch."""

    topic: Ints
    """Place among the topics; likewise the task's name and the worker."""
    name: Ints
    worker: Ints
    task: Ints
    """Number of the task: its tries have the same."""
    attempts: Ints
    """Earlier tries of the task."""
    published: Ints
    started: Ints
    ended: Ints
    failed: Ints


@dataclass(frozen=True, slots=True)
class SimulatedCluster:
    """All that a recorder could have seen of a cluster."""

    topics: tuple[str, ...]
    names: tuple[str, ...]
    workers: tuple[SimulatedWorker, ...]
    settings: dict[str, TopicSettings] = field(repr=False)
    retries: dict[str, RetryRule] = field(repr=False)
    tries: SimulatedTries = field(repr=False)


def write_recording(
    path: str | os.PathLike[str],
    cluster: SimulatedCluster,
    spans: Sequence[tuple[int, int]],
    *,
    every: int,
    messages: bool = True,
) -> None:
    """Write the recording of *cluster* into the new file *path*.

    Parameters
    ----------
    path
        The file.
    cluster
        The simulated cluster.
    spans
        When a recorder was running, one after the other; ms since the epoch.
    every
        The time between two samples; ms.
    messages
        Whether it recorded what was published.

    """
    with File(path).write() as connection, connection:
        _Writing(connection, cluster, spans, every, messages=messages).write()


class _Writing:
    def __init__(
        self,
        connection: sqlite3.Connection,
        cluster: SimulatedCluster,
        spans: Sequence[tuple[int, int]],
        every: int,
        *,
        messages: bool,
    ) -> None:
        self._connection = connection
        self._cluster = cluster
        self._spans = spans
        self._every = every
        self._messages = messages
        names = (*cluster.topics, *cluster.names, *(w.worker for w in cluster.workers))
        self._ids = {name: place + 1 for place, name in enumerate(names)}

    def write(self) -> None:
        """Write all tables."""
        names = ((number, name) for name, number in self._ids.items())
        self._connection.executemany("INSERT INTO names (id, name) VALUES (?, ?)", names)
        self._write_sessions()
        self._write_workers()
        settings = {topic: settings_json(s) for topic, s in self._cluster.settings.items()}
        at = self._spans[0][0]
        self._insert(tables.SETTINGS, [{"at": at, "kept": msgspec.json.encode(settings).decode()}])
        for span in self._spans:
            self._write_span(*span)
        self._write_tries()
        if self._messages:
            self._write_messages()

    def _insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._connection.executemany(table.insert(*(set(table.columns) - set(rows[0]))), rows)

    def _write_sessions(self) -> None:
        rows = [
            {
                "session": place + 1,
                "started": since,
                "last": until,
                "ended": until,
                "every": self._every / 1000,
                "cluster": "amqp://shop",
                "layout": "fp",
                "server": "4.3.6",
                "demo": True,
                "who": "demo",
                "messages": self._messages,
                "bodies": False,
            }
            for place, (since, until) in enumerate(self._spans)
        ]
        self._insert(tables.SESSIONS, rows)
        pairs = zip(self._spans[:-1], self._spans[1:], strict=True)
        gaps = [
            {"since": before[1], "until": after[0], "what": "all", "why": _STOPPED}
            for before, after in pairs
        ]
        if gaps:
            self._insert(tables.GAPS, gaps)

    def _write_workers(self) -> None:
        for place, worker in enumerate(self._cluster.workers):
            facts = Facts(
                role="worker",
                host=worker.host,
                pid=100 + place,
                topics=worker.topics,
                started_at=self._spans[0][0] / 1000,
                is_tasktools=True,
                draining=False,
                version="0.1.0",
                prefetch=tuple((topic, worker.prefetch) for topic in worker.topics),
                retries=tuple(sorted(self._cluster.retries.items())),
            )
            self._connection.execute(
                "INSERT INTO worker_facts (fact, worker, facts) VALUES (?, ?, ?)",
                (place + 1, self._ids[worker.worker], msgspec.json.encode(facts).decode()),
            )

    # --- samples ------------------------------------------------------------------------

    def _write_span(self, since: int, until: int) -> None:
        times = np.arange(since, until + 1, self._every)
        running = np.zeros(len(times))
        for place, topic in enumerate(self._cluster.topics):
            running += self._write_topic(place, topic, times)
        workers, capacity = (
            len(self._cluster.workers),
            sum(w.capacity for w in self._cluster.workers),
        )
        base: Row = dict.fromkeys(tables.TICKS.columns)
        base |= {
            "span": 0,
            "n": 1,
            "turn": _WORKERS_EVERY + 1,
            "heard": 0,
            "workers": workers,
            "capacity": capacity,
            "events_ok": True,
            "topics_ok": True,
        }
        rows = [
            base | {"at": at, "running": count}
            for at, count in zip(times.tolist(), running.tolist(), strict=True)
        ]
        self._insert(tables.TICKS, rows)
        step = max(_WORKERS_EVERY // self._every, 1)
        self._write_worker_samples(times[:: int(step)])

    def _write_topic(self, place: int, topic: str, times: Ints) -> npt.NDArray[np.float64]:
        """Write the samples of a topic; return how many of its tasks ran at each."""
        tries = self._cluster.tries
        own = tries.topic == place
        published, started = np.sort(tries.published[own]), np.sort(tries.started[own])
        done = np.sort(tries.ended[own & (tries.failed == 0)])
        errors = np.sort(tries.ended[own & (tries.failed == 1)])
        fresh = np.sort(tries.published[own & (tries.attempts == 0)])
        totals = [
            np.searchsorted(column, times, side="right")
            for column in (published, started, done, errors, fresh)
        ]
        queued = totals[0] - totals[1]
        running = totals[1] - totals[2] - totals[3]
        began, ended, failed, new = (np.diff(total, prepend=total[:1]) for total in totals[1:])
        workers = [w for w in self._cluster.workers if topic in w.topics]
        settings = self._cluster.settings.get(topic, TopicSettings())
        base: Row = dict.fromkeys(tables.TOPIC_SAMPLES.columns)
        base |= {
            "topic": self._ids[topic],
            "span": 0,
            "n": 1,
            "dead_letter": 0,
            "consumers": len(workers),
            "subscribers": len(workers),
            "capacity": sum(w.capacity for w in workers),
            "concurrency_limit": settings.concurrency_limit,
            "dead_lettering": True,
            "is_there": True,
        }
        names = ("at", "queued", "running", "began", "done", "errors", "published")
        columns = (times, queued, running, began, ended, failed, new)
        values = zip(*(column.tolist() for column in columns), strict=True)
        rows = [base | dict(zip(names, row, strict=True)) for row in values]
        for row in rows:
            row["queued_max"], row["unacked"] = row["queued"], row["running"]
            row["published"] = row["published"] if self._messages else None
        self._insert(tables.TOPIC_SAMPLES, rows)
        return running.astype(np.float64)

    def _write_worker_samples(self, times: Ints) -> None:
        tries = self._cluster.tries
        for place, worker in enumerate(self._cluster.workers):
            own = tries.worker == place
            counts = [
                np.searchsorted(np.sort(column[own]), times, side="right")
                for column in (tries.started, tries.ended)
            ]
            base: Row = dict.fromkeys(tables.WORKER_SAMPLES.columns)
            base |= {
                "worker": self._ids[worker.worker],
                "span": 0,
                "n": 1,
                "fact": place + 1,
                "state": 0,
                "uncertain": False,
                "capacity": worker.capacity,
                "silence": 0,
                "clock_offset": 0,
            }
            values = zip(times.tolist(), (counts[0] - counts[1]).tolist(), strict=True)
            rows = [base | {"at": at, "running": n, "last_seen": at} for at, n in values]
            self._insert(tables.WORKER_SAMPLES, rows)

    # --- tries and messages ---------------------------------------------------------------

    def _rows(self, *columns: Ints) -> Iterator[Iterator[tuple[Any, ...]]]:
        """Yield batches of rows of *columns*; numpy's numbers become Python's."""
        for start in range(0, len(columns[0]), _ROWS_PER_BATCH):
            part = (column[start : start + _ROWS_PER_BATCH].tolist() for column in columns)
            yield zip(*part, strict=True)

    def _end_of_span(self, times: Ints) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return which *times* were recorded, and when the recorder ended after each."""
        starts, ends = (np.array(column) for column in zip(*self._spans, strict=True))
        places = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
        return (times >= starts[places]) & (times < ends[places]), ends[places]

    def _write_tries(self) -> None:
        tries = self._cluster.tries
        is_recorded, until = self._end_of_span(tries.started)
        is_cut = tries.ended > until
        last = until == self._spans[-1][1]
        outcome = np.where(is_cut, np.where(last, -1, _LOST), tries.failed)
        ended = np.where(is_cut, np.where(last, -1, until), tries.ended)
        topics, names, workers = self._name_arrays()
        # A heartbeat names mostly the tasks that take long.
        named = np.where(tries.ended - tries.started > 60_000, names[tries.name], -1)
        columns = (
            *(tries.started, tries.task, topics[tries.topic], workers[tries.worker]),
            *(named, ended, outcome),
        )
        statement = (
            "INSERT INTO tries (at, task, topic, worker, name, started, ended, outcome, duration, "
            "error_type, error) VALUES (?1, ?2, ?3, ?4, nullif(?5, -1), ?1, nullif(?6, -1), "
            "nullif(?7, -1), CASE WHEN ?7 IN (0, 1) THEN (?6 - ?1) / 1000.0 END, "
            "CASE ?7 WHEN 1 THEN 'ConnectionError' END, "
            "CASE ?7 WHEN 1 THEN 'the other side did not answer' END)"
        )
        for rows in self._rows(*(column[is_recorded] for column in columns)):
            named_rows = ((at, _task_id(task), *rest) for at, task, *rest in rows)
            self._connection.executemany(statement, named_rows)

    def _name_arrays(self) -> tuple[Ints, Ints, Ints]:
        cluster = self._cluster
        groups = (cluster.topics, cluster.names, [worker.worker for worker in cluster.workers])
        topics, names, workers = (np.array([self._ids[n] for n in group]) for group in groups)
        return topics, names, workers

    def _write_messages(self) -> None:
        tries = self._cluster.tries
        order = np.argsort(tries.published, kind="stable")
        is_recorded, _ = self._end_of_span(tries.published)
        chosen = order[is_recorded[order]]
        topics, names, _ = self._name_arrays()
        columns = (tries.published, topics[tries.topic], tries.task, names[tries.name])
        statement = (
            "INSERT INTO messages (at, topic, task, name, published, attempts, size) "
            f"VALUES (?1, ?2, ?3, ?4, ?1, ?5, {_SIZE})"
        )
        for rows in self._rows(*(column[chosen] for column in (*columns, tries.attempts))):
            named_rows = ((at, topic, _task_id(n), *rest) for at, topic, n, *rest in rows)
            self._connection.executemany(statement, named_rows)


def _task_id(task: int) -> str:
    return f"{task:08x}-0000-4000-8000-{task:012x}"


def milliseconds(times: npt.NDArray[np.float64]) -> Ints:
    """Return times in seconds as a recording stores them."""
    return np.rint(times * 1000).astype(np.int64)
