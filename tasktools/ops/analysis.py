"""How a cluster fared over time: from a recording, or from what this process has heard."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.brokers.base import Broker
from tasktools.core.clock import Clock
from tasktools.core.models import RunningTask, Source, TaskMessage
from tasktools.core.moments import Moment, Span, epoch, seconds
from tasktools.ops.recording import questions, told
from tasktools.ops.recording.history import HistoryBroker
from tasktools.ops.recording.keeping import Retention
from tasktools.ops.recording.questions import By
from tasktools.ops.recording.recorder import Recorder
from tasktools.ops.recording.series import Window
from tasktools.ops.recording.store import File, Memory, Recorded, number

_INTERVALS: Final = 120
"""About so many intervals a frame has, when it is not said how long they are."""
_LENGTHS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400)
_MOST_FAILURES: Final = 100_000
_OF_THIS_PROCESS: Final = Retention(full="1h", samples="1h", events="1h", size=256 * 1024**2)
_MOST_HEARD: Final = 50_000


class Sampled(msgspec.Struct, frozen=True):
    """A recording that is open to be read, *until* when it goes (ms), and what the recorder of a
    live cluster complains of."""

    connection: sqlite3.Connection
    until: int
    problem: str | None


class Asked(msgspec.Struct, frozen=True):
    """What is asked, and of which recording."""

    recording: Recorded
    window: Window


class Analysis(ABC):
    """The part of `Cluster` that tells how it fared over time.

    *until* is a moment (``"2026-11-24T12:00Z"``) or a span before now (``"2h"``), and *since* a
    moment or a span before *until*; *every* is the length of the intervals. By default: the last
    hour, in about 120 intervals, or each sample. A live cluster tells what it has itself heard
    since it was first looked at, for an hour at most, and samples whenever it is asked; `record`
    keeps more.
    """

    broker: Broker
    _clock: Clock
    _named: set[str]
    _reveal: bool
    _heard: Recorder | None

    @abstractmethod
    def _listen(self) -> None: ...

    @abstractmethod
    def _frame_of(
        self, frame: pd.DataFrame, sources: Source | Iterable[Source]
    ) -> pd.DataFrame: ...

    # --- recording --------------------------------------------------------------------

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        every: Span = 5.0,
        messages: bool = False,
        bodies: bool = False,
        retention: Retention | None = None,
    ) -> Recorder:
        """Return a recorder of this cluster into the file *path*; use it as a context manager.

        >>> with cluster.record("ops.db"):  # doctest: +SKIP
        ...     work()

        Topics and workers are sampled *every* so many seconds, all events are kept, heartbeats as
        samples. With *messages* it is noted what is published, and with *bodies* each message is
        kept as it is, so that failed tasks can be replayed: this binds a queue to the task
        exchange, which costs throughput, and publishers are not told of unroutable messages
        meanwhile (`Queues.overhear`). The file is yours alone (mode 0600); secrets in it are not
        masked. `tasktools.connect("sqlite:///ops.db")` reads it, also meanwhile.

        Raises `RecordingError` when the file cannot be used, and `ReadOnly` for *messages* of a
        read-only cluster.
        """
        return Recorder(
            self.broker,
            File(path),
            every=seconds(every),
            messages=messages,
            bodies=bodies,
            retention=retention,
            named=lambda: set(self._named),
            clock=self._clock,
        )

    # --- over time --------------------------------------------------------------------

    def queue_depth(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how many messages waited (schema `QUEUE_DEPTH`): each sample, or intervals."""
        return self._told(questions.queue_depth, self._asked(since, until, every, raw=True), topic)

    def utilisation(
        self,
        name: str | None = None,
        *,
        by: By = "worker",
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how busy each ``worker``, ``topic`` or the ``cluster`` was (schema
        `UTILISATION`), or the one called *name*: each sample, or intervals."""
        asked = self._asked(since, until, every, raw=True)
        return self._told(questions.utilisation, asked, by, name)

    def throughput(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how many tasks began and ended (schema `THROUGHPUT`)."""
        return self._told(questions.throughput, self._asked(since, until, every), topic)

    def waiting_time(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how long tasks waited (schema `WAITING_TIME`): measured where messages were
        recorded, and as an estimate."""
        return self._told(questions.waiting_time, self._asked(since, until, every), topic)

    def service_time(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how long tasks took (schema `SERVICE_TIME`)."""
        return self._told(questions.service_time, self._asked(since, until, every), topic)

    # --- one by one -------------------------------------------------------------------

    def task_events(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        worker_id: str | None = None,
        task_id: str | None = None,
    ) -> pd.DataFrame:
        """Return when tasks began and ended (schema `TASK_EVENTS`)."""
        return self._told(
            told.task_events,
            self._asked(since, until),
            topic=topic,
            worker_id=worker_id,
            task_id=task_id,
            reveal=self._reveal,
        )

    def cluster_events(self, *, since: Moment = "1h", until: Moment | None = None) -> pd.DataFrame:
        """Return the other events: of workers, locks, settings, commands (schema
        `CLUSTER_EVENTS`)."""
        asked = self._asked(since, until)
        return self._told(told.cluster_events, asked, reveal=self._reveal)

    def failures(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1D",
        until: Moment | None = None,
        limit: int = _MOST_FAILURES,
    ) -> pd.DataFrame:
        """Return the tasks that failed, the latest *limit* (schema `FAILURES`), those included
        that workers acknowledged.

        With their messages where a recorder kept them (``bodies=True``): then `plan_replay` of the
        live cluster takes these rows.
        """
        asked = self._asked(since, until)
        return self._told(
            told.failures,
            asked,
            topic=topic,
            limit=limit,
            recording=asked.recording.name,
            reveal=self._reveal,
        )

    def gaps(self, *, since: Moment = "1D", until: Moment | None = None) -> pd.DataFrame:
        """Return when something was not recorded, and why (schema `GAPS`)."""
        return self._told(told.gaps, self._asked(since, until))

    @contextlib.contextmanager
    def sampled(self) -> Iterator[Sampled]:
        """Sample a live cluster now, and open what is recorded of it, for as long as the context.

        For what shows the cluster every second (`tasktools.ops.recording.pulse`); frames are
        easier to use. Raises `RecordingError`.
        """
        recording = self._recording()
        with recording.read() as connection:
            problem = None if self._heard is None else self._heard.problem
            yield Sampled(connection, number(self._end(self._clock.time())), problem)

    def _kept(self, running: Iterable[RunningTask]) -> list[TaskMessage]:
        """Return what the recording has kept of the messages of *running* tasks."""
        if not isinstance(self.broker, HistoryBroker):
            return []
        with self.broker.recording.read() as connection:
            return told.seen_tasks(connection, [run.task_id for run in running])

    # --- how --------------------------------------------------------------------------

    def _asked(
        self, since: Moment, until: Moment | None, every: Span | None = None, *, raw: bool = False
    ) -> Asked:
        """Return what is asked; the present is what a live cluster has sampled just now."""
        recording = self._recording()
        start, end = self._between(since, until)
        length = seconds(every) if every is not None else None if raw else _length(end - start)
        step = None if length is None else max(number(length), 1)
        window = Window(since=number(start), until=number(end), every=step)
        return Asked(recording, window)

    def _between(self, since: Moment, until: Moment | None) -> tuple[float, float]:
        """Return the time from *since* to before *until*, in seconds since the epoch."""
        now = self._clock.time()
        end = self._end(now) + 0.001 if until is None else epoch(until, now)
        start = epoch(since, now if until is None else end)
        if start >= end:
            raise ValueError(f"since {since!r} is not before until {until!r}.")
        return start, end

    def _end(self, now: float) -> float:
        """Return the end of what can be told; in a recording, time out of sight included."""
        return self.broker.clock.last() if isinstance(self.broker, HistoryBroker) else now

    def _recording(self) -> Recorded:
        if isinstance(self.broker, HistoryBroker):
            return self.broker.recording
        self._listen()
        heard = self._watching()
        heard.tick()
        return heard.recording

    def _watching(self) -> Recorder:
        """Return the recorder that keeps in memory what is heard, from the first call on."""
        if self._heard is None:
            self._heard = Recorder(
                self.broker,
                Memory(),
                every=1.0,
                retention=_OF_THIS_PROCESS,
                most_events=_MOST_HEARD,
                named=lambda: set(self._named),
                clock=self._clock,
            )
        self._heard.open()
        return self._heard

    def _told(
        self, question: Callable[..., pd.DataFrame], asked: Asked, *args: Any, **given: Any
    ) -> pd.DataFrame:
        with asked.recording.read() as connection:
            frame = question(connection, asked.window, *args, **given)
            missing = told.gaps(connection, asked.window)
        source = Source(name="recording", ok=missing.empty, columns=tuple(frame.columns), age=0.0)
        frame = self._frame_of(frame, source)
        frame.attrs["recording"] = asked.recording.name
        if question is not told.gaps and not missing.empty:
            frame.attrs["notes"] += [f"{len(missing)} gaps; gaps() tells when, and why"]
        return frame


def _length(span: float) -> float:
    """Return how long intervals are of which about 120 make *span*."""
    wanted = span / _INTERVALS
    return next((float(length) for length in _LENGTHS if length >= wanted), float(_LENGTHS[-1]))
