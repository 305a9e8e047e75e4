"""Taps: streams on the broker that keep published messages."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from tasktools.brokers.taps import Tapped
from tasktools.cluster.history import Analysis, Query
from tasktools.core import taps
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.clock import moment
from tasktools.core.errors import InvalidTap
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.frames.messages import PublishedMessages, is_at_the_edge
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd
from tasktools.core.models import Source, TaskMessage
from tasktools.core.taps import Tap
from tasktools.core.tasks import codec
from tasktools.core.timespans import Moment, Span, seconds
from tasktools.history import records
from tasktools.history.copy_support import why_no_copies
from tasktools.monitor.caches import MAX_TASKS

_COLUMNS: Final = schemas.PUBLISHED_MESSAGES.names
_MAX_MESSAGES: Final = 100_000


class Tapping(Analysis):
    """The part of `Cluster` that keeps published messages, and shows them."""

    def tap(
        self,
        name: str = taps.NAME,
        *,
        max_age: Span = taps.MAX_AGE,
        max_bytes: int = taps.MAX_BYTES,
    ) -> Tap:
        """Keep all messages published from now on in a stream on the broker, without a recorder.

        `published` reads the stream from any time. If the tap exists with these limits, it is bound
        again where it was not.

        **Everybody pays for it**: each message is routed and stored once more, on the broker's disk
        (with its secrets); the task exchange confirms messages that no topic takes, so their
        publishers no longer learn of it (publishers of tasktools do); and a stream drops headers
        that are tables or lists. Replays do not pass the exchange, and are not kept.

        Parameters
        ----------
        name
            Begins with ``tasktools.tap``.
        max_age
            Age limit, at least 1 s: seconds, or a span as ``"7D"``. Older messages are dropped.
        max_bytes
            Size limit, at least 10 MB: beyond it the oldest messages are dropped, a tenth of the
            limit at a time.

        Returns
        -------
        Tap
            The tap: what it keeps, and what it costs.

        Raises
        ------
        TapConflict
            The tap exists with other limits.
        InvalidTap, NoStreams, ReadOnly
            Nothing was changed. No tap is possible where there are only workers of Celery, Dramatiq
            or other programs.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.tap(max_age="1h").title
        'tasktools.tap keeps what is published for 1h, at most 2,000,000,000 bytes'

        """
        age = seconds(max_age)
        why = why_no_copies(self.broker)
        if why is not None:
            raise InvalidTap(f"A tap would keep nothing: {why}; nothing was changed.")
        self.broker.tap(name, max_age=age, max_bytes=max_bytes)
        return Tap(name=name, max_age=round(age), max_bytes=max_bytes)

    def untap(self, name: str = taps.NAME, *, delete: bool = False) -> bool:
        """Stop keeping published messages.

        Parameters
        ----------
        name
            The tap.
        delete
            Delete also the messages that the tap has kept; else they can still be read until they
            expire.

        Returns
        -------
        bool
            Whether there was such a tap.

        Raises
        ------
        TapConflict
            *name* is a queue that is no stream.
        InvalidTap, ReadOnly
            Nothing was changed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     tap = cluster.tap()
        ...     cluster.untap()
        True

        """
        return self.broker.untap(name, delete=delete)

    def published(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        limit: int = _MAX_MESSAGES,
        tap: str = taps.NAME,
    ) -> pd.DataFrame:
        """Return published messages, from a tap, or from a recording that kept them.

        Nothing is taken away. Publication times are by the clock of the broker, or of the recorder;
        those of a tap are exact to about a second. `plan_replay` takes these rows, but those of a
        tap without headers that are tables or lists: the stream has dropped them.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
        until
            The end, exclusive: a moment, or a span before now; by default now.
        limit
            The number of rows; the first ones are returned.
        tap
            The tap; a recording has none.

        Returns
        -------
        pandas.DataFrame
            One row a message (schema `PUBLISHED_MESSAGES`).

        Raises
        ------
        UnknownTap
            There is no such tap.
        ValueError
            *limit* is below 1, or *since* is not before *until*.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     tap = cluster.tap()
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.published()[["topic", "task_name"]]
        published messages: 1 row; from tap; memory://, layout taskworker
           topic   task_name
        0  emails  send

        """
        table = self.published_table(topic, since=since, until=until, limit=limit, tap=tap)
        return table.frame()

    def published_table(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        limit: int = _MAX_MESSAGES,
        tap: str = taps.NAME,
    ) -> Table:
        """Return `published` as a table, without importing pandas."""
        if limit < 1:
            raise ValueError(f"limit is {limit}, not 1 or more.")
        if self.is_recorded:
            table = self._recorded(self._query(since, until), topic, limit + 1)
        else:
            start, end = self._between(since, until)
            table = self._tapped(tap, start, None if until is None else end, topic, limit + 1)
        if len(table) > limit:
            table = table.head(limit)
            table.attrs["notes"] += [f"there is more: these are the first {limit:,}"]
        return table

    def _recorded(self, query: Query, topic: str | None, limit: int) -> Table:
        return self._answer(
            records.published,
            query,
            topic=topic,
            limit=limit,
            recording=query.recording.name,
            redaction=self._redaction,
        )

    def _tapped(
        self, tap: str, since: float, until: float | None, topic: str | None, limit: int
    ) -> Table:
        rows = PublishedMessages(tap, redaction=self._redaction)
        seen: deque[TaskMessage] = deque(maxlen=MAX_TASKS)
        learn = self.broker.composer.functions.learn

        def receive(message: Tapped) -> bool:
            if topic not in (None, message.topic):
                return False
            properties = amqp_properties.decode(message.properties)
            task = codec.decode(message.body, properties)
            if is_at_the_edge(task.published_at, since, math.inf if until is None else until):
                return False
            rows.add(
                taps.key(message.offset),
                message.offset,
                message.topic,
                task,
                priority=properties.priority,
                size=len(message.body),
            )
            seen.append(task)
            learn(task)
            return len(rows) >= limit

        self.broker.read_tap(tap, receive, since=since, until=until)
        self._seen.remember(seen)
        source = Source(name="tap", ok=True, columns=_COLUMNS, age=0.0)
        table = self._sourced(rows.table(), source)
        table.attrs["tap"] = tap
        if not len(table):
            table.attrs["notes"] += [
                f"{tap} has no such message, from {moment(since):%d %b %H:%M:%S} UTC on; it keeps "
                "only messages published after it was made"
            ]
        return table
