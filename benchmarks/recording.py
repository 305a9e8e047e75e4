"""Recordings: reading a day back against plain sqlite3, and hearing a large cluster."""

from __future__ import annotations

import functools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import tasktools as tt
from benchmarks.measure import Result, at_least, at_most, in_turns, processor_seconds
from tasktools.history.store import File
from tasktools.testing import RabbitMQNode

_DAY, _EVERY = 86_400_000, 5_000
_START = 1_795_046_400_000
_TOPICS_SPOKEN_OF = 20  # by the program below
_SPEAKER = Path(__file__).with_name("programs") / "many_workers.py"
_PLAIN = (
    "SELECT topic, at, queued, queued_max, unacked, running, dead_letter FROM topic_samples "
    "WHERE at >= 0"
)


def reading(*, topics: int, rounds: int) -> Iterator[Result]:
    """`queue_depth` of a day, in processor time, and against plain sqlite3 into pandas."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "day.db"
        _fill(file, topics)
        connection = sqlite3.connect(file)
        with tt.connect(f"sqlite:///{file}") as history:
            for what, topic, where, bound in (
                ("one topic", "topic-001", " AND topic = 2", 0.3),
                (f"all {topics} topics", None, "", 3.0),
            ):
                mine, theirs = in_turns(
                    functools.partial(history.queue_depth, topic, since="1D"),
                    functools.partial(pd.read_sql_query, _PLAIN + where, connection),
                    rounds,
                    time.process_time,
                )
                yield at_most(
                    f"queue_depth of {what} over a day at 5 s, against plain sqlite3 into pandas",
                    mine / theirs,
                    1.5,
                    f"{mine:.3f} against {theirs:.3f} s",
                )
                rows = topics * _DAY // _EVERY
                yield at_most(
                    f"seconds of processor time for queue_depth of {what} over a day at 5 s",
                    mine,
                    bound,
                    f"the recording has {rows:,} samples",
                )
        connection.close()


def _fill(file: Path, topics: int) -> None:
    """Record a day of *topics*, as the recorder would have written it."""
    rng = random.Random(7)  # noqa: S311 - the same numbers each time
    times = range(_START, _START + _DAY, _EVERY)
    with File(file).write() as connection, connection:
        connection.execute(
            "INSERT INTO sessions VALUES (1, ?, ?, NULL, 5, 'bench', 'fp', NULL, 0, 'x', 0, 0)",
            (times[0], times[-1]),
        )
        ticks = ((at, 0, 1, _EVERY, 9, 8, 4, 8, 1, 0, None, 1, None) for at in times)
        connection.executemany(f"INSERT INTO ticks VALUES ({_marks(13)})", ticks)
        for topic in range(1, topics + 1):
            name = (topic, f"topic-{topic - 1:03}")
            connection.execute("INSERT INTO names VALUES (?, ?)", name)
            rows = (_sample(topic, at, rng.randrange(500)) for at in times)
            connection.executemany(f"INSERT INTO topic_samples VALUES ({_marks(26)})", rows)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _sample(topic: int, at: int, queued: int) -> tuple[object, ...]:
    load = (queued, queued, 4, 4, 7, 2, 2, 8, 12.4, 12.4)
    counts = (None, 100_000, 55, 3, 9, None, 1, 1, 60, 59, 1, None)
    return (topic, at, 0, 1, *load, *counts)


def hearing(node: RabbitMQNode, *, workers: int, events: int, seconds: int) -> Iterator[Result]:
    """Measure a recorder beside the heartbeats of *workers* and *events* of tasks a second."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ops.db"
        recorder = _recorder(node, file)
        command = [sys.executable, str(_SPEAKER), node.dsn, str(workers), str(events), str(seconds)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        time.sleep(2)
        cpu = processor_seconds(recorder.pid)
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        connection = sqlite3.connect(file)
        (event_count,) = connection.execute("SELECT sum(heard) FROM ticks").fetchone()
        (ended,) = connection.execute("SELECT count(*) FROM tries WHERE outcome = 0").fetchone()
        connection.close()
        beats, tasks, took = int(printed[0]), int(printed[1]), float(printed[2])
        size = file.stat().st_size
    what = f"{workers:,} workers, {tasks / took:,.0f} task events a second, for {took:.0f} s"
    yield at_least(
        f"events recorded of those sent: {what}",
        min(event_count / (beats + tasks), 2 * ended / tasks),
        1,
        f"{event_count / took:,.0f} a second",
    )
    yield at_most(f"share of a core that recording takes: {what}", cpu / took, 1, f"{cpu:.1f} s")
    allowed = _size_in_readme(workers=workers, tasks=tasks // 2, seconds=took)
    yield at_most(
        f"size of the file, against what the README says: {what}",
        size / allowed,
        1,
        f"{size / 1e6:.1f} MB against {allowed / 1e6:.1f} MB",
    )


def _size_in_readme(*, workers: int, tasks: int, seconds: float) -> float:
    """Return how many bytes a recording of so much has at most, as the README tells users."""
    hours = seconds / 3600
    samples = (30_000 + 60_000 * _TOPICS_SPOKEN_OF + 35_000 * min(workers, 500)) * hours
    return samples + 125 * tasks + 400 * workers


def _recorder(node: RabbitMQNode, file: Path) -> subprocess.Popen[str]:
    recorder = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", "record", str(file)],
        env={**os.environ, "BROKER_DSN": node.dsn, "BROKER_MANAGEMENT_URL": "off"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert recorder.stderr is not None
    recorder.stderr.readline()
    return recorder
