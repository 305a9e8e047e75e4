"""Live workers in a recording whose events of tasks do not arrive, or are not known to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sized
from typing import Final, NamedTuple

import msgspec

from tasktools.core.dialects import registry
from tasktools.core.plurals import named
from tasktools.history import metrics, records, service_times, tasks
from tasktools.history.samples import Facts
from tasktools.history.series import Window
from tasktools.history.store import STATES

_OF_TASKS: Final[frozenset[Callable[..., object]]] = frozenset(
    {
        metrics.throughput,
        metrics.waiting_time,
        records.failures,
        records.task_events,
        service_times.service_time,
        tasks.tasks,
    }
)
"""The queries whose answers are made of events of tasks."""
_LIVE: Final = ", ".join(str(STATES.index(state)) for state in ("alive", "late"))
_WORKERS: Final = f"""
SELECT names.name, f.facts
FROM (SELECT at, max(turn, span, 1) AS turn FROM ticks WHERE at <= ? ORDER BY at DESC LIMIT 1) AS t
JOIN worker_samples AS s ON s.at > t.at - t.turn AND s.at <= t.at
JOIN worker_facts AS f ON f.fact = s.fact JOIN names ON names.id = s.worker
WHERE s.state IN ({_LIVE}) AND f.facts LIKE '%"dialect":%'
AND f.facts NOT LIKE '%"sends_task_events":true%' ORDER BY names.name
"""


class MuteWorkers(NamedTuple):
    """The *mute* workers, of whose tasks no events arrive, with their *topics*; and those that are
    *unproven*, as they have begun no task yet."""

    mute: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    topics: frozenset[str] = frozenset()


def recorded(connection: sqlite3.Connection, until: int) -> MuteWorkers:
    """Return the workers that were live at *until* (ms)."""
    mute, unproven, topics = list[str](), list[str](), set[str]()
    for name, facts in connection.execute(_WORKERS, (until,)):
        worker = msgspec.json.decode(facts, type=Facts)
        dialect = registry.find(worker.dialect or "")
        if worker.sends_task_events is False:
            mute.append(name)
            topics |= {*worker.topics}
        elif dialect is not None and dialect.events_setting is not None:
            unproven.append(name)
    return MuteWorkers(tuple(mute), tuple(unproven), frozenset(topics))


def notes(
    connection: sqlite3.Connection, window: Window, question: Callable[..., object], answer: Sized
) -> list[str]:
    """Return in words what is not known in the *answer* to *question*, if events of tasks answer
    it."""
    if question not in _OF_TASKS:
        return []
    workers = recorded(connection, window.until)
    words = []
    if workers.mute:
        words.append(
            f"no events of tasks arrive from {named(workers.mute)} (workers() says why), so what "
            "failed there and how long tasks take is not known"
        )
    if workers.unproven and not len(answer):
        words.append(
            f"whether events of tasks arrive from {named(workers.unproven)} is not known before a "
            "task begins there"
        )
    return words
