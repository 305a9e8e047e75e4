"""The sources of a demand where the best one is missing: counts, histograms, the server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import numpy as np
import pytest

import tasktools as tt
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.core.server_facts import ServerConsumer, ServerFacts
from tasktools.history import server_facts
from tests.recorded_shop import MONDAY, Floats, load, poisson, record

LONG = 7_200.0  # seconds


@pytest.fixture
def arrivals() -> Floats:
    return poisson(np.random.default_rng(8), 0.1, LONG)


@pytest.fixture
def path(tmp_path: Path, arrivals: Floats) -> Path:
    """Return a recording of tasks of 0.4 s, and of 4 s."""
    services = np.where(np.arange(len(arrivals)) % 10 == 0, 4.0, 0.4)
    cluster = load({"emails": arrivals}, {"emails": services})
    return record(tmp_path / "ops.db", cluster, (0, LONG))


def change(path: Path, statement: str, *params: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, params)
    connection.close()


def demand_of(path: Path) -> Demand:
    with tt.connect(f"sqlite:///{path}") as history:
        return gather(history)


def test_arrivals_whose_messages_are_deleted_are_those_that_were_counted(
    path: Path, arrivals: Floats
) -> None:
    half = MONDAY + LONG / 2
    change(path, "DELETE FROM messages WHERE at < ?", round(half * 1000))
    topic = demand_of(path).topics["emails"]
    assert topic.arrivals_from == "balance"
    assert len(topic.arrivals) == pytest.approx(len(arrivals), abs=1)
    later = topic.arrivals[topic.arrivals > half + 10]
    assert later == pytest.approx(arrivals[arrivals > half + 10], abs=0.002)
    assert np.abs(np.sort(topic.arrivals)[:100] - arrivals[:100]).max() < 10


def test_all_messages_deleted_leaves_the_counts(path: Path, arrivals: Floats) -> None:
    change(path, "DELETE FROM messages")
    topic = demand_of(path).topics["emails"]
    assert topic.arrivals_from == "balance"
    assert len(topic.arrivals) == pytest.approx(len(arrivals), abs=1)


def test_a_time_of_missed_messages_is_counted_from_samples(path: Path, arrivals: Floats) -> None:
    since, until = (round((MONDAY + seconds) * 1000) for seconds in (1_000, 2_000))
    change(path, "DELETE FROM messages WHERE at >= ? AND at < ?", since, until)
    change(path, "INSERT INTO gaps VALUES (?, ?, 'messages', 'the line was cut')", since, until)
    topic = demand_of(path).topics["emails"]
    assert len(topic.arrivals) == pytest.approx(len(arrivals), abs=2)


def test_a_task_that_is_put_back_without_counting_is_one_arrival(
    path: Path, arrivals: Floats
) -> None:
    copy = "INSERT INTO messages (at, topic, task, name, published, attempts, size) "
    columns = "SELECT at + 500, topic, task, name, published, 0, size FROM messages"
    change(path, f"{copy}{columns} WHERE n % 3 = 0")
    assert len(demand_of(path).topics["emails"].arrivals) == len(arrivals)


def test_durations_that_nobody_reports_are_by_our_clock_and_that_is_noted(path: Path) -> None:
    change(path, "UPDATE tries SET duration = NULL")
    topic = demand_of(path).topics["emails"]
    assert topic.evidence is not None
    assert topic.evidence.by_clock == 1.0
    assert topic.service_times.mean() == pytest.approx(0.76, abs=0.03)


def test_durations_in_histograms_are_better_than_our_clock(path: Path) -> None:
    """A peer sends its events late, and its histograms in heartbeats."""
    change(path, "UPDATE tries SET duration = NULL, ended = ended + 500")
    rows = "SELECT topic, max(at), 1000, 760.0, '[[0.5, 900], [5.0, 100]]' FROM topic_samples"
    change(path, f"INSERT INTO durations {rows}")
    topic = demand_of(path).topics["emails"]
    assert topic.evidence is not None
    assert topic.evidence.by_clock == 0.0
    assert topic.service_times.mean() == pytest.approx(0.76, rel=0.02)
    is_long = topic.service_times > 0.6
    assert is_long.mean() == pytest.approx(0.1, abs=0.03)
    # The long ones by our clock are the long ones.
    assert np.flatnonzero(is_long)[0] % 10 == 0


def test_the_prefetch_of_peers_is_what_the_server_tells(path: Path) -> None:
    change(path, 'UPDATE worker_facts SET facts = \'{"topics": ["emails"]}\'')
    assert demand_of(path).workers[0].prefetch == {}
    consumers = tuple(ServerConsumer(queue="emails", prefetch=32) for _ in range(3))
    facts = ServerFacts(at=MONDAY + LONG - 1, consumers=consumers)
    row = server_facts.row(facts)
    change(path, "INSERT INTO server_facts VALUES (?, ?)", row["at"], row["facts"])
    (worker,) = demand_of(path).workers
    assert worker.prefetch == {"emails": 32}


def test_lost_tries_are_censored(path: Path) -> None:
    change(path, "UPDATE tries SET outcome = 2, duration = NULL WHERE n % 10 = 0")
    topic = demand_of(path).topics["emails"]
    assert topic.evidence is not None
    assert topic.evidence.lost == len(topic.censored) > 50
    assert set(topic.censored.round(1)) <= {0.4, 4.0}


def test_the_limit_and_the_tries_of_a_topic_are_those_of_its_settings(path: Path) -> None:
    settings = {"emails": {"concurrency_limit": 3, "max_retries": 5}}
    at = round(MONDAY * 1000) + 1
    change(path, "INSERT INTO settings VALUES (?, ?)", at, msgspec.json.encode(settings).decode())
    topic = demand_of(path).topics["emails"]
    assert (topic.limit, topic.max_retries, topic.retry_delay) == (3, 5, None)
