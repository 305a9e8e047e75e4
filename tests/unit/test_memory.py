"""The memory backend's own behaviour: time, priorities, limits, clients that die."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core import events
from tasktools.core.amqp import x_death
from tasktools.core.clock import ManualClock
from tasktools.core.errors import (
    LookRefused,
    PublishRefused,
    QueueNotFound,
    Unroutable,
    WouldBeLost,
)
from tasktools.core.events import WorkerList
from tasktools.core.layout import FP
from tasktools.core.models import Properties, TopicStats
from tasktools.core.peek_verdict import Cost
from tasktools.testing import outgoing, task_body, worker_event, worker_report

SEND = {"task_name": "send", "kwargs": {}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> MemoryServer:
    return MemoryServer(clock)


@pytest.fixture
def broker(server: MemoryServer) -> Iterator[MemoryBroker]:
    with MemoryBroker(server) as broker:
        yield broker


def claimed(broker: MemoryBroker, queue: str) -> list[bytes]:
    bodies = []
    while (delivery := broker.claim(queue, "w")) is not None:
        bodies.append(delivery.body)
    return bodies


def stats(broker: MemoryBroker, topic: str = "emails") -> TopicStats:
    return next(s for s in broker.topic_report([topic]).topics if s.topic == topic)


# --- time ---------------------------------------------------------------------------


def test_a_message_expires_and_is_dead_lettered(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(expiration="3000")])
    clock.advance(2.999)
    assert server.depth("emails") == 1
    clock.advance(0.001)
    assert server.depth("emails") == 0
    delivery = broker.claim("emails.dead", "w")
    assert delivery is not None
    (death,) = x_death.parse(delivery.properties.headers)
    assert (death.queue, death.reason) == ("emails", "expired")


def test_an_expired_message_tells_its_expiration_and_has_it_no_more(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(expiration="3000")])
    clock.advance(1000)
    delivery = broker.claim("emails.dead", "w")
    assert delivery is not None
    assert delivery.properties.expiration is None
    assert delivery.properties.headers["x-death"][0]["original-expiration"] == "3000"


def test_what_would_expire_later_is_gone_with_its_deleted_topic(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(expiration="3000")])
    assert broker.delete_topic("emails", force=True) == 1
    clock.advance(4)
    broker.ensure_topic("emails")
    assert broker.peek("emails.dead").messages == ()


def test_a_message_expires_only_at_the_head_of_its_queue(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(expiration="3000"), outgoing(expiration="300")])
    clock.advance(1)
    assert server.depth("emails") == 2
    clock.advance(2)
    assert (server.depth("emails"), server.depth("emails.dead")) == (0, 2)


def test_a_message_behind_one_that_never_expires_stays(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(), outgoing(expiration="300")])
    clock.advance(1000)
    assert server.depth("emails") == 2


@pytest.mark.parametrize(("own", "seconds"), [(None, 5), ("2000", 2), ("9000", 5)])
def test_the_shorter_of_two_times_to_live_counts(
    server: MemoryServer, clock: ManualClock, own: str | None, seconds: float
) -> None:
    server.declare_queue("q", message_ttl=5)
    server.put("q", b"", Properties(expiration=own))
    clock.advance(seconds - 0.01)
    assert server.depth("q") == 1
    clock.advance(0.01)
    assert server.depth("q") == 0


def test_a_message_that_expires_while_it_is_held_expires_when_given_back(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.ensure_topic("emails")
    broker.publish_many([outgoing(expiration="1000")])
    delivery = broker.claim("emails", "w")
    assert delivery is not None
    clock.advance(5)
    assert server.depth("emails.dead") == 0
    broker.nack(delivery.id, count_attempt=False)
    assert (server.depth("emails"), server.depth("emails.dead")) == (0, 1)


@pytest.mark.parametrize("expiration", ["soon", "", "-1", "1.5", "²"])
def test_an_expiration_that_is_no_number_is_refused(broker: MemoryBroker, expiration: str) -> None:
    broker.ensure_topic("emails")
    assert broker.publish_many([outgoing(expiration=expiration)]) == ["refused"]


def test_a_delay_queue_brings_messages_back(server: MemoryServer, clock: ManualClock) -> None:
    server.declare_queue("work")
    server.declare_queue("delay", message_ttl=5, dead_letter=("", "work"))
    server.put("delay", b"later")
    clock.advance(5)
    assert (server.depth("work"), server.depth("delay")) == (1, 0)


def test_a_message_that_expires_in_circles_is_dropped_as_by_rabbitmq(
    server: MemoryServer, clock: ManualClock
) -> None:
    server.declare_queue("a", message_ttl=0, dead_letter=("", "b"))
    server.declare_queue("b", message_ttl=0, dead_letter=("", "a"))
    server.put("a", b"round")
    for _ in range(3):
        clock.advance(1)
        depths = server.depth("a") + server.depth("b")
    assert depths == 0


def test_a_retry_loop_with_a_rejection_in_it_goes_on(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    server.declare_queue("work", dead_letter=("", "delay"))
    server.declare_queue("delay", message_ttl=5, dead_letter=("", "work"))
    server.put("work", b"again")
    for _ in range(3):
        delivery = broker.claim("work", "w")
        assert delivery is not None
        broker.nack(delivery.id, requeue=False)
        clock.advance(5)
    delivery = broker.claim("work", "w")
    assert delivery is not None
    counts = [(d.queue, d.count) for d in x_death.parse(delivery.properties.headers)]
    assert counts == [("delay", 3), ("work", 3)]


def test_rates_are_those_of_the_last_five_seconds(broker: MemoryBroker, clock: ManualClock) -> None:
    for _ in range(10):
        broker.publish("emails", SEND)
        clock.advance(0.2)
    for _ in range(5):
        delivery = broker.claim("emails", "w")
        assert delivery is not None
        broker.ack(delivery.id)
    assert (stats(broker).publish_rate, stats(broker).ack_rate) == (2.0, 1.0)
    clock.advance(5)
    assert (stats(broker).publish_rate, stats(broker).ack_rate) == (0.0, 0.0)


# --- priorities and limits ----------------------------------------------------------


def prioritised(*priorities: int | None) -> list[Any]:
    return [(b"%d" % n, Properties(priority=p)) for n, p in enumerate(priorities)]


def test_higher_priorities_come_first_and_equal_ones_in_order(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.declare_queue("q", max_priority=10)
    for body, priority in prioritised(None, 5, 0, 5, 9):
        server.put("q", body, priority)
    assert claimed(broker, "q") == [b"4", b"1", b"3", b"0", b"2"]


def test_a_priority_above_the_queues_maximum_counts_as_that(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.declare_queue("q", max_priority=5)
    for body, priority in prioritised(5, 200, 4):
        server.put("q", body, priority)
    assert claimed(broker, "q") == [b"0", b"1", b"2"]


def test_a_queue_without_priorities_carries_them_without_obeying(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.declare_queue("q")
    for body, priority in prioritised(None, 9):
        server.put("q", body, priority)
    assert [m.properties.priority for m in broker.peek("q", 5).messages] == [None, 9]


def test_a_full_queue_refuses_to_take_a_message_back(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.declare_queue("q", max_length=1)
    server.put("q", task_body())
    delivery = broker.claim("q", "w")
    assert delivery is not None
    server.put("q", task_body())
    with pytest.raises(PublishRefused, match="still holds it"):
        broker.nack(delivery.id)
    broker.ack(delivery.id)


def test_putting_into_a_full_or_missing_queue_is_refused(server: MemoryServer) -> None:
    server.declare_queue("q", max_length=0)
    with pytest.raises(PublishRefused):
        server.put("q", b"")
    with pytest.raises(Unroutable):
        server.put("missing", b"")


def test_a_queue_that_exists_is_never_redeclared(server: MemoryServer) -> None:
    server.declare_queue("q", max_length=0)
    server.declare_queue("q")
    with pytest.raises(PublishRefused):
        server.put("q", b"")


def test_two_queues_bound_alike_both_get_a_copy(server: MemoryServer) -> None:
    for queue in ("q", "tap"):
        server.declare_queue(queue)
        server.bind(queue, "tasks", "q")
    assert server.publish("tasks", "q", b"x", Properties()) == "confirmed"
    assert (server.depth("q"), server.depth("tap")) == (1, 1)


def test_a_publish_is_refused_although_another_queue_took_it(server: MemoryServer) -> None:
    server.declare_queue("q", max_length=0)
    server.declare_queue("tap")
    for queue in ("q", "tap"):
        server.bind(queue, "tasks", "q")
    assert server.publish("tasks", "q", b"x", Properties()) == "refused"
    assert server.depth("tap") == 1


def test_a_rejection_into_a_queue_that_is_missing_is_refused(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.declare_queue("q", dead_letter=("", "missing"))
    server.put("q", b"x")
    delivery = broker.claim("q", "w")
    assert delivery is not None
    with pytest.raises(WouldBeLost):
        broker.nack(delivery.id, requeue=False)
    broker.ack(delivery.id)


# --- clients ------------------------------------------------------------------------


def test_what_a_client_held_that_was_simply_dropped_comes_back(server: MemoryServer) -> None:
    dropped = MemoryBroker(server)
    dropped.publish("emails", SEND)
    dropped.claim("emails", "w")
    assert server.depth("emails") == 0
    del dropped
    gc.collect()
    assert server.depth("emails") == 1


def test_brokers_without_a_server_are_clusters_of_their_own(clock: ManualClock) -> None:
    with MemoryBroker(clock=clock) as first, MemoryBroker(clock=clock) as other:
        first.publish("emails", SEND)
        assert not other.topic_exists("emails")


def test_what_a_client_does_to_a_delivery_does_not_reach_the_message(broker: MemoryBroker) -> None:
    broker.ensure_topic("emails")
    headers = {"list": [1]}
    broker.publish_many([outgoing(headers=headers)])
    headers["list"].append(2)
    delivery = broker.claim("emails", "w")
    assert delivery is not None
    delivery.properties.headers["list"].append(3)
    broker.nack(delivery.id, count_attempt=False)
    assert broker.peek("emails", 1).messages[0].properties.headers == {"list": [1]}


def test_layouts_live_beside_each_other_on_one_server(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    with MemoryBroker(server, layout=FP) as other:
        broker.ensure_topic("emails")
        assert other.publish_many([outgoing("emails")]) == ["unroutable"]


def test_consumers_are_what_simulated_workers_say(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    broker.publish("emails", SEND)
    server.set_consumers("emails", 2)
    assert stats(broker).consumers == 2
    assert broker.peek("emails", 1).verdict.cost is Cost.REORDERS
    with MemoryBroker(server, read_only=True) as other, pytest.raises(LookRefused):
        other.peek("emails", 1)


def test_a_missing_queue_is_missing_to_the_server_too(server: MemoryServer) -> None:
    for ask in (server.depth, server.consumers, server.purge):
        with pytest.raises(QueueNotFound):
            ask("missing")


def test_the_report_counts_what_is_held(broker: MemoryBroker) -> None:
    broker.publish("emails", SEND)
    broker.claim("emails", "w")
    assert (stats(broker).queued, stats(broker).unacked) == (0, 1)


def test_a_client_shows_itself() -> None:
    with MemoryBroker(address="demo://", demo=True, read_only=True) as broker:
        assert repr(broker) == "<MemoryBroker demo:// read_only>"
        assert (broker.demo, broker.server_version) == (True, None)


# --- events -------------------------------------------------------------------------


def test_a_simulated_node_hears_the_question_and_answers(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    def node(body: bytes) -> None:
        if getattr(events.parse(body), "kind", None) == "who_is_alive":
            server.broadcast(events.encode(worker_event()))

    server.listen(node)
    assert [w.worker_id for w in broker.cluster_state().workers] == ["worker-1"]


def test_a_listener_hears_until_it_stops(server: MemoryServer) -> None:
    bodies: list[bytes] = []
    stop = server.listen(bodies.append)
    server.broadcast(b"one")
    stop()
    stop()
    server.broadcast(b"two")
    assert bodies == [b"one"]


def test_a_lone_client_waits_for_nobody(broker: MemoryBroker, clock: ManualClock) -> None:
    began = clock.time()
    broker.cluster_state(settle=60)
    assert clock.time() == began


def test_with_others_there_a_client_waits_as_long_as_it_may(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    began = clock.time()
    with MemoryBroker(server):
        broker.cluster_state(settle=3.5)
    assert clock.time() - began == pytest.approx(3.5, abs=0.06)


def test_the_wait_is_counted_from_the_subscription(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    with MemoryBroker(server):
        broker.connect()
        clock.advance(10)
        began = clock.time()
        broker.cluster_state(settle=3.5)
    assert clock.time() == began


def test_a_client_waits_no_longer_than_until_workers_have_spoken(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.connect()
    began = clock.time()
    with MemoryBroker(server) as other:
        other.broadcast(WorkerList(sender_id="node", workers=(worker_report(),)))
        other.broadcast(worker_event())
        broker.cluster_state(settle=60)
    assert clock.time() == began


def test_a_client_waits_for_more_workers_when_no_node_has_listed_them(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    with MemoryBroker(server) as other:
        broker.connect()
        began = clock.time()
        other.broadcast(worker_event())
        broker.cluster_state(settle=3)
    assert clock.time() >= began + 3


def test_a_client_that_is_alone_waits_for_nobody(broker: MemoryBroker, clock: ManualClock) -> None:
    began = clock.time()
    assert broker.cluster_state(settle=3).settled
    assert clock.time() == began


def test_a_client_hears_nothing_from_before_its_subscription(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.broadcast(events.encode(worker_event()))
    assert broker.cluster_state().workers == ()


def test_silence_is_measured_by_the_servers_clock(broker: MemoryBroker, clock: ManualClock) -> None:
    broker.connect()
    broker.broadcast(worker_event())
    clock.advance(12)
    (worker,) = broker.cluster_state().workers
    assert (worker.state, worker.silence) == ("late", 12.0)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_is_set_makes_nobody_silent(
    broker: MemoryBroker, clock: ManualClock, step: float
) -> None:
    """Issue 11, misleading: an hour that did not pass made workers gone."""
    broker.cluster_state()
    broker.broadcast(worker_event(running=["a"]))
    clock.advance(5)
    clock.set_by(step)
    state = broker.cluster_state()
    (worker,) = state.workers
    assert (worker.state, worker.running, worker.silence) == ("alive", 1, 5)
