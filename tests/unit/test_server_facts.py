"""Facts of the server: samples by the memory server's clock, and what a recording keeps of them."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.clock import ManualClock
from tasktools.core.layout import FP
from tasktools.core.models import TopicSettings
from tasktools.core.routes import Binding, Exchange, Routes
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerQueue, all_missing
from tasktools.history import server_facts
from tasktools.history.broker import HistoryBroker
from tasktools.history.store import File
from tasktools.testing import eventually

TASK = {"task_name": "shop:send"}
START = 1_800_000_002.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def broker(clock: ManualClock) -> Iterator[MemoryBroker]:
    with MemoryBroker(MemoryServer(clock), layout=FP) as broker:
        yield broker


def queue(facts: ServerFacts, name: str = "emails") -> ServerQueue:
    """Return a queue of *facts*."""
    assert facts.queues is not None
    return facts.queues[name]


# --- samples of the memory server -------------------------------------------------------


def test_samples_are_five_seconds_apart_and_cover_a_minute(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    for _ in range(20):
        broker.publish("emails", TASK)
        clock.advance(5)
    facts = broker.server_facts()
    published = queue(facts).published
    assert published is not None
    assert (len(published), published.span) == (13, 60)
    assert published.change(60) == 12
    assert published.rate(60) == 0.2
    assert published.times[-1] == facts.server_at == START + 98  # a multiple of 5 s
    assert queue(facts).ready_series == published  # of one who consumes nothing


def test_what_time_brings_is_sampled_when_it_happened(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.create_topic("emails", message_ttl=30)
    broker.publish("emails", TASK)
    clock.advance(58)  # nobody uses the server meanwhile
    facts = broker.server_facts()
    for name, before in (("emails", 1), ("emails.dead", 0)):
        ready = queue(facts, name).ready_series
        assert ready is not None
        assert ready.between(START, START + 30).values == (before,) * 6
        assert ready.between(START + 30, START + 60).values == (1 - before,) * 6


def test_a_clock_that_is_set_back_starts_the_samples_anew(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    clock.advance(60)
    broker.server_facts()
    clock.set_by(-3600)
    assert queue(broker.server_facts()).published is None
    clock.advance(10)
    published = queue(broker.server_facts()).published
    assert published is not None
    assert published.times[-1] < START


def test_looks_count_as_deliveries(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.publish("emails", TASK)
    broker.peek("emails")
    broker.peek("emails")
    clock.advance(5)
    seen = queue(broker.server_facts())
    assert seen.delivered is not None
    assert seen.redelivered is not None
    assert (seen.delivered.last, seen.redelivered.last) == (2, 1)


def test_simulated_consumers_are_there_without_what_they_hold(broker: MemoryBroker) -> None:
    broker.ensure_topic("emails")
    broker.server.set_consumers("emails", 2)
    consumers = broker.server_facts().consumers or ()
    assert [(each.queue, each.prefetch, each.held) for each in consumers] == [
        ("emails", None, None)
    ] * 2


# --- in a recording ---------------------------------------------------------------------


def facts_with_a_queue(at: float, ready: int) -> ServerFacts:
    """Return facts of one queue, with an exchange and a binding."""
    with MemoryBroker(layout=FP) as broker:
        broker.ensure_topic("emails")
        facts = queue(broker.server_facts())
    return ServerFacts(
        at=at,
        queues={"emails": msgspec.structs.replace(facts, ready=ready)},
        routes=Routes(
            [Exchange(name="fp.tasks", type="topic")],
            [Binding(source="fp.tasks", destination="emails", key="emails")],
        ),
        own_connections=frozenset({"a -> b"}),
        unroutable=Series((1.0, 2.0), (0.0, 3.0)),
        missing={"nodes": "it takes the tag monitoring"},
    )


def test_facts_are_stored_and_read_as_they_were() -> None:
    facts = facts_with_a_queue(START, 7)
    again = server_facts.decode(server_facts.encode(facts))
    assert again == facts
    assert again.routes is not None
    assert again.routes.reached("fp.tasks", "emails") == frozenset({"emails"})


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A recording with facts of 0, 30 and 600 s after the start."""
    path = tmp_path / "ops.db"
    with tt.connect("memory://") as cluster, cluster.record(path, every=60):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM server_facts")
        for after, ready in ((0, 1), (30, 2), (600, 3)):
            row = server_facts.row(facts_with_a_queue(START + after, ready))
            connection.execute("INSERT INTO server_facts VALUES (:at, :facts)", row)
    return path


