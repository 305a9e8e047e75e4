"""Taps: what was published, kept by the broker, and read again from any time on."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import pandas as pd

from tasktools.brokers.tapping import Tapped
from tasktools.core import codec, taps, wire
from tasktools.core import history_schemas as schemas
from tasktools.core.models import Source, TaskMessage
from tasktools.core.moments import Moment, Span, seconds
from tasktools.core.published import PublishedMessages, is_at_the_edge
from tasktools.core.taps import Tap
from tasktools.ops.analysis import Analysis, Asked
from tasktools.ops.recording import told
from tasktools.ops.recording.history import HistoryBroker
from tasktools.ops.seen import MOST_TASKS, SeenTasks

_READ: Final = schemas.PUBLISHED_MESSAGES.names
_MOST: Final = 100_000


class Tapping(Analysis):
    """The part of `Cluster` that keeps what is published, and shows it."""

    _seen: SeenTasks

    def tap(
        self,
        name: str = taps.NAME,
        *,
        max_age: Span = taps.MAX_AGE,
        max_bytes: int = taps.MAX_BYTES,
    ) -> Tap:
        """Keep what is published from now on in a stream on the broker, without any recorder:
        `published` reads it again, from any time. Returns what it keeps, and what it costs.

        **Everybody pays for it**: each message is routed and stored once more, on the broker's disk
        (with its secrets); the task exchange confirms messages that no topic takes, so their
        publishers are not told any more (those of tasktools are); and a stream drops headers that
        are tables or lists. Replays do not pass the exchange, and are not kept.

        The oldest messages are dropped when they are older than *max_age* (at least a second), or
        when there are more than *max_bytes* (at least 10 MB); a tenth of those at once, so some
        stay longer. On a tap that is exactly so this makes sure that it is bound. *name* begins
        with ``tasktools.tap``. Raises `TapConflict` when it exists and keeps other amounts,
        `InvalidTap`, `NoStreams`, `ReadOnly`.
        """
        age = seconds(max_age)
        self.broker.tap(name, max_age=age, max_bytes=max_bytes)
        return Tap(name=name, max_age=round(age), max_bytes=max_bytes)

    def untap(self, name: str = taps.NAME, *, delete: bool = False) -> bool:
        """Keep nothing more of what is published; returns whether there was such a tap.

        What it has kept can still be read, until it is too old; with *delete* it is gone for good.
        Raises `InvalidTap`, `TapConflict` for a queue that is no stream, `ReadOnly`.
        """
        return self.broker.untap(name, delete=delete)

    def published(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1h",
        until: Moment | None = None,
        limit: int = _MOST,
        tap: str = taps.NAME,
    ) -> pd.DataFrame:
        """Return what was published, to *topic* or to all, from *since* to before *until*, the
        first *limit* (schema `PUBLISHED_MESSAGES`): of a *tap*, or of a recording that kept it.

        Nothing is taken away. When it was published is told by the clock of the broker, or of the
        recorder; a tap knows it to about a second. Rows can be planned and replayed, but of a tap
        without headers that are tables or lists: the stream has dropped them. Raises `UnknownTap`.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}, not 1 or more.")
        if isinstance(self.broker, HistoryBroker):
            frame = self._recorded(self._asked(since, until), topic, limit + 1)
        else:
            start, end = self._between(since, until)
            frame = self._tapped(tap, start, None if until is None else end, topic, limit + 1)
        if len(frame) > limit:
            attrs, frame = frame.attrs, frame.head(limit)
            frame.attrs = attrs
            frame.attrs["notes"] += [f"there is more: these are the first {limit:,}"]
        return frame

    def _recorded(self, asked: Asked, topic: str | None, limit: int) -> pd.DataFrame:
        return self._told(
            told.published,
            asked,
            topic=topic,
            limit=limit,
            recording=asked.recording.name,
            reveal=self._reveal,
        )

    def _tapped(
        self, tap: str, since: float, until: float | None, topic: str | None, limit: int
    ) -> pd.DataFrame:
        rows = PublishedMessages(tap, reveal=self._reveal)
        seen: deque[TaskMessage] = deque(maxlen=MOST_TASKS)
        learn = self.broker.composer.functions.learn

        def receive(message: Tapped) -> bool:
            if topic not in (None, message.topic):
                return False
            properties = wire.decode(message.properties)
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
        frame = self._frame_of(rows.frame(), Source(name="tap", ok=True, columns=_READ, age=0.0))
        frame.attrs["tap"] = tap
        return frame
