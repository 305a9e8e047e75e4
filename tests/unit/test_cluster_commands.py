"""The operator's commands: topics, settings, locks, and workers, ours and peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster import commands
from tasktools.core import known_workers
from tasktools.core.events import Command, Event, SettingsUpdate
from tasktools.core.models import TopicSettings, Worker
from tasktools.replay.timing import Timing
from tasktools.testing import eventually, task_event, worker_event

LIMITS = ["concurrency_limit", "max_retries", "dead_letter_enabled"]


@pytest.fixture(autouse=True)
def nobody_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_workers, "ONE_HEARTBEAT", 0.3)


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


@pytest.fixture
def broker(server: MemoryServer) -> Iterator[MemoryBroker]:
    with MemoryBroker(server) as broker:
        yield broker


@pytest.fixture
def cluster(server: MemoryServer) -> Iterator[tt.Cluster]:
    with tt.Cluster(MemoryBroker(server)) as cluster:
        yield cluster


@pytest.fixture
def events(broker: MemoryBroker) -> Iterator[list[Event]]:
    """Everything that is said on the cluster."""
    events: list[Event] = []
    stop = broker.listen(events.append)
    yield events
    stop()


@pytest.fixture
def runner(server: MemoryServer) -> Iterator[tt.TaskRunner]:
    registry = tt.TaskRegistry()
    with (
        MemoryBroker(server) as broker,
        tt.TaskRunner(
            broker=broker, topics=["emails"], registry=registry, worker_id="ours"
        ) as runner,
    ):
        yield runner


@pytest.fixture
def peer(broker: MemoryBroker, cluster: tt.Cluster) -> str:
    cluster.workers()
    broker.broadcast(worker_event("heartbeat", "peer-1", running=["task-a", "task-b"]))
    broker.broadcast(worker_event("heartbeat", "peer-2", running=["task-c"]))
    return "peer-1"


def orders(events: list[Event]) -> list[Command]:
    return [event for event in events if isinstance(event, Command)]


# --- topics -------------------------------------------------------------------------


def test_a_topic_is_created_with_what_is_fixed_at_its_creation(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails", max_priority=5, message_ttl=60.0)
    cluster.create_topic("emails", max_priority=5, message_ttl=60.0)
    assert cluster.topics()["topic"].tolist() == ["emails"]
    for priority in (0, 5):
        cluster.publish("emails", "send", args=[priority], priority=priority)
    delivery = cluster.broker.claim("emails", "w")
    assert delivery is not None
    assert delivery.task.args == [5]


def test_a_topic_that_is_different_stays_as_it_is(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    with pytest.raises(tt.TopicConflict, match="priority"):
        cluster.create_topic("emails", max_priority=5)


def test_a_topic_that_cannot_be_is_refused(cluster: tt.Cluster) -> None:
    with pytest.raises(tt.InvalidTopic, match="max_priority"):
        cluster.create_topic("emails", max_priority=1000)
    assert cluster.topics().empty


@pytest.mark.parametrize("name", ["", "*", "amq.x", "x" * 300])
def test_a_name_that_no_topic_can_have_is_refused(
    cluster: tt.Cluster, peer: str, name: str
) -> None:
    for command in (cluster.create_topic, cluster.configure_topic):
        with pytest.raises(tt.InvalidTopic, match="nothing was changed"):
            command(name)
    if name != "*":
        with pytest.raises(tt.InvalidTopic, match="nothing was changed"):
            cluster.join_topic(peer, name)


def test_only_settings_that_are_given_change(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    cluster.configure_topic("emails", concurrency_limit=3, max_retries=2, retention_seconds=60)
    row = cluster.configure_topic("emails", dead_letter_enabled=False, max_retries=0)
    assert row[["topic", *LIMITS]].to_numpy().tolist() == [["emails", 3, 0, False]]
    assert row["retention"].dt.total_seconds().tolist() == [60]
    assert row.attrs["sources"]["broker"]["ok"]


def test_none_takes_a_setting_away(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    cluster.configure_topic("emails", concurrency_limit=3, max_retries=2)
    cluster.configure_topic("emails", concurrency_limit=None)
    frame = cluster.topic_settings()
    assert frame["concurrency_limit"].isna().tolist() == [True]
    assert frame["max_retries"].tolist() == [2]


def test_settings_are_told_to_all_workers(cluster: tt.Cluster, events: list[Event]) -> None:
    cluster.create_topic("emails")
    cluster.configure_topic("emails", concurrency_limit=3)

    def settings_sent() -> list[tuple[str, int | None]]:
        updates = [event for event in events if isinstance(event, SettingsUpdate)]
        return [(update.topic, update.settings.concurrency_limit) for update in updates]

    # first that the topic is there, then its limit
    eventually(lambda: settings_sent() == [("emails", None), ("emails", 3)])


def test_a_topic_that_is_not_known_is_not_configured(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    with pytest.raises(tt.UnknownTopic, match="did you mean 'emails'"):
        cluster.configure_topic("email", concurrency_limit=3)
    assert cluster.topic_settings().empty


def test_settings_that_cannot_be_are_refused(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    with pytest.raises(tt.InvalidTopic, match="below 0"):
        cluster.configure_topic("emails", concurrency_limit=-1)


def test_topics_show_the_limit_that_is_kept_before_what_workers_say(
    cluster: tt.Cluster, broker: MemoryBroker
) -> None:
    cluster.create_topic("emails")
    cluster.create_topic("reports")
    cluster.workers()
    cluster.configure_topic("emails", concurrency_limit=3)
    for topic, limit in (("emails", 7), ("reports", 9)):
        settings = TopicSettings(concurrency_limit=limit)
        broker.broadcast(SettingsUpdate(sender_id="peer", topic=topic, settings=settings))
    limits = cluster.topics().set_index("topic")["concurrency_limit"]
    assert limits.to_dict() == {"emails": 3, "reports": 9}


def test_a_topic_that_is_gone_is_let_go_unless_a_worker_waits_for_it(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    """They stayed as ghosts: in topics(), on the board, in the menus of widgets."""
    with tt.Cluster(MemoryBroker(server), topics=["named"]) as cluster:
        for topic in ("emails", "reports", "images"):
            cluster.publish(topic, "shop:send", create=True)
        broker.broadcast(worker_event("heartbeat", topics=("reports",)))
        assert set(cluster.topics()["topic"]) == {"named", "emails", "reports", "images"}
        eventually(lambda: cluster.workers()["topics"].tolist() == [["reports"]])
        board = tt.widgets.dashboard(cluster)
        eventually(lambda: set(board.state.topics) == {"named", "emails", "reports", "images"})
        cluster.delete_topic("emails", force=True)
        broker.delete_topic("reports", force=True)  # by somebody else
        broker.delete_topic("images", force=True)
        assert set(cluster.topics()["topic"]) == {"named", "reports"}
        assert cluster.stats()["topics"].tolist() == [2]
        eventually(lambda: set(tt.topic_states(cluster)["topic"]) <= {"named", "reports"})
        eventually(lambda: set(board.state.topics) == {"named", "reports"})
        board.close()
        cluster.publish("emails", "shop:send", create=True)
        assert "emails" in set(cluster.topics()["topic"])


class NoRight(MemoryBroker):
    """A broker whose user may not read the kept settings."""

    def topic_settings(self) -> Any:
        raise tt.PermissionDenied("no right to read; nothing was changed.")


def test_topics_are_shown_without_the_right_to_read_settings(server: MemoryServer) -> None:
    with tt.Cluster(NoRight(server)) as cluster:
        cluster.create_topic("emails")
        topics = cluster.topics()
        assert topics["topic"].tolist() == ["emails"]
        assert any("no right to read" in note for note in topics.attrs["notes"])
        with pytest.raises(tt.PermissionDenied):
            cluster.topic_settings()


# --- locks --------------------------------------------------------------------------


def test_locks_say_who_holds_them_and_whether_that_one_is_gone(
    cluster: tt.Cluster, broker: MemoryBroker
) -> None:
    cluster.workers()
    broker.broadcast(worker_event("heartbeat", "w-1"), worker_event("heartbeat", "w-2"))
    for name, worker in (("mail", "w-1"), ("nightly", "w-2"), ("odd", "nobody")):
        assert broker.acquire_lock(name, f"task-of-{name}", worker)
    broker.broadcast(worker_event("unregister", "w-2"))
    locks = cluster.locks().set_index("lock")
    assert locks["orphaned"].dropna().to_dict() == {"mail": False, "nightly": True}
    assert (locks["task_id"]["mail"], locks["worker_id"]["mail"]) == ("task-of-mail", "w-1")
    assert max(locks["held_for"]) < pd.Timedelta(minutes=1)


def test_a_lock_is_taken_away_by_force(cluster: tt.Cluster, broker: MemoryBroker) -> None:
    lock = broker.acquire_lock("nightly", "task-1", "w-1")
    assert lock
    assert cluster.force_release_lock("nightly") is True
    assert not lock.is_held
    assert cluster.force_release_lock("nightly") is False
    assert cluster.broker.acquire_lock("nightly")


# --- workers of ours ----------------------------------------------------------------


def test_workers_say_whether_they_are_ours(
    cluster: tt.Cluster, runner: tt.TaskRunner, peer: str
) -> None:
    workers = cluster.workers().set_index("worker_id")
    assert workers["tasktools"].to_dict() == {"ours": True, "peer-1": False, "peer-2": False}
    assert workers["draining"].dropna().to_dict() == {"ours": False}


def test_a_worker_of_ours_is_drained_and_joins_again(
    cluster: tt.Cluster, runner: tt.TaskRunner, events: list[Event]
) -> None:
    row = cluster.drain("ours")
    assert row[["worker_id", "draining"]].to_numpy().tolist() == [["ours", True]]
    assert runner.topics == ()
    row = cluster.join_topic("ours", "reports")
    assert row["topics"].tolist() == [["reports"]]
    assert row["draining"].tolist() == [False]
    assert cluster.broker.topic_exists("reports")
    commands = eventually(lambda: orders(events) if len(orders(events)) == 2 else None)
    assert {order.kind for order in commands} == {"tasktools_command"}
    assert all(order.sender_id.startswith("tasktools-") for order in commands)


def test_a_drained_worker_of_all_topics_is_told_to_go_on_with_all(
    server: MemoryServer, cluster: tt.Cluster
) -> None:
    with (
        MemoryBroker(server) as broker,
        tt.TaskRunner(broker=broker, topics=["*"], registry=tt.TaskRegistry(), worker_id="all"),
    ):
        assert cluster.drain("all")["topics"].tolist() == [[]]
        row = cluster.join_topic("all", "*")
        assert row["topics"].tolist() == [["default"]]
        assert row["draining"].tolist() == [False]


def test_draining_twice_is_fine(cluster: tt.Cluster, runner: tt.TaskRunner) -> None:
    for _ in range(2):
        assert cluster.drain("ours")["draining"].tolist() == [True]


def test_a_worker_of_ours_leaves_a_topic(cluster: tt.Cluster, runner: tt.TaskRunner) -> None:
    cluster.join_topic("ours", "reports")
    assert cluster.leave_topic("ours", "emails")["topics"].tolist() == [["reports"]]
    assert runner.topics == ("reports",)


def test_a_drained_worker_finishes_what_it_runs_and_gives_back_the_rest(
    server: MemoryServer, cluster: tt.Cluster
) -> None:
    registry, begun, go, ran = tt.TaskRegistry(), threading.Event(), threading.Event(), []

    @registry.task
    def work(number: int) -> None:
        begun.set()
        assert go.wait(30)
        ran.append(number)

    with (
        MemoryBroker(server) as broker,
        tt.TaskRunner(broker=broker, topics=["emails"], capacity=1, registry=registry) as runner,
    ):
        for number in range(3):
            cluster.publish("emails", f"{work.__module__}:{work.__qualname__}", args=[number])
        assert begun.wait(30)
        row = cluster.drain(runner.worker_id)
        assert row["running"].tolist() == [1]
        go.set()
        eventually(lambda: cluster.workers()["succeeded"].tolist() == [1])
        assert ran == [0]
        assert cluster.topics()["queued"].tolist() == [2]


@pytest.mark.parametrize("prefetch", [1, 50])
def test_the_prefetch_of_a_worker_of_ours_is_changed(
    cluster: tt.Cluster, runner: tt.TaskRunner, prefetch: int, events: list[Event]
) -> None:
    assert len(cluster.update_prefetch("ours", "emails", prefetch)) == 1
    (order,) = eventually(lambda: orders(events))
    assert order.params == {"topic": "emails", "prefetch": prefetch}


def test_a_prefetch_below_one_is_refused(cluster: tt.Cluster, runner: tt.TaskRunner) -> None:
    with pytest.raises(ValueError, match="nothing was changed"):
        cluster.update_prefetch("ours", "emails", 0)


def test_a_worker_that_does_not_obey_in_time_is_told(
    cluster: tt.Cluster, broker: MemoryBroker
) -> None:
    cluster.timing = Timing(obeyed=0.2)
    cluster.workers()
    broker.broadcast(worker_event("heartbeat", "deaf", tasktools="0.1.0", draining=False))
    with pytest.raises(tt.BrokerTimeout, match="not known"):
        cluster.drain("deaf")


# --- peers and strangers ------------------------------------------------------------


Order = Callable[..., Any]
ALL: list[Any] = [
    pytest.param(lambda c, w, **more: c.drain(w, **more), id="drain"),
    pytest.param(lambda c, w, **more: c.join_topic(w, "new", **more), id="join_topic"),
    pytest.param(lambda c, w, **more: c.leave_topic(w, "emails", **more), id="leave_topic"),
    pytest.param(lambda c, w, **more: c.update_prefetch(w, "emails", 2, **more), id="prefetch"),
]


@pytest.mark.parametrize("order", ALL)
def test_a_command_to_a_peer_is_refused_and_names_what_it_runs(
    cluster: tt.Cluster, peer: str, events: list[Event], order: Order
) -> None:
    with pytest.raises(tt.UnsafePeerCommand, match="was not sent") as caught:
        order(cluster, peer)
    assert "task-a" in str(caught.value)
    assert "task-b" in str(caught.value)
    assert "other peers run 1 task." in str(caught.value)
    assert not orders(events)


@pytest.mark.parametrize("order", ALL)
def test_a_command_to_a_peer_is_sent_by_force(
    cluster: tt.Cluster, peer: str, events: list[Event], order: Order
) -> None:
    row = order(cluster, peer, force=True)
    assert row["worker_id"].tolist() == [peer]
    (command,) = eventually(lambda: orders(events))
    assert (command.kind, command.target) == ("worker_command", peer)


def test_many_running_tasks_of_a_peer_are_counted(
    cluster: tt.Cluster, broker: MemoryBroker
) -> None:
    cluster.workers()
    broker.broadcast(*(task_event("task_started", f"t-{n}", "busy") for n in range(25)))
    running = [f"t-{n}" for n in range(25)]
    broker.broadcast(worker_event("heartbeat", "busy", running=running))
    with pytest.raises(tt.UnsafePeerCommand, match="and 15 more"):
        cluster.drain("busy")


@pytest.mark.parametrize("order", ALL)
@pytest.mark.parametrize("worker", ["peer-9", "stopped", "gone"])
def test_a_worker_that_does_not_live_is_unknown(
    cluster: tt.Cluster,
    broker: MemoryBroker,
    peer: str,
    events: list[Event],
    order: Order,
    worker: str,
) -> None:
    broker.broadcast(worker_event("heartbeat", "stopped"), worker_event("unregister", "stopped"))
    with pytest.raises(tt.UnknownWorker, match="nothing was sent") as caught:
        order(cluster, worker)
    if worker == "peer-9":
        assert "did you mean 'peer-" in str(caught.value)
    assert not orders(events)


def test_a_worker_long_silent_is_unknown(broker: MemoryBroker) -> None:
    state = broker.cluster_state()
    gone = Worker(worker_id="w", state="gone", uncertain=False, silence=45.0)
    with pytest.raises(tt.UnknownWorker, match="silent for 45 s"):
        commands._live_worker(replace(state, workers=(gone,)), "w")


# --- read only ----------------------------------------------------------------------


CHANGES: list[Any] = [
    lambda c: c.create_topic("new"),
    lambda c: c.configure_topic("emails", concurrency_limit=1),
    lambda c: c.force_release_lock("nightly"),
    lambda c: c.drain("ours"),
    lambda c: c.join_topic("ours", "new"),
    lambda c: c.leave_topic("ours", "emails"),
    lambda c: c.update_prefetch("ours", "emails", 1),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_read_only_cluster_refuses_all_of_them(
    server: MemoryServer, runner: tt.TaskRunner, events: list[Event], change: Any
) -> None:
    with (
        tt.Cluster(MemoryBroker(server, read_only=True)) as cluster,
        pytest.raises(tt.ReadOnly, match="nothing was changed"),
    ):
        change(cluster)
    assert not orders(events)
    assert runner.topics == ("emails",)