@pytest.mark.parametrize(
    ("after", "ready"), [(-1, None), (0, 1), (29, 1), (31, 2), (104, 2), (106, None), (601, 3)]
)
def test_those_of_the_minute_before_stand_for_a_moment(
    recorded: Path, after: float, ready: int | None
) -> None:
    facts = HistoryBroker(File(recorded), START + after).server_facts(["emails"])
    if ready is None:
        assert facts == all_missing(START + after, facts.missing["queues"])
        assert "from the minute before" in facts.missing["alarms"]
    else:
        assert queue(facts).ready == ready
        assert facts.at <= START + after


def test_a_recording_of_an_older_version_holds_none(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded)) as connection, connection:
        connection.execute("DROP TABLE server_facts")
        connection.execute("PRAGMA user_version=2")
    facts = HistoryBroker(File(recorded), START).server_facts()
    assert facts.queues is None
    assert "an older tasktools" in facts.missing["queues"]


@pytest.mark.parametrize(
    "stored",
    [
        b"no zlib",
        zlib.compress(b"\x80"),
        zlib.compress(b"no msgpack"),
        zlib.compress(bytes(65 * 1024**2)),
    ],
    ids=["other bytes", "another type", "other contents", "much too long"],
)
def test_strange_contents_are_errors_of_ours(recorded: Path, stored: bytes) -> None:
    with closing(sqlite3.connect(recorded)) as connection, connection:
        connection.execute("UPDATE server_facts SET facts = ?", (stored,))
    with pytest.raises(tt.RecordingError, match="damaged, or tasktools did not make it"):
        HistoryBroker(File(recorded), START).server_facts()


def test_a_recorder_asks_beside_its_ticks_and_writes_with_them(
    tmp_path: Path,
) -> None:
    asked: list[tuple[set[str], set[str]]] = []

    class Asked(MemoryBroker):
        def server_facts(
            self, topics: Collection[str] = (), *, limits: Collection[str] = ()
        ) -> ServerFacts:
            asked.append((set(topics), set(limits)))
            return super().server_facts(topics, limits=limits)

    with Asked(layout=FP) as broker:
        broker.ensure_topic("emails")
        broker.configure_topic("emails", TopicSettings(concurrency_limit=2))
        with tt.Cluster(broker) as cluster, cluster.record(tmp_path / "ops.db", every=0.1):
            history = HistoryBroker(File(tmp_path / "ops.db"))
            assert eventually(lambda: history.server_facts().queues)
            assert queue(history.server_facts()).facts.queue == "emails"
    (first, *_) = asked
    assert first == ({"emails"}, {"emails"})


def test_a_broker_without_an_answer_leaves_them_out(tmp_path: Path) -> None:
    class Silent(MemoryBroker):
        def server_facts(
            self, topics: Collection[str] = (), *, limits: Collection[str] = ()
        ) -> ServerFacts:
            raise tt.BrokerTimeout("no answer")

    with Silent(layout=FP) as broker, tt.Cluster(broker) as cluster:
        with cluster.record(tmp_path / "ops.db", every=0.1) as recorder:
            assert eventually(lambda: recorder.ticks >= 3)
            assert recorder.problem is None
        assert HistoryBroker(File(tmp_path / "ops.db")).server_facts().queues is None
