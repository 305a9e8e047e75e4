"""Recordings of topics whose numbers are given."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tests.recorded import START, Scene

Sample = tuple[float, float, float, float, float | None]
"""Seconds from the start, length of the queue, tasks begun and ended since the sample before, and
slots."""


def record(path: Path, topic: str, samples: Iterable[Sample], **others: Iterable[Sample]) -> None:
    """Write a recording of *topic*, and of *others*, into *path*, as a recorder would."""
    topics = {topic: list(samples), **{name: list(rows) for name, rows in others.items()}}
    scene = Scene(path)
    for name in topics:
        scene.cluster.broker.publish(name, {"task_name": "shop:send"})
    scene.tick(0)
    scene.close()
    times = sorted({round(1000 * (START + row[0])) for rows in topics.values() for row in rows})
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM topic_samples")
        connection.execute("DELETE FROM ticks")
        connection.execute("UPDATE sessions SET last = ?, ended = ?", (times[-1], times[-1]))
        for name, rows in topics.items():
            connection.executemany(
                "INSERT INTO topic_samples (topic, at, span, n, queued, queued_max, capacity, "
                "began, done, errors) VALUES ((SELECT id FROM names WHERE name = :name), :at, 0, "
                "1, :queued, :queued, :slots, :began, :ended, 0)",
                [
                    {
                        "name": name,
                        "at": round(1000 * (START + at)),
                        "queued": queued,
                        "began": began,
                        "ended": ended,
                        "slots": slots,
                    }
                    for at, queued, began, ended, slots in rows
                ],
            )
        connection.executemany(
            "INSERT INTO ticks (at, span, n, turn, heard, events_ok, topics_ok) "
            "VALUES (?, 0, 1, 1, 1, 1, 1)",
            [(at,) for at in times],
        )
    connection.close()
