"""Recordings of a topic whose numbers are given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tests.recorded import START, Scene

Sample = tuple[float, float, float, float, float | None]
"""Seconds from the start, length of the queue, tasks begun and ended since the sample before, and
slots."""


def record(path: Path, topic: str, samples: Iterable[Sample]) -> None:
    """Write a recording of *topic* into *path*, as a recorder would."""
    scene = Scene(path)
    scene.cluster.broker.publish(topic, {"task_name": "shop:send"})
    scene.tick(0)
    scene.close()
    rows = [(round(1000 * (START + at)), *values) for at, *values in samples]
    with sqlite3.connect(path) as connection:
        (number,) = connection.execute("SELECT id FROM names WHERE name = ?", (topic,)).fetchone()
        connection.execute("DELETE FROM topic_samples")
        connection.execute("DELETE FROM ticks")
        connection.execute("UPDATE sessions SET last = ?, ended = ?", (rows[-1][0], rows[-1][0]))
        connection.executemany(
            "INSERT INTO topic_samples (topic, at, span, n, queued, queued_max, capacity, began, "
            f"done, errors) VALUES ({number}, :at, 0, 1, :queued, :queued, :slots, "
            ":began, :ended, 0)",
            [
                {"at": at, "queued": queued, "began": began, "ended": ended, "slots": slots}
                for at, queued, began, ended, slots in rows
            ],
        )
        connection.executemany(
            "INSERT INTO ticks (at, span, n, turn, heard, events_ok, topics_ok) "
            "VALUES (?, 0, 1, 1, 1, 1, 1)",
            [(at,) for at, *_ in rows],
        )
    connection.close()
