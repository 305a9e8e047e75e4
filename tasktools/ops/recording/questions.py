"""What a recording tells over time, as frames."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from tasktools.core import history_schemas as schemas
from tasktools.ops.recording.series import (
    MISSING,
    Columns,
    Window,
    by_interval,
    fetch,
    frame_of,
    id_of,
    named,
    quantiles,
)

By = Literal["worker", "topic", "cluster"]

_IN_TIME: Final = "at >= :since AND at < :until"


def _told(
    connection: sqlite3.Connection, window: Window, topic: str | None
) -> tuple[str, dict[str, Any]]:
    """Return the condition of a query for *topic*, or for all, and what it is told."""
    told = {"since": window.first, "until": window.until}
    if topic is None:
        return "", told
    return "topic = :topic AND ", {**told, "topic": id_of(connection, topic)}


def queue_depth(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how many messages waited (schema `QUEUE_DEPTH`)."""
    where, told = _told(connection, window, topic)
    found = fetch(
        connection,
        "topic:i at:i n:i queued:f most_queued:i unacked:f running:f dead_letter:i",
        "SELECT topic, at, n, ifnull(queued, -1), ifnull(queued_max, -1), ifnull(unacked, -1), "
        "ifnull(running, -1), ifnull(dead_letter, -1) FROM topic_samples "
        f"WHERE {where}{_IN_TIME} ORDER BY topic, at",
        told,
    )
    if window.every is not None:
        means = dict.fromkeys(("queued", "unacked", "running"), "mean")
        found = by_interval(
            found, "topic", window, {**means, "most_queued": "max", "dead_letter": "max"}
        )
    return frame_of(schemas.QUEUE_DEPTH, named(connection, found, "topic"))


_LOADS: Final = {
    "worker": (
        "SELECT worker, at, n, ifnull(running, -1), ifnull(capacity, -1) FROM worker_samples "
        f"WHERE {_IN_TIME} AND state < 2 AND (:name IS NULL OR worker = :name)"
    ),
    "topic": (
        "SELECT topic, at, n, ifnull(running, -1), ifnull(capacity, -1) FROM topic_samples "
        f"WHERE {_IN_TIME} AND (:name IS NULL OR topic = :name)"
    ),
    "cluster": f"SELECT 0, at, n, ifnull(running, -1), ifnull(capacity, -1) FROM ticks "
    f"WHERE {_IN_TIME}",
}


def utilisation(
    connection: sqlite3.Connection, window: Window, by: By, name: str | None
) -> pd.DataFrame:
    """Return how busy workers, topics or the cluster were (schema `UTILISATION`)."""
    told = {
        "since": window.first,
        "until": window.until,
        "name": None if name is None else id_of(connection, name),
    }
    found = fetch(
        connection, "name:i at:i n:i running:f capacity:f", f"{_LOADS[by]} ORDER BY 1, 2", told
    )
    if window.every is not None:
        found = by_interval(found, "name", window, {"running": "mean", "capacity": "mean"})
    running, capacity = (_missing_as_nan(found[name]) for name in ("running", "capacity"))
    with np.errstate(divide="ignore", invalid="ignore"):
        found["utilisation"] = np.where(capacity > 0, running / capacity, np.nan)
    if by == "cluster":
        label = pd.Series(["cluster"] * len(found["at"]), dtype="string")
        return frame_of(schemas.UTILISATION, {**found, "name": label})
    return frame_of(schemas.UTILISATION, named(connection, found, "name"))


def throughput(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how many tasks began and ended (schema `THROUGHPUT`)."""
    where, told = _told(connection, window, topic)
    found = fetch(
        connection,
        "topic:i at:i n:i published:i started:i succeeded:i failed:i",
        "SELECT topic, at, n, ifnull(published, -1), began, done, errors FROM topic_samples "
        f"WHERE {where}{_IN_TIME} ORDER BY topic, at",
        told,
    )
    counts = ("published", "started", "succeeded", "failed")
    found = by_interval(found, "topic", window, dict.fromkeys(counts, "sum"))
    ended = found["succeeded"] + found["failed"]
    found["rate"] = ended / ((window.every or 1) / 1000)
    return frame_of(schemas.THROUGHPUT, named(connection, found, "topic"))


def service_time(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how long tasks took (schema `SERVICE_TIME`)."""
    where, told = _told(connection, window, topic)
    found = fetch(
        connection,
        "topic:i at:i took:f",
        "SELECT topic, ended, duration FROM tries WHERE topic IS NOT NULL AND outcome < 2 AND "
        f"duration >= 0 AND {where}ended >= :since AND ended < :until",
        told,
    )
    found = quantiles(found, "took", window)
    return frame_of(schemas.SERVICE_TIME, named(connection, found, "topic"))


def waiting_time(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how long tasks waited until they were begun (schema `WAITING_TIME`)."""
    where, told = _told(connection, window, topic)
    found = fetch(
        connection,
        "topic:i at:i waited:f",
        "SELECT topic, started, max(started - seen, 0) / 1000.0 FROM ("
        "SELECT topic, started, (SELECT max(m.at) FROM messages AS m WHERE m.task = tries.task "
        "AND m.at <= tries.started + 1000) AS seen FROM tries "
        f"WHERE topic IS NOT NULL AND started IS NOT NULL AND {where}{_IN_TIME}"
        ") WHERE seen IS NOT NULL",
        told,
    )
    measured = pd.DataFrame(quantiles(found, "waited", window)).set_index(["topic", "at"])
    estimated = _by_littles_law(connection, window, where, told)
    both = estimated.join(measured, how="outer").reset_index()
    columns: Columns = {str(name): both[name].to_numpy() for name in both.columns}
    return frame_of(schemas.WAITING_TIME, named(connection, columns, "topic"))


def _by_littles_law(
    connection: sqlite3.Connection, window: Window, where: str, told: dict[str, Any]
) -> pd.DataFrame:
    """Return the mean wait that length and rate of the queue tell, by topic and interval."""
    found = fetch(
        connection,
        "topic:i at:i n:i queued:f began:i",
        "SELECT topic, at, n, ifnull(queued, -1), began FROM topic_samples "
        f"WHERE {where}{_IN_TIME} ORDER BY topic, at",
        told,
    )
    found = by_interval(found, "topic", window, {"queued": "mean", "began": "sum"})
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = found["began"] / ((window.every or 1) / 1000)
        estimate = np.where(rate > 0, found["queued"] / rate, np.nan)
    index = pd.MultiIndex.from_arrays([found["topic"], found["at"]], names=["topic", "at"])
    return pd.DataFrame({"estimate": estimate}, index=index)


def _missing_as_nan(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(values == MISSING, np.nan, values)
