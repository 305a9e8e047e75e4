"""Time series and events of a cluster: from a recording, or from the events that this process
received."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from tasktools.cluster.base import Answer, ClusterBase
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd
from tasktools.core.models import Source
from tasktools.core.timespans import Moment, Span, epoch, interval, seconds
from tasktools.history import metrics, mute_workers, records, service_times, topic_dialects
from tasktools.history.metrics import By
from tasktools.history.retention import Retention
from tasktools.history.series import Window
from tasktools.history.sessions import Session
from tasktools.history.store import File, Recording, number
from tasktools.history.ticks import TickReader

if TYPE_CHECKING:  # imported where it is begun, since that takes a tenth of `import tasktools`
    from tasktools.history.recorder import Recorder

_INTERVAL_COUNT: Final = 120
"""About so many intervals a frame has by default."""
_MAX_FAILURES: Final = 100_000
_NO_ESTIMATE: Final = (
    "estimate is missing: how many messages workers have fetched and not begun was not recorded "
    "(that takes the management API), or no task was begun"
)
_NAMED_IF_LONG: Final = (
    "mostly of those that took long: do not judge by it how long tasks of a name take. A recorder "
    "with messages=True records the names of all"
)


class Query(msgspec.Struct, frozen=True):
    """The time and the recording that a question is about."""

    recording: Recording
    window: Window


class Analysis(ClusterBase):
    """The part of `Cluster` that answers questions about a span of time.

    For a live cluster the events are those that this process received since the first call, for an
    hour at most, and the cluster is sampled at each call; `record` keeps more.
    """

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        every: Span = 5.0,
        messages: bool = False,
        bodies: bool = False,
        retention: Retention | None = None,
    ) -> Recorder:
        """Return a recorder of this cluster; use it as a context manager.

        Topics and workers are sampled, and all events kept, heartbeats as samples.
        ``tasktools.connect("sqlite:///ops.db")`` reads the recording, also meanwhile. Its file is
        yours alone (mode 0600); secrets in it are not masked.

        Parameters
        ----------
        path
            The file; an earlier recording in it is continued.
        every
            Seconds between two samples, or a span as ``"10s"``.
        messages
            Record published messages, too. This binds a queue to the task exchange, which costs
            throughput, and unroutable messages are not returned to their publishers meanwhile
            (`Queues.overhear`).
        bodies
            Keep each message as it is, so that failed tasks can be replayed. Celery's messages
            cannot be copied; for Celery this keeps the arguments that workers send in events.
        retention
            The ages at which data is thinned out and deleted, and the size limit.

        Returns
        -------
        Recorder
            It records from ``__enter__`` to ``close``.

        Raises
        ------
        RecordingError
            The file cannot be used.
        ReadOnly
            *messages* cannot be recorded on a read-only cluster.

        Examples
        --------
        >>> import os, tempfile
        >>> import tasktools as tt
        >>> path = os.path.join(tempfile.mkdtemp(), "ops.db")
        >>> with tt.connect("demo://") as cluster, cluster.record(path):
        ...     pass
        >>> with tt.connect(f"sqlite:///{path}") as recorded:
        ...     len(recorded.workers())
        8

        """
        from tasktools.history.recorder import Recorder

        recorder = Recorder(
            self.broker,
            File(path),
            Session(
                every=seconds(every),
                messages=messages or bodies,
                bodies=bodies,
                arguments=bodies,
            ),
            retention=retention,
            named=lambda: set(self._named),
            always_shown=self._always_shown,
            clock=self._clock,
        )
        self._recorders.add(recorder)
        return recorder

    def queue_depth(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how many messages waited in queues.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        every
            The length of the intervals (``"5m"``); by default each sample.

        Returns
        -------
        pandas.DataFrame
            One row a topic and sample, or interval (schema `QUEUE_DEPTH`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     sorted(cluster.queue_depth("orders")["topic"].unique())
        ['orders']

        """
        return self._answer(metrics.queue_depth, self._query(since, until, every, raw=True), topic)

    def utilisation(
        self,
        name: str | None = None,
        *,
        by: By = "worker",
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how busy workers were.

        Parameters
        ----------
        name
            The name of a single worker or topic; by default all.
        by
            ``worker``, ``topic`` or ``cluster``.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        every
            The length of the intervals (``"5m"``); by default each sample.

        Returns
        -------
        pandas.DataFrame
            One row a name and sample, or interval (schema `UTILISATION`).

        Raises
        ------
        ValueError
            *by* is something else.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     cluster.utilisation(by="cluster")["name"].unique().tolist()
        ['cluster']

        """
        if by not in get_args(By):
            raise ValueError(f"by is {by!r}, none of {', '.join(get_args(By))}.")
        query = self._query(since, until, every, raw=True)
        return self._answer(metrics.utilisation, query, by, name)

    def throughput(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how many tasks began and ended.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        every
            The length of the intervals (``"5m"``); by default about 120 intervals.

        Returns
        -------
        pandas.DataFrame
            One row a topic and interval (schema `THROUGHPUT`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     len(cluster.throughput("orders", since="1h", every="10m"))
        7

        """
        return self._answer(metrics.throughput, self._query(since, until, every), topic)

    def waiting_time(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how long tasks waited: measured where messages were recorded, and as an estimate.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        every
            The length of the intervals (``"5m"``); by default about 120 intervals.

        Returns
        -------
        pandas.DataFrame
            One row a topic and interval (schema `WAITING_TIME`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     len(cluster.waiting_time("orders", since="1h", every="10m"))
        7

        """
        frame = self._answer(metrics.waiting_time, self._query(since, until, every), topic)
        if len(frame) and frame["estimate"].isna().all():
            frame.attrs["notes"] += [_NO_ESTIMATE]
        return frame

    def service_time(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        every: Span | None = None,
    ) -> pd.DataFrame:
        """Return how long tasks took.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        every
            The length of the intervals (``"5m"``); by default about 120 intervals.

        Returns
        -------
        pandas.DataFrame
            One row a topic and interval (schema `SERVICE_TIME`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     len(cluster.service_time("nowhere", since="1h", every="10m"))
        0

        """
        return self._answer(service_times.service_time, self._query(since, until, every), topic)

    def task_events(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        worker_id: str | None = None,
        task_id: str | None = None,
    ) -> pd.DataFrame:
        """Return when tasks began and ended.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        worker_id, task_id
            A single worker, or task; by default all.

        Returns
        -------
        pandas.DataFrame
            One row an event (schema `TASK_EVENTS`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.task_events(since="2h", until="1h").empty
        True

        """
        frame = self._answer(
            records.task_events,
            self._query(since, until),
            topic=topic,
            worker_id=worker_id,
            task_id=task_id,
            redaction=self._redaction,
        ).frame()
        named = int(frame["task_name"].notna().sum())
        if named < len(frame):
            frame.attrs["notes"] += [
                f"the task's name is known for {named:,} of {len(frame):,} rows, {_NAMED_IF_LONG}"
            ]
        return frame

    def cluster_events(self, *, since: Moment = "1h", until: Moment | None = None) -> pd.DataFrame:
        """Return the events that are not of tasks: of workers, locks, settings, commands.

        Parameters
        ----------
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.

        Returns
        -------
        pandas.DataFrame
            One row an event (schema `CLUSTER_EVENTS`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.cluster_events(since="2h", until="1h").empty
        True

        """
        query = self._query(since, until)
        return self._answer(records.cluster_events, query, redaction=self._redaction).frame()

    def failures(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1D",
        until: Moment | None = None,
        limit: int = _MAX_FAILURES,
    ) -> pd.DataFrame:
        """Return the tasks that failed, including tasks whose message the worker acknowledged.

        Where a recorder kept their messages (``bodies=True``), `plan_replay` of the live cluster
        takes these rows.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.
        limit
            The number of rows; the latest ones are returned.

        Returns
        -------
        pandas.DataFrame
            One row a failed task (schema `FAILURES`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.failures("emails").empty
        True

        """
        return self.failures_table(topic, since=since, until=until, limit=limit).frame()

    def failures_table(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1D",
        until: Moment | None = None,
        limit: int = _MAX_FAILURES,
    ) -> Table:
        """Return `failures` as a table, without importing pandas."""
        query = self._query(since, until)
        return self._answer(
            records.failures,
            query,
            topic=topic,
            limit=limit,
            recording=query.recording.name,
            redaction=self._redaction,
        )

    def gaps(self, *, since: Moment = "1D", until: Moment | None = None) -> pd.DataFrame:
        """Return when something was not recorded, and why.

        Parameters
        ----------
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end; by default now, or the end of the recording.

        Returns
        -------
        pandas.DataFrame
            One row a gap (schema `GAPS`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.gaps(since="1D").columns.tolist()
        ['since', 'until', 'what', 'why']

        """
        return self._answer(records.gaps, self._query(since, until)).frame()

    @contextlib.contextmanager
    def sampled(self) -> Iterator[TickReader]:
        """Sample a live cluster now, and open its recording, for as long as the context.

        For displays that are updated every second; frames are easier to use.

        Returns
        -------
        TickReader
            The samples, tick by tick.

        Raises
        ------
        RecordingError
            The recording cannot be read.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster, cluster.sampled() as reader:
        ...     reader.problem is None
        True

        """
        recording = self._recording()
        with recording.read() as connection:
            end = number(self._history.end())
            yield TickReader(connection, end, self._history.problem)

    def _query(
        self, since: Moment, until: Moment | None, every: Span | None = None, *, raw: bool = False
    ) -> Query:
        """Return the query for a time; a live cluster is sampled first."""
        recording = self._recording()
        start, end = self._between(since, until)
        length = (
            seconds(every)
            if every is not None
            else None
            if raw
            else interval((end - start) / _INTERVAL_COUNT)
        )
        step = None if length is None else max(number(length), 1)
        window = Window(since=number(start), until=number(end), every=step)
        return Query(recording, window)

    def _between(self, since: Moment, until: Moment | None) -> tuple[float, float]:
        """Return the time from *since* to before *until*, in seconds since the epoch."""
        now = self._clock.time()
        end = self._history.end() + 0.001 if until is None else epoch(until, now)
        start = epoch(since, now if until is None else end)
        if start >= end:
            raise ValueError(f"since {since!r} is not before until {until!r}.")
        return start, end

    def _recording(self) -> Recording:
        self._listen()
        return self._history.recording()

    def _answer(
        self, question: Callable[..., Answer], query: Query, *args: Any, **options: Any
    ) -> Answer:
        with query.recording.read() as connection:
            answer = question(connection, query.window, *args, **options)
            missing = len(records.gaps(connection, query.window))
            has_gaps = question is not records.gaps and missing > 0
            note = self._history.note(connection, query.window, has_gaps=has_gaps)
            topics = topic_dialects.recorded(connection, query.window.until).values()
            notes = mute_workers.notes(connection, query.window, question, answer)
        source = Source(name="recording", ok=not missing, columns=tuple(answer.columns), age=0.0)
        answer = self._sourced(answer, source)
        answer.attrs["recording"] = query.recording.name
        if note is not None and self.is_recorded:
            answer.attrs["notes"][0] = answer.attrs["recorded"] = note
        elif note is not None:
            answer.attrs["notes"].append(note)
        self._note_dialects_without_events(answer.attrs, (t.dialect for t in topics), notes)
        return answer
