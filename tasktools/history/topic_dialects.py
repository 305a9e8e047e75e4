"""The dialects and dead-letter queues of topics in a recording: a row when they change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Annotated, Final

import msgspec

from tasktools.core.models import TopicReport
from tasktools.history.samples import Id
from tasktools.history.tables import TOPIC_DIALECTS, Row, has_table, select

_LATEST: Final = """
FROM topic_dialects AS t WHERE t.at = (
  SELECT max(at) FROM topic_dialects AS later WHERE later.topic = t.topic AND later.at <= :until)
"""

_Name = Annotated[str, msgspec.Meta(max_length=255)]


class TopicDialect(msgspec.Struct, frozen=True, array_like=True):
    """The dialect of a topic's workers, and the queue with its dead letters, as they were known."""

    topic: str
    dialect: _Name | None
    dead_queue: _Name | None


class TopicDialects:
    """The values that were written of each topic."""

    def __init__(self) -> None:
        self._known: dict[str, TopicDialect] = {}

    def changed(self, report: TopicReport, at: int, name: Id) -> Iterator[Row]:
        """Yield rows of the topics in *report* that changed."""
        for stats in report.topics:
            now = TopicDialect(stats.topic, stats.dialect, stats.dead_queue)
            if self._known.get(stats.topic) != now:
                self._known[stats.topic] = now
                values = {"dialect": now.dialect, "dead_queue": now.dead_queue}
                yield {"topic": name(stats.topic), "at": at, **values}

    def forget(self) -> None:
        """Forget which rows are written: some may have been rolled back."""
        self._known.clear()


def recorded(connection: sqlite3.Connection, until: int) -> Mapping[str, TopicDialect]:
    """Return the dialects known at *until* (ms); empty for a recording of an earlier release."""
    if not has_table(connection, TOPIC_DIALECTS.name):
        return {}
    rows = select(connection, TopicDialect, _LATEST, {"until": until})
    return {row.topic: row for row in rows}
