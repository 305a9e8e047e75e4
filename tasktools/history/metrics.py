"""Metrics of a recording over time, as frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from tasktools.core.duration_histogram import RESOLUTION
from tasktools.core.frames import history_schemas as schemas
from tasktools.core.lazy_imports import np, pd
from tasktools.history.intervals import CLUSTER, TOPICS, WORKERS, by_interval
from tasktools.history.samples import Facts
from tasktools.history.series import (
    MISSING,
    Columns,
    Window,
    fetch,
    frame_of,
    id_of,
    named,
    quantiles,
    recorded,
)

By = Literal["worker", "topic", "cluster"]

_MUTE: Final = '%"sends_task_events":false%'
_IN_TIME: Final = "at >= :since AND at < :until"


def _topic_condition(
    connection: sqlite3.Connection, window: Window, topic: str | None
) -> tuple[str, dict[str, Any]]:
    """Return the condition of a query for *topic*, or for all topics, and its parameters."""
    number = id_of(connection, topic)
    condition = "" if topic is None else "topic = :topic AND "
    return condition, {"since": window.first, "until": window.until, "topic": number}


def queue_depth(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how many messages waited (schema `QUEUE_DEPTH`)."""
    if window.every is not None:
        means = dict.fromkeys(("queued", "unacked", "running"), "mean")
        how = {**means, "most_queued": "max", "dead_letter": "max"}
        columns = _of_topics(connection, topic, window, how, most_queued="queued_max")
        return frame_of(schemas.QUEUE_DEPTH, columns)
    where, params = _topic_condition(connection, window, topic)
    columns = fetch(
        connection,
        "topic:i at:i queued:f? most_queued:i? unacked:f? running:f? dead_letter:i?",
        f"SELECT {{}} FROM topic_samples WHERE {where}{_IN_TIME} ORDER BY topic, at",
        params,
        most_queued="queued_max",
    )
    return frame_of(schemas.QUEUE_DEPTH, named(connection, columns, "topic"))


def _of_topics(
    connection: sqlite3.Connection,
    topic: str | None,
    window: Window,
    how: Mapping[str, str],
    **expressions: str,
) -> dict[str, Any]:
    """Return columns by topic and interval; the topics are named."""
    columns = by_interval(connection, TOPICS, topic, window, how, **expressions)
    return named(connection, {**columns, "topic": columns.pop("group")}, "topic")


_LOADS: Final = {"worker": WORKERS, "topic": TOPICS, "cluster": CLUSTER}


