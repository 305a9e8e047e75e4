"""Recent changes of a cluster: workers, settings, queues, runs of plans, marks.

A change before a fault need not be its cause, but it is the first thing to ask about.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import LedgerError
from tasktools.core.models import Worker
from tasktools.core.plurals import counted
from tasktools.core.redaction import Redaction
from tasktools.core.series import Series
from tasktools.diagnosis.facts import Change, OwnRun
from tasktools.history.recent import RecentHistory, TopicHistory
from tasktools.replay.ledger import DONE

_CHANGES_SECONDS: Final = 1800.0
"""A change is told if it came within 15 minutes before a fault began, which may be a while ago."""
_MAX_RUNS: Final = 20
_DEPLOY_SECONDS: Final = 30.0
"""The longest time (s) between the starts of two workers of one deploy."""
_NAMED_WORKERS: Final = 3
_NEW_QUEUE_SECONDS: Final = 15.0
"""A topic is new if its samples begin so many seconds later than those of other topics."""
_LONGEST_RUN_SECONDS: Final = 86_400.0
"""A run that began more seconds ago and has no end was most likely killed."""
_RUNS: Final = """
SELECT run, started_at, ended_at, verb, target, source,
  (SELECT count(*) FROM messages WHERE messages.run = runs.run
   AND state IN ('confirmed', 'settled'))
FROM runs WHERE cluster = :cluster AND started_at <= :at AND (
  ended_at > :since OR ended_at IS NULL AND started_at > :longest)
ORDER BY run DESC LIMIT :limit
"""


_TAKEN: Final = """
SELECT CAST(at AS INTEGER) + 1 AS second, count(*) FROM messages
WHERE run = :run AND state = 'settled' AND at <= :at GROUP BY second ORDER BY second LIMIT :limit
"""
_MAX_SECONDS: Final = 3_600
"""The longest run (s) whose messages are counted second by second."""


def of_workers(workers: Iterable[Worker], at: float) -> Iterator[Change]:
    """Yield which workers started, stopped or fell silent before *at*; a rolling deploy is one
    change."""
    since = at - _CHANGES_SECONDS
    events: defaultdict[str, list[tuple[float, Worker]]] = defaultdict(list)
    for worker in workers:
        started = _started(worker)
        if started is not None:
            events["started"].append((started, worker))
        if worker.stopped_at is not None:
            events["stopped"].append((worker.stopped_at.timestamp(), worker))
        elif worker.state == "gone" and worker.silence is not None:
            events["fell silent"].append((at - worker.silence, worker))
    for what, all_events in events.items():
        recent = sorted(
            ((moment, worker) for moment, worker in all_events if since < moment <= at),
            key=lambda event: event[0],
        )
        yield from (_together(what, group) for group in _grouped(recent))


def of_versions(workers: Iterable[Worker], at: float) -> Iterator[Change]:
    """Yield the hosts on which workers of another version of tasktools started than had run
    before."""
    by_host: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for worker in workers:
        started = _started(worker)
        if worker.host and worker.version and started is not None:
            by_host[worker.host].append((started, worker.version))
    for host, starts in by_host.items():
        for (_, before), (started, version) in pairwise(sorted(starts)):
            if version != before and at - _CHANGES_SECONDS < started <= at:
                text = f"workers on {host} run tasktools {version}, and ran {before} before"
                yield Change(at=started, kind="version", subject=host, text=text)


def _grouped(events: Iterable[tuple[float, Worker]]) -> Iterator[list[tuple[float, Worker]]]:
    """Yield groups of *events* that follow each other within seconds."""
    group: list[tuple[float, Worker]] = []
    for event in events:
        if group and event[0] - group[-1][0] > _DEPLOY_SECONDS:
            yield group
            group = []
        group.append(event)
    if group:
        yield group


def _together(what: str, group: Sequence[tuple[float, Worker]]) -> Change:
    at, first = group[0]
    names = [worker.worker_id for _, worker in group[:_NAMED_WORKERS]]
    hosts = sorted({worker.host for _, worker in group if worker.host})
    on_hosts = f" on {', '.join(hosts[:_NAMED_WORKERS])}" if hosts else ""
    on_hosts += ", …" if len(hosts) > _NAMED_WORKERS else ""
    more = ", …" if len(group) > _NAMED_WORKERS else ""
    if len(group) == 1:
        text = f"worker {first.worker_id} {what}{on_hosts}"
    else:
        text = f"{len(group)} workers {what}{on_hosts} ({', '.join(names)}{more})"
    return Change(at=at, kind="worker", subject=first.worker_id, text=text)


def _started(worker: Worker) -> float | None:
    """Return when *worker* started, by our clock; its report has its own clock's time."""
    if worker.started_at is None:
        return None
    return worker.started_at.timestamp() - (worker.clock_offset or 0.0)


