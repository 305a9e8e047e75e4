"""The present state of a cluster: workers, topics, tasks, locks."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from tasktools.cluster.base import ClusterBase
from tasktools.core import known_workers, workload
from tasktools.core.frames import schemas
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table
from tasktools.core.lazy import pd
from tasktools.core.models import ClusterState, Source
from tasktools.core.timespans import Moment
from tasktools.core.topic_rules import check_queue_name
from tasktools.monitor import active_tasks as tasks

_COUNTS: Final = ("succeeded", "failed", "requeued", "dead_lettered")


class Overview(ClusterBase):
    """The part of `Cluster` that shows what it is doing now."""

    def workers(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the workers, those that died within the last hour included.

        The first call waits until each worker has sent a heartbeat, for up to 3.5 s. Until then
        what a worker runs is missing, since others tell of it what was so up to 3 s ago; a note
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
        return self.workers_table(at=at).frame()

    def workers_table(self, *, at: Moment | None = None) -> Table:
        """Return `workers` as a table, which takes no pandas."""
        if at is not None:
            return self.at(at).workers_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        rows = [
            _row(
                schemas.WORKERS,
                worker,
                tasktools=worker.is_tasktools,
                utilisation=_ratio(worker.running, worker.capacity),
                topics=list(worker.topics),
            )
            for worker in sorted(state.workers, key=lambda worker: worker.worker_id)
        ]
        table = self._table(schemas.WORKERS, rows, _events(state, schemas.WORKERS))
        clocks = known_workers.note_of_clocks(state.workers)
        table.attrs["notes"] += [clocks] if clocks else []
        return table

    def topics(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the topics with their queues.

        Topics are those that workers speak of, those named so far (``connect(topics=…)``, published
        to, asked for) and, with the management API, all others; AMQP alone cannot list queues.
        Counts of queued messages are exact for up to 100 topics, and without the management API for
        all. The first call waits as `workers` does.

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
        return self.topics_table(at=at).frame()

    def topics_table(self, *, at: Moment | None = None) -> Table:
        """Return `topics` as a table, which takes no pandas."""
        if at is not None:
            return self.at(at).topics_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        kept_settings, note = tasks.kept_settings(self.broker)
        known = {**state.settings, **kept_settings}
        report = self.broker.topic_report(state.topics | self._named | kept_settings.keys())
        is_known = state.events.ok and state.settled
        running = workload.count_by_topic(state.running)
        subscribers = workload.subscribers_by_topic(state.workers)
        rows = []
        for stats in report.topics:
            counted, settings = state.counters.get(stats.topic), known.get(stats.topic)
            rows.append(
                _row(
                    schemas.TOPICS,
                    stats,
                    running=running[stats.topic] if is_known else None,
                    subscribers=subscribers[stats.topic] if is_known else None,
                    concurrency_limit=settings and settings.concurrency_limit,
                    **{name: counted and getattr(counted, name) for name in _COUNTS},
                )
            )
        sources = (_events(state, schemas.TOPICS), *report.sources)
        table = self._table(schemas.TOPICS, rows, sources)
        table.attrs["notes"] += [note] if note else []
        return table

    def topic_settings(self, *, at: Moment | None = None) -> pd.DataFrame:
        """Return the settings of topics that the broker keeps.

        They were made by `configure_topic`, or by a peer and taken over by a worker of tasktools;
        they outlive every process.

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
            The user may not read them.
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
        """Return `topic_settings` as a table, which takes no pandas."""
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
        """Return the tasks that run and, after them, those that are queued.

        Tasks that a worker has fetched but not begun are in neither state.

        Parameters
        ----------
        topic
            The topic; by default all.
        queued
            Look at queued tasks too, which marks their messages redelivered and can cost more
            (`tasktools.core.peek`); false never looks.
        limit
            At most so many messages a topic are looked at.
        at
            In a recording: the moment that is shown, as ``"2h"`` before its end.

        Returns
        -------
        pandas.DataFrame
            One row a task (schema `ACTIVE_TASKS`); ``attrs["looks"]`` says what was looked at, at
            what cost, and where a look was refused.

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
        return self.active_tasks_table(topic, queued=queued, limit=limit, at=at).frame()

    def active_tasks_table(
        self,
        topic: str | None = None,
        *,
        queued: bool = True,
        limit: int = 1000,
        at: Moment | None = None,
    ) -> Table:
        """Return `active_tasks` as a table, which takes no pandas."""
        if at is not None:
            return self.at(at).active_tasks_table(topic, queued=queued, limit=limit)
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        sources = [_events(state, schemas.ACTIVE_TASKS)]
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
        self._seen.remember(self._history.seen_tasks(running))
        now = self._clock.time()
        rows = [tasks.running_row(run, self._seen.get(run.task_id), now) for run in running]
        rows += [tasks.queued_row(name, message, now) for name, message in waiting]
        shown = [tasks.masked(row, self._redaction) for row in rows]
        table = self._table(schemas.ACTIVE_TASKS, shown, sources)
        table.attrs["looks"] = [look.as_dict() for look in looks]
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
        """Return `locks` as a table, which takes no pandas."""
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
        return self.stats_table(at=at).frame()

    def stats_table(self, *, at: Moment | None = None) -> Table:
        """Return `stats` as a table, which takes no pandas."""
        if at is not None:
            return self.at(at).stats_table()
        state = self._state(settle=known_workers.ONE_HEARTBEAT)
        report = self.broker.topic_report(state.topics | self._named)
        live = workload.live_workers(state.workers)
        telling = [w for w in live if w.running is not None and w.capacity is not None]
        busy = sum(worker.running or 0 for worker in telling) if state.settled else None
        is_heard = state.events.ok or bool(state.workers)
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
        # No topic is known where nobody can be heard and queues cannot be listed: that is not none.
        is_told = bool(report.topics) or all(source.ok for source in sources)
        row = (
            *(by_events if is_heard else [None] * len(by_events)),
            len(report.topics) if is_told else None,
            *(tasks.total(known) if is_told else None for known in counts.values()),
            len(state.locks) if is_heard else None,
        )
        table = self._table(schemas.STATS, [row], sources)
        table.attrs["notes"] += tasks.notes_of_totals(counts)
        return table


def _events(state: ClusterState, schema: Schema) -> Source:
    """Return the source `events`, with the columns of *schema* that come from it."""
    columns = tuple(column.name for column in schema.columns if "events" in column.source)
    return replace(state.events, columns=columns)


def _row(schema: Schema, item: object, **others: Any) -> tuple[Any, ...]:
    """Return a row of *schema*: attributes of *item*, but those columns that *others* has."""
    return tuple(others[name] if name in others else getattr(item, name) for name in schema.names)


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