def utilisation(
    connection: sqlite3.Connection, window: Window, by: By, name: str | None
) -> pd.DataFrame:
    """Return how busy workers, topics or the cluster were (schema `UTILISATION`)."""
    samples, name = _LOADS[by], None if by == "cluster" else name
    if window.every is not None:
        how = {"running": "mean", "capacity": "mean"}
        columns = by_interval(connection, samples, name, window, how)
        columns["name"] = columns.pop("group")
    else:
        params = {"since": window.first, "until": window.until, "name": id_of(connection, name)}
        columns = fetch(
            connection,
            "name:i at:i running:f? capacity:f?",
            f"SELECT {{}} FROM {samples.table} WHERE {_IN_TIME} AND {samples.where} "
            f"AND (:name IS NULL OR {samples.group} = :name) ORDER BY 1, 2",
            params,
            name=samples.group,
        )
    running, capacity = (
        np.where(columns[name] == MISSING, np.nan, columns[name])
        for name in ("running", "capacity")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["utilisation"] = np.where(capacity > 0, running / capacity, np.nan)
    if by == "cluster":
        label = pd.Series(["cluster"] * len(columns["at"]), dtype="string")
        return frame_of(schemas.UTILISATION, {**columns, "name": label})
    return frame_of(schemas.UTILISATION, named(connection, columns, "name"))


def throughput(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how many tasks started and ended (schema `THROUGHPUT`)."""
    counts = {"started": "began", "succeeded": "done", "failed": "errors"}
    # Where no worker of the topic tells its tasks, nothing is counted: that is not 0.
    mute = ", ".join(map(str, _mute_topics(connection)))
    is_told = f"(subscribers IS NOT NULL AND topic NOT IN ({mute})) OR began + done + errors"
    expressions = {
        name: f"CASE WHEN {is_told} THEN {column} END" for name, column in counts.items()
    }
    how = dict.fromkeys(("published", *expressions), "sum")
    columns = _of_topics(connection, topic, window, how, **expressions)
    columns["rate"] = _a_second(columns["succeeded"] + columns["failed"], connection, window)
    return frame_of(schemas.THROUGHPUT, columns)


def _mute_topics(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of topics with workers that send no events of their tasks."""
    rows = connection.execute("SELECT facts FROM worker_facts WHERE facts LIKE ?", (_MUTE,))
    facts = (msgspec.json.decode(row, type=Facts) for (row,) in rows.fetchall())
    names = {topic for each in facts if each.sends_task_events is False for topic in each.topics}
    numbers = (id_of(connection, name) for name in sorted(names))
    return [number for number in numbers if number is not None]


def waiting_time(connection: sqlite3.Connection, window: Window, topic: str | None) -> pd.DataFrame:
    """Return how long tasks waited until they started (schema `WAITING_TIME`)."""
    where, params = _topic_condition(connection, window, topic)
    waits = fetch(
        connection,
        "topic:i at:i waited:f is_prompt:i",
        # Each attempt needs its own message: a second attempt of the same message did not wait.
        f"WITH t AS (SELECT * FROM tries WHERE {where}{_IN_TIME}), "
        "prompt AS (SELECT DISTINCT worker FROM t WHERE duration IS NOT NULL) "
        "SELECT {} FROM ("
        "SELECT topic, started, worker, ifnull("
        "(SELECT max(m.at) FROM messages AS m WHERE m.task = t.task AND m.at <= t.started "
        "AND m.at > t.earlier), "
        "(SELECT min(m.at) FROM messages AS m WHERE m.task = t.task AND m.at > t.started "
        "AND m.at <= ifnull(t.ended, t.started) + 1000)) AS seen FROM ("
        "SELECT topic, task, worker, started, ended, ifnull(lag(started) OVER (PARTITION BY task "
        "ORDER BY n), 0) AS earlier FROM t "
        "WHERE topic IS NOT NULL AND started IS NOT NULL) AS t"
        ") WHERE seen IS NOT NULL",
        params,
        at="started",
        waited="max(started - seen, 0) / 1000.0",
        is_prompt="worker IN prompt",
    )
    measured = _waits(waits, window)
    estimated = _by_littles_law(connection, topic, window)
    both = estimated.join(measured, how="outer").reset_index()
    result: Columns = {str(name): both[name].to_numpy() for name in both.columns}
    return frame_of(schemas.WAITING_TIME, named(connection, result, "topic"))


def _waits(waits: Columns, window: Window) -> pd.DataFrame:
    """Return how long tasks waited, by topic and interval.

    Workers that report durations send their events at once. Others may send events half a second
    late, so short waits of their tasks are missing.
    """
    measured = pd.DataFrame(quantiles(waits, "waited", window)).set_index(["topic", "at"])
    late = quantiles(
        {name: values[waits["is_prompt"] == 0] for name, values in waits.items()}, "waited", window
    )
    is_late = measured.index.isin(pd.MultiIndex.from_arrays([late["topic"], late["at"]]))
    spans = measured[["mean", "p50", "p95", "longest"]]
    measured[spans.columns] = spans.mask((spans < RESOLUTION).mul(is_late, axis=0))
    return measured


def _by_littles_law(
    connection: sqlite3.Connection, topic: str | None, window: Window
) -> pd.DataFrame:
    """Return the mean wait by Little's law (queue length over start rate), by topic and interval.

    Messages that workers have fetched but not started wait as well: `unacked` less those running.
    """
    how = {"waiting": "mean", "began": "sum"}
    waiting = "queued + max(unacked - running, 0)"
    samples = by_interval(connection, TOPICS, topic, window, how, waiting=waiting)
    rate = _a_second(samples["began"], connection, window)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.where(rate > 0, samples["waiting"] / rate, np.nan)
    index = pd.MultiIndex.from_arrays([samples["group"], samples["at"]], names=["topic", "at"])
    return pd.DataFrame({"estimate": estimate}, index=index)


def _a_second(
    counts: np.ndarray[Any, Any], connection: sqlite3.Connection, window: Window
) -> np.ndarray[Any, Any]:
    """Return the rates of *counts* per recorded second, by group and interval."""
    seconds = recorded(connection, window)
    groups = len(counts) // max(len(seconds), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates: np.ndarray[Any, Any] = counts / np.tile(seconds, groups)
    return np.where(np.isfinite(rates), rates, np.nan)