def of_topics(topics: Mapping[str, TopicHistory]) -> Iterator[Change]:
    """Yield the queues that appeared after sampling of the others had begun."""
    begins = {topic: each.began.times[0] for topic, each in topics.items() if each.began}
    first = min(begins.values(), default=0.0)
    for topic, begin in begins.items():
        if begin > first + _NEW_QUEUE_SECONDS:
            text = f"the queue {topic} was seen for the first time"
            yield Change(at=begin, kind="queue", subject=topic, text=text)


def recorded(recent: RecentHistory, redaction: Redaction) -> list[Change]:
    """Return the changed settings and the operators' marks."""
    settings = [
        Change(at=at, kind="setting", subject=topic, text=f"settings of {topic}: {_words(values)}")
        for at, topic, values in recent.settings(_CHANGES_SECONDS)
    ]
    marks = [
        Change(at=mark.at / 1000, kind="mark", subject="mark", text=redaction.text(mark.text))
        for mark in recent.marks(_CHANGES_SECONDS)
    ]
    return [*settings, *marks]


def _words(settings: Mapping[str, Any]) -> str:
    named = (
        f"{name.replace('_', ' ')} {value}"
        for name, value in settings.items()
        if isinstance(value, int)
    )
    return ", ".join(named) or "none"


def of_runs(runs: Iterable[OwnRun]) -> Iterator[Change]:
    """Yield which runs of plans began."""
    for run in runs:
        count = "" if run.done is None else f" {counted(run.done, 'message')}"
        text = f"run {run.run} {DONE[run.verb]}{count}" + (f" to {run.to}" if run.to else "")
        yield Change(at=run.started_at, kind="run", subject=f"run {run.run}", text=text)


def runs(cluster: Cluster, address: str, at: float) -> tuple[tuple[OwnRun, ...], str | None]:
    """Return the runs before *at* on *cluster* (at *address*), and the reason if the ledger cannot
    be read. Creates no ledger."""
    try:
        ledger = cluster.ledger_file
        if not ledger.path.exists():
            return (), None
        with ledger.open() as connection:
            return tuple(_runs(connection, address, at)), None
    except (LedgerError, OSError, sqlite3.Error) as error:
        return (), str(error)


def _runs(connection: sqlite3.Connection, address: str, at: float) -> Iterator[OwnRun]:
    params = {
        "cluster": address,
        "at": at,
        "since": at - _CHANGES_SECONDS,
        "longest": at - _LONGEST_RUN_SECONDS,
        "limit": _MAX_RUNS,
    }
    rows = connection.execute(_RUNS, params).fetchall()
    for run, started_at, ended_at, verb, target, source, done in rows:
        has_ended = ended_at is not None and ended_at <= at
        yield OwnRun(
            run=run,
            started_at=started_at,
            ended_at=ended_at if has_ended else None,
            verb=verb,
            to=target,
            done=done,
            source=source,
            taken=_taken(connection, run, at),
        )


def _taken(connection: sqlite3.Connection, run: int, at: float) -> Series:
    """Return how many messages a run had taken out of their queue, second by second."""
    params = {"run": run, "at": at, "limit": _MAX_SECONDS}
    rows = connection.execute(_TAKEN, params).fetchall()
    counts = accumulate(count for _, count in rows)
    return Series(tuple(float(second) for second, _ in rows), tuple(map(float, counts)))
