"""A recording of a day: 100 topics and 40 workers, sampled every 5 s, and their tasks.

A fifth of the topics always has a backlog; the queues of the others fill and are worked off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tasktools.history.store import File

TOPICS, WORKERS = 100, 40
TASKS, FAILED_EVERY = 100_000, 20
_START: Final = 1_795_046_400_000
_DAY, _EVERY = 86_400_000, 5_000
_FIRST_WORKER, _NAME = 1_000, 5_000
_TIMES: Final = (
    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
    "SELECT i AS number, :start + i * :every AS at FROM n"
)
_TOPIC_SAMPLES: Final = (
    "INSERT INTO topic_samples SELECT topic.id, at, 0, 1, "
    "max((number * 7 + topic.id * 13) % 500 - CASE topic.id % 5 WHEN 0 THEN 0 ELSE 250 END, 0), "
    "499, 4, 4, 7, 2, 2, 8, 12.4, 12.4, NULL, 100000, 55, 3, 9, NULL, 1, 1, 60, 59, 1, NULL "
    "FROM (SELECT id FROM names WHERE id <= :topics) AS topic, times ORDER BY 1, 2"
)
_WORKER_SAMPLES: Final = (
    "INSERT INTO worker_samples SELECT at, worker.id, 0, 1, worker.id - :first + 1, 0, 0, "
    "(number + worker.id) % 5, 4, at, 0, 0, 10, 1 "
    "FROM (SELECT id FROM names WHERE id >= :first AND id < :name) AS worker, times ORDER BY 1, 2"
)


def record_day(path: Path) -> None:
    """Write the file as a recorder would have, in some seconds: SQLite makes the samples."""
    times = {"start": _START, "every": _EVERY, "last": _DAY // _EVERY - 1}
    numbers = {"topics": TOPICS, "first": _FIRST_WORKER, "name": _NAME}
    with File(path).write() as connection, connection:
        connection.execute(
            "INSERT INTO sessions VALUES (1, ?, ?, NULL, 5, 'amqp://rabbit/prod', 'fp', '4.3.6', "
            "0, 'x', 0, 0)",
            (_START, _START + _DAY),
        )
        connection.execute(f"CREATE TEMP TABLE times AS {_TIMES}", times)
        connection.execute(
            "INSERT INTO ticks "
            "SELECT at, 0, 1, 5000, 40, 80, 160, 8, 1, 0, NULL, 1, NULL FROM times"
        )
        topics = [(n, f"topic-{n:03}") for n in range(1, TOPICS + 1)]
        workers = [(_FIRST_WORKER + n, f"worker-{n:02}") for n in range(WORKERS)]
        names = [*topics, *workers, (_NAME, "shop.mail:send")]
        connection.executemany("INSERT INTO names VALUES (?, ?)", names)
        facts = json.dumps({"host": "h", "topics": ["topic-001"], "started_at": _START / 1000})
        connection.executemany(
            "INSERT INTO worker_facts VALUES (?, ?, ?)",
            [(n + 1, number, facts) for n, (number, _) in enumerate(workers)],
        )
        connection.execute(_TOPIC_SAMPLES, numbers)
        connection.execute(_WORKER_SAMPLES, numbers)
        connection.executemany(
            "INSERT INTO tries (at, task, topic, worker, name, started, ended, outcome, duration, "
            "error_type, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            map(_attempt, range(TASKS)),
        )


def _attempt(n: int) -> tuple[object, ...]:
    at = _START + n * _DAY // TASKS
    worker = _FIRST_WORKER + n % WORKERS
    fails = n % FAILED_EVERY == 0
    error = ("TimeoutError", f"host {n} did not answer in {n % 7} s") if fails else (None, None)
    took = 1 + n % 4
    task = (at, f"task-{n}", 1 + n % TOPICS, worker, _NAME, at, at + took * 1000)
    return (*task, int(fails), took, *error)
