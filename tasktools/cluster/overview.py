"""The present state of a cluster: workers, topics, tasks, locks."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from tasktools.cluster.base import ClusterBase
from tasktools.core import known_workers, workload
from tasktools.core.dialects import registry
from tasktools.core.frames import schemas
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd
from tasktools.core.models import ClusterState, Source, TopicReport
from tasktools.core.timespans import Moment
from tasktools.core.topic_rules import check_queue_name
from tasktools.monitor import active_tasks as tasks

_COUNTS: Final = ("succeeded", "failed", "requeued", "dead_lettered")


class Overview(ClusterBase):
    """The part of `Cluster` that shows its present state."""

    def workers(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the workers, including those that died within the last hour.

        The first call waits until each worker has sent a heartbeat, for up to 3.5 s. Until then a
        worker's running tasks are missing, since other nodes report them up to 3 s late; a note
        says so.

        Parameters
        ----------
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a worker (schema `WORKERS`).

        Raises
        ------
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     len(cluster.workers())
        8

        """
        self._import_pandas_meanwhile()
        return self.workers_table(at=at).frame()

    def workers_table(self, *, at: Moment | None = None) -> Table:
        """Return `workers` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).workers_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        rows = [
            _row(
                schemas.WORKERS,
                worker,
                tasktools=worker.is_tasktools,
                utilisation=_ratio(worker.running, worker.capacity),
                topics=list(worker.topics) if worker.topics_known else None,
            )
            for worker in sorted(state.workers, key=lambda worker: worker.worker_id)
        ]
        table = self._table(schemas.WORKERS, rows, _events(state, schemas.WORKERS))
        clocks = known_workers.note_of_clocks(state.workers)
        table.attrs["notes"] += [clocks] if clocks else []
        if not rows:
            report = self.broker.topic_report(state.topics | self._named)
            table.attrs["notes"] += registry.notes_of_silent(
                stats.dialect for stats in report.topics
            )
        return table

    def topics(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the topics with their queues.

        Topics are those named in workers' events, those named so far (``connect(topics=…)``,
        published to, asked for) and, with the management API, all others; AMQP alone cannot list
        queues. A topic whose queue the broker reports missing is left out, unless a worker consumes
        it, ``connect`` names it or it has settings. Counts of queued messages are exact for up to
        100 topics, and without the management API for all. The first call waits as `workers` does.

        Parameters
        ----------
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a topic (schema `TOPICS`).

        Raises
        ------
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://", topics=["emails"]) as cluster:
        ...     cluster.create_topic("images")
        ...     cluster.topics()[["topic", "queued", "exists"]]
        topics: 2 rows; from events, broker; memory://, layout taskworker
             topic   queued  exists
        0!!  emails       -  no
        1    images       0  yes

        """
        self._import_pandas_meanwhile()
        return self.topics_table(at=at).frame()

    def topics_table(self, *, at: Moment | None = None) -> Table:
        """Return `topics` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).topics_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        kept_settings, note = tasks.kept_settings(self.broker)
        known = {**state.settings, **kept_settings}
        report = self.broker.topic_report(state.topics | self._named | kept_settings.keys())
        report = workload.without_gone(
            report, state, always_shown={*self._always_shown, *kept_settings.keys()}
        )
        loads = workload.TopicLoads(state)
        rows = []
        for stats in report.topics:
            counted, settings = state.counters.get(stats.topic), known.get(stats.topic)
            load = loads.of(stats.topic, stats.dialect)
            rows.append(
                _row(
                    schemas.TOPICS,
                    stats,
                    running=load.running,
                    subscribers=load.subscribers,
                    concurrency_limit=settings and settings.concurrency_limit,
                    **{name: counted and getattr(counted, name) for name in _COUNTS},
                )
            )
        sources = (_events(state, schemas.TOPICS), *report.sources)
        table = self._table(schemas.TOPICS, rows, sources)
        table.attrs["notes"] += [note] if note else []
        table.attrs["notes"] += registry.notes_of_silent(stats.dialect for stats in report.topics)
        return table

    def topic_settings(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the settings of topics that the broker keeps.

        They were set by `configure_topic`, or by a peer and stored by a worker of tasktools; they
        outlive every process.

        Parameters
        ----------
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a topic that has settings (schema `SETTINGS`).

        Raises
        ------
        PermissionDenied
            The user may not read the settings.
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.create_topic("emails")
        ...     settings = cluster.configure_topic("emails", concurrency_limit=4)
        ...     cluster.topic_settings()[["topic", "concurrency_limit"]]
        settings: 1 row; from broker; memory://, layout taskworker
           topic   concurrency_limit
        0  emails                  4

        """
        return self.topic_settings_table(at=at).frame()

    def topic_settings_table(self, *, at: Moment | None = None) -> Table:
        """Return `topic_settings` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).topic_settings_table()
        kept_settings = self.broker.topic_settings()
        rows = [
            _row(schemas.SETTINGS, settings, topic=topic, retention=settings.retention_seconds)
            for topic, settings in sorted(kept_settings.items())
        ]
        source = Source(name="broker", ok=True, columns=schemas.SETTINGS.names, age=0.0)
        return self._table(schemas.SETTINGS, rows, source)

    def active_tasks(
        self,
        topic: str | None = None,
        *,
        queued: bool = True,
        limit: int = 1000,
        at: Moment | None = None,
    ) -> pd.DataFrame:
        """Return the tasks that run, that workers have prefetched, and that are queued.

        Tasks that a worker of fastpluggy has fetched but not begun are not listed: only workers of
        Celery report such tasks.

        Parameters
        ----------
        topic
            The topic; by default all.
        queued
            Look at queued tasks too, which marks their messages redelivered and can cost more
            (`tasktools.core.peek_verdict`); false never looks.
        limit
            The number of messages to look at in each topic.
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a task (schema `ACTIVE_TASKS`); ``attrs["looks"]`` names the queues that were
            looked at, the cost, and refused looks.

        Raises
        ------
        UnknownTopic
            There is no *topic*.
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.active_tasks("emails")[["task_name", "state"]]
        active tasks: 1 row; from events, look; looking at emails was harmless;
          memory://, layout taskworker
           task_name  state
        0  send       queued

        """
        self._import_pandas_meanwhile()
        return self.active_tasks_table(topic, queued=queued, limit=limit, at=at).frame()

    def active_tasks_table(
        self,
        topic: str | None = None,
        *,
        queued: bool = True,
        limit: int = 1000,
        at: Moment | None = None,
    ) -> Table:
        """Return `active_tasks` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).active_tasks_table(topic, queued=queued, limit=limit)
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        sources = [_events(state, schemas.ACTIVE_TASKS)]
        report: TopicReport | None = None
        looks: list[tasks.LookReport] = []
        waiting: list[tasks.Waiting] = []
        if topic is not None:
            check_queue_name(topic)
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
        prefetched = [task for task in state.prefetched if topic in (None, task.topic)]
        self._seen.remember(self._history.seen_tasks(running))
        now = self._clock.time()
        rows = [tasks.running_row(run, self._seen.get(run.task_id), now) for run in running]
        rows += [tasks.prefetched_row(task, self._seen.get(task.task_id)) for task in prefetched]
        rows += [tasks.queued_row(name, message, now) for name, message in waiting]
        shown = [tasks.masked(row, self._redaction) for row in rows]
        table = self._table(schemas.ACTIVE_TASKS, shown, sources)
        table.attrs["looks"] = [look.as_dict() for look in looks]
        if not (running or prefetched):
            report = report or self.broker.topic_report(state.topics | self._named)
            chosen = (stats for stats in report.topics if topic in (None, stats.topic))
            self._note_dialects_without_events(table.attrs, (stats.dialect for stats in chosen))
        return table

    def locks(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the locks that were announced and not released.

        Parameters
        ----------
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a lock (schema `LOCKS`). Locks that were taken before this process began to
            listen are not known; a note says so.

        Raises
        ------
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     lock = cluster.broker.acquire_lock("nightly", "task-1", "worker-1")
        ...     cluster.locks()[["lock", "task_id"]]
        locks: 1 row; from events; memory://, layout taskworker
           lock     task_id
        0  nightly  task-1
        note: locks that were taken before ... UTC, when this process began to
          listen, are not known: they are announced only once

        """
        return self.locks_table(at=at).frame()

    def locks_table(self, *, at: Moment | None = None) -> Table:
        """Return `locks` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).locks_table()
        state = self._state()
        now = self._clock.time()
        rows = [
            _row(
                schemas.LOCKS,
                lock,
                held_for=lock.acquired_at and now - lock.acquired_at.timestamp(),
            )
            for lock in state.locks
        ]
        table = self._table(schemas.LOCKS, rows, _events(state, schemas.LOCKS))
        if state.listening_since is not None:
            table.attrs["notes"] += [
                f"locks that were taken before {state.listening_since:%H:%M:%S} UTC, when this "
                "process began to listen, are not known: they are announced only once"
            ]
        return table

    def stats(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the cluster in one row.

        Parameters
        ----------
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row (schema `STATS`).

        Raises
        ------
        NotRecorded
            *at* was given, and this is a live cluster.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     cluster.stats()["topics"].tolist()
        [6]

        """
        self._import_pandas_meanwhile()
        return self.stats_table(at=at).frame()

    def stats_table(self, *, at: Moment | None = None) -> Table:
        """Return `stats` as a table, without importing pandas."""
        if at is not None:
            return self.at(at).stats_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        report = self.broker.topic_report(state.topics | self._named)
        report = workload.without_gone(report, state, always_shown=self._always_shown)
        live = workload.live_workers(state.workers)
        telling = [w for w in live if w.running is not None and w.capacity is not None]
        busy = sum(worker.running or 0 for worker in telling) if state.settled else None
        is_silent = workload.why_silent(state, report) is not None
        is_heard = bool(state.workers) or (state.events.ok and not is_silent)
        by_events = (
            len(live),
            sum(worker.state == "late" for worker in live),
            sum(worker.state == "gone" for worker in state.workers),
            workload.capacity_in_all(live),
            workload.running_in_all(state),
            _ratio(busy, workload.capacity_in_all(telling)),
        )
        sources = (_events(state, schemas.STATS), *report.sources)
        counts = {
            "queued": [stats.queued for stats in report.topics],
            "dead_letter": [stats.dead_letter for stats in report.topics],
        }
        # Without events and without a list of queues no topic is known: that is not none.
        is_told = bool(report.topics) or all(source.ok for source in sources)
        row = (
            *(by_events if is_heard else [None] * len(by_events)),
            len(report.topics) if is_told else None,
            *(tasks.total(known) if is_told else None for known in counts.values()),
            len(state.locks) if is_heard else None,
        )
        table = self._table(schemas.STATS, [row], sources)
        table.attrs["notes"] += [
            *tasks.notes_of_totals(counts),
            *registry.notes_of_silent(stats.dialect for stats in report.topics),
        ]
        return table


def _events(state: ClusterState, schema: Schema) -> Source:
    """Return the source `events`, with the columns of *schema* that come from it."""
    columns = tuple(column.name for column in schema.columns if "events" in column.source)
    return replace(state.events, columns=columns)


def _row(schema: Schema, item: object, **others: Any) -> tuple[Any, ...]:
    """Return a row of *schema*: the attributes of *item*, except for columns that are in
    *others*."""
    return tuple(others[name] if name in others else getattr(item, name) for name in schema.names)


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
