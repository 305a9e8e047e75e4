"""`Cluster`: the facade for people. It answers in DataFrames."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import pandas as pd
from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.core import cluster_view, frames, schemas
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.compose import check_topic
from tasktools.core.errors import BrokerError, NotRecorded
from tasktools.core.models import ClusterState, Source, Worker
from tasktools.core.moments import Moment, epoch
from tasktools.ops import tasks
from tasktools.ops.commands import Commands
from tasktools.ops.following import TaskLog
from tasktools.ops.heard import HeardErrors
from tasktools.ops.publishing import Publishing
from tasktools.ops.recording.history import HistoryBroker
from tasktools.ops.recording.recorder import Recorder
from tasktools.ops.replaying import Replaying
from tasktools.ops.seen import SeenTasks
from tasktools.ops.tapping import Tapping


class Cluster(Publishing, Commands, Replaying, Tapping):
    """A task-worker cluster to look at and to act on. Made by `tasktools.connect`.

    Every frame says in ``attrs["sources"]`` where its columns came from, how old that is, and
    what could not be told; schemas are in `tasktools.core.schemas`. Secrets in arguments and
    headers are masked, unless the cluster was opened with ``reveal=True``.

    >>> import tasktools as tt
    >>> with tt.connect("memory://") as cluster:
    ...     task_id = cluster.publish("emails", "send", kwargs={"to": "a@b"}, create=True)
    ...     cluster.topics()[["topic", "queued"]]
        topic  queued
    0  emails       1
    """

    def __init__(
        self,
        broker: Broker,
        *,
        topics: Iterable[str] = (),
        reveal: bool = False,
        clock: Clock | None = None,
        signature: Callable[[str], inspect.Signature | None] = lambda _task: None,
    ) -> None:
        self.broker = broker
        self._clock = clock or SystemClock()
        self._named = set(topics)
        self._seen = SeenTasks()
        self._log = TaskLog(self._clock)
        self._errors = HeardErrors()
        self._signature = signature
        self._reveal = reveal
        self._is_listening = False
        self._heard: Recorder | None = None

    def __repr__(self) -> str:
        broker = self.broker
        words = ["DEMO" if broker.demo else None, broker.address, f"layout {broker.layout.name}"]
        words += [f"RabbitMQ {broker.server_version}" if broker.server_version else None]
        words += ["read_only" if broker.read_only else None]
        return f"<Cluster {', '.join(word for word in words if word)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether everything that changes the cluster is refused."""
        return self.broker.read_only

    @property
    def reveal(self) -> bool:
        """Whether secrets are shown."""
        return self._reveal

    def close(self) -> None:
        """Let go of connections and threads; idempotent."""
        if self._heard is not None:
            self._heard.close()
        self.broker.close()

    def at(self, moment: Moment) -> Self:
        """Return the cluster as it was at a *moment* of its recording: a time with its zone, or a
        span before the end, as ``"2h"``. Closing it is not needed.

        Raises `NotRecorded` for a live cluster.
        """
        if not isinstance(self.broker, HistoryBroker):
            raise NotRecorded(
                "A live cluster shows only the present; nothing was changed. Record it with "
                "cluster.record(path), and connect to the recording: sqlite:///path."
            )
        then = self.broker.at(epoch(moment, self._clock.time()))
        return type(self)(
            then,
            topics=self._named,
            reveal=self._reveal,
            clock=then.clock,
            signature=self._signature,
        )

    # --- looking --------------------------------------------------------------------

    def workers(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return one row a worker, dead ones of the last hour included (schema `WORKERS`).

        The first call waits for up to 3.5 s, one heartbeat, if no worker has been heard of.
        """
        if at is not None:
            return self.at(at).workers()
        state = self._state(settle=cluster_view.ONE_HEARTBEAT)
        rows = [_worker_row(worker) for worker in sorted(state.workers, key=_by_name)]
        return self._frame(schemas.WORKERS, rows, _events(state, schemas.WORKERS))

    def topics(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return one row a topic (schema `TOPICS`).

        Topics are those the workers speak of, those named so far (``connect(topics=…)``,
        published to, asked for) and, with the management API, all others; AMQP alone cannot
        list queues. Counts of queued messages are exact for up to 100 topics, and without the
        management API for all.
        """
        if at is not None:
            return self.at(at).topics()
        state = self._state()
        kept, note = tasks.kept_settings(self.broker)
        known = {**state.settings, **kept}
        report = self.broker.topic_report(state.topics | self._named | kept.keys())
        running = tasks.count_by_topic(state.running)
        subscribers = tasks.subscribers_by_topic(state.workers)
        rows = []
        for stats in report.topics:
            topic = stats.topic
            counted, settings = state.counters.get(topic), known.get(topic)
            rows.append(
                (
                    topic,
                    stats.queued,
                    stats.unacked,
                    running[topic] if state.events.ok else None,
                    stats.dead_letter,
                    stats.consumers,
                    subscribers[topic] if state.events.ok else None,
                    stats.publish_rate,
                    stats.ack_rate,
                    settings and settings.concurrency_limit,
                    counted and counted.succeeded,
                    counted and counted.failed,
                    counted and counted.requeued,
                    counted and counted.dead_lettered,
                    stats.queue_type,
                    stats.dead_lettering,
                    stats.exists,
                )
            )
        sources = (_events(state, schemas.TOPICS), *report.sources)
        frame = self._frame(schemas.TOPICS, rows, sources)
        frame.attrs["notes"] += [note] if note else []
        return frame

    def topic_settings(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return one row a topic for which settings are kept (schema `SETTINGS`).

        They were made by `configure_topic`, or by a peer and taken over by a worker of
        tasktools; they outlive every process. Raises `PermissionDenied`.
        """
        if at is not None:
            return self.at(at).topic_settings()
        kept = self.broker.topic_settings()
        rows = [
            (
                topic,
                settings.concurrency_limit,
                settings.max_retries,
                settings.dead_letter_enabled,
                settings.retention_seconds,
            )
            for topic, settings in sorted(kept.items())
        ]
        source = Source(name="broker", ok=True, columns=schemas.SETTINGS.names, age=0.0)
        return self._frame(schemas.SETTINGS, rows, source)

    def active_tasks(
        self,
        topic: str | None = None,
        *,
        queued: bool = True,
        limit: int = 1000,
        at: Moment | None = None,
    ) -> pd.DataFrame:
        """Return one row a running or queued task (schema `ACTIVE_TASKS`), running ones first.

        Of *topic*, or of all topics. Queued tasks are seen by looking at the queue, at up to
        *limit* messages a topic, which marks them redelivered and can cost more
        (`tasktools.core.peek`): what was looked at, at what cost, and where a look was refused
        is in ``attrs["looks"]``. ``queued=False`` never looks. Tasks that a worker has fetched
        but not begun are in neither state. Raises `UnknownTopic`.
        """
        if at is not None:
            return self.at(at).active_tasks(topic, queued=queued, limit=limit)
        state = self._state(settle=cluster_view.ONE_HEARTBEAT)
        sources = [_events(state, schemas.ACTIVE_TASKS)]
        looks: list[tasks.LookReport] = []
        waiting: list[tasks.Waiting] = []
        if topic is not None:
            check_topic(topic)
            tasks.check_known(self.broker, state, topic)
            self._named.add(topic)
        if queued:
            where = [] if topic is None else [topic]
            if topic is None:
                report = self.broker.topic_report(state.topics | self._named)
                where = [stats.topic for stats in report.topics if stats.queued]
                sources += [replace(source, columns=()) for source in report.sources]
            waiting, looks = tasks.look_at_queues(self.broker, where, limit)
            sources.append(tasks.look_source(looks))
            self._seen.remember(message.task for _, message in waiting)
        running = [run for run in state.running if topic in (None, run.topic)]
        self._seen.remember(self._kept(running))
        now = self._clock.time()
        rows = [tasks.running_row(run, self._seen.get(run.task_id), now) for run in running]
        rows += [tasks.queued_row(name, message, now) for name, message in waiting]
        shown = rows if self._reveal else [tasks.masked(row) for row in rows]
        frame = self._frame(schemas.ACTIVE_TASKS, shown, sources)
        frame.attrs["looks"] = [look.as_dict() for look in looks]
        return frame

    def locks(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return one row a lock that was announced and not released (schema `LOCKS`)."""
        if at is not None:
            return self.at(at).locks()
        state = self._state()
        now = self._clock.time()
        rows = [
            (
                lock.lock,
                lock.task_id,
                lock.worker_id,
                lock.acquired_at,
                None if lock.acquired_at is None else now - lock.acquired_at.timestamp(),
                lock.orphaned,
            )
            for lock in state.locks
        ]
        return self._frame(schemas.LOCKS, rows, _events(state, schemas.LOCKS))

    def stats(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the cluster in one row (schema `STATS`)."""
        if at is not None:
            return self.at(at).stats()
        state = self._state(settle=cluster_view.ONE_HEARTBEAT)
        report = self.broker.topic_report(state.topics | self._named)
        live = [worker for worker in state.workers if worker.state in ("alive", "late")]
        capacity = sum(worker.capacity or 0 for worker in live)
        running = sum(worker.running or 0 for worker in live)
        heard = state.events.ok or bool(state.workers)
        by_events = (
            len(live),
            sum(worker.state == "late" for worker in live),
            sum(worker.state == "gone" for worker in state.workers),
            capacity,
            running,
            _ratio(running, capacity),
        )
        row = (
            *(by_events if heard else [None] * len(by_events)),
            len(report.topics),
            _total(stats.queued for stats in report.topics),
            _total(stats.dead_letter for stats in report.topics),
            len(state.locks) if heard else None,
        )
        return self._frame(schemas.STATS, [row], (_events(state, schemas.STATS), *report.sources))

    def _listen(self) -> None:
        """Hear of errors from now on; a worker that uses our broker has no need to."""
        if not self._is_listening:
            with contextlib.suppress(BrokerError):  # the next look tries again
                self.broker.listen(self._errors.hear)
                self._is_listening = True
                if not isinstance(self.broker, HistoryBroker):
                    self._watching()

    def _state(self, *, settle: float = 0.0) -> ClusterState:
        self._listen()
        return self.broker.cluster_state(settle=settle)

    # --- frames ---------------------------------------------------------------------

    def _frame(
        self,
        schema: schemas.Schema,
        rows: Sequence[Sequence[Any]],
        sources: Source | Iterable[Source],
    ) -> pd.DataFrame:
        return self._frame_of(frames.frame_from(schema, rows), sources)

    def _frame_of(self, frame: pd.DataFrame, sources: Source | Iterable[Source]) -> pd.DataFrame:
        """Return *frame* with what travels with every frame of this cluster."""
        told = (sources,) if isinstance(sources, Source) else tuple(sources)
        frame.attrs["cluster"] = repr(self)
        frame.attrs["sources"] = frames.sources_attr(told)
        notes = frame.attrs.get("notes", [])
        notes += [f"{source.name}: {source.note}" for source in told if source.note]
        if self.broker.note:
            notes.insert(0, self.broker.note)
        if self.broker.demo:
            frame.attrs["demo"] = "DEMO"
        frame.attrs["notes"] = notes
        return frame


def _events(state: ClusterState, schema: schemas.Schema) -> Source:
    """Return the events as a source of those columns of *schema* that come from them."""
    columns = tuple(column.name for column in schema.columns if "events" in column.source)
    return replace(state.events, columns=columns)


def _by_name(worker: Worker) -> str:
    return worker.worker_id


def _worker_row(worker: Worker) -> tuple[Any, ...]:
    return (
        worker.worker_id,
        worker.role,
        worker.host,
        worker.pid,
        worker.state,
        worker.uncertain,
        worker.ours,
        worker.draining,
        worker.running,
        worker.capacity,
        _ratio(worker.running, worker.capacity),
        list(worker.topics),
        worker.started_at,
        worker.last_seen,
        worker.silence,
        worker.clock_offset,
        worker.succeeded,
        worker.failed,
    )


def _total(counts: Iterable[int | None]) -> int | None:
    """Add up what is known; `None` when there is something and none of it is known."""
    told = list(counts)
    known = [count for count in told if count is not None]
    return sum(known) if known or not told else None


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
