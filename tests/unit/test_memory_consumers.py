"""Consumers, locks and listeners of the memory backend: their threads, its clock, and clients that
are simply dropped."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.amqp import failure_headers, x_death
from tasktools.core.clock import ManualClock
from tasktools.core.errors import InvalidTopic, LookRefused, TopicConflict, UnknownDelivery
from tasktools.core.events import Event, LockEvent, Question, TaskEvent, WorkerList
from tasktools.core.layout import FP
from tasktools.core.models import Delivery, TopicSettings
from tasktools.testing import eventually, outgoing, task_event, worker_report
from tasktools.testing.factories import failure, worker_event
from tests.timing import spending

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
        broker.ensure_topic("emails")
        yield broker


def consumer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tasktools")]


def take(broker: MemoryBroker, queue: str = "emails") -> Delivery:
    delivery = broker.claim(queue, "w")
    assert delivery is not None
    return delivery


# --- time by a clock ----------------------------------------------------------------


def test_a_consumer_notices_that_a_delay_is_over(broker: MemoryBroker, clock: ManualClock) -> None:
    got: list[Delivery] = []
    broker.consume("emails", got.append, prefetch=5)
    broker.publish("emails", SEND, delay=3600)
    clock.advance(3599)
    time.sleep(0.1)
    assert not got
    clock.advance(1)
    eventually(lambda: got)


def test_any_consumer_keeps_the_time_for_all(broker: MemoryBroker, clock: ManualClock) -> None:
    dead: list[Delivery] = []
    broker.ensure_topic("other")
    oldest = broker.consume("other", print, prefetch=1)
    broker.consume("emails.dead", dead.append, prefetch=5)
    broker.publish("emails", SEND, ttl=10)
    clock.advance(11)
    eventually(lambda: len(dead) == 1)
    broker.publish("emails", SEND, ttl=10)
    oldest.cancel()
    clock.advance(11)
    eventually(lambda: len(dead) == 2)


def test_by_the_machines_clock_a_consumer_wakes_when_it_is_time() -> None:
    got: list[float] = []
    with MemoryBroker() as broker:
        broker.ensure_topic("emails")
        broker.consume("emails", lambda _: got.append(time.monotonic()), prefetch=5)
        broker.publish("emails", SEND, delay=600)
        began = time.monotonic()
        broker.publish("emails", SEND, delay=0.2)
        eventually(lambda: got)
    assert 0.19 < got[0] - began < 60


def test_consumers_cost_nothing_while_nothing_happens() -> None:
    with MemoryBroker() as broker:
        for n in range(20):
            broker.ensure_topic(f"topic-{n}")
            broker.consume(f"topic-{n}", print, prefetch=1, limit=1)
        broker.publish("topic-0", SEND, delay=600)
        time.sleep(0.05)
        with spending(0.03):
            time.sleep(0.3)


def test_what_is_parked_long_appears_in_the_order_in_which_it_was_due(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    sent = [outgoing(body=b"%d" % n, delay=float(10 - n)) for n in range(3)]
    broker.publish_many(sent)
    clock.advance(100)
    assert [take(broker).body for _ in sent] == [b"2", b"1", b"0"]


def test_the_time_to_live_of_a_topic_begins_when_a_parked_message_is_due(
    server: MemoryServer, broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.create_topic("short", message_ttl=5)
    broker.publish("short", SEND, delay=10)
    clock.advance(14)
    assert server.depth("short") == 1
    clock.advance(1)
    assert (server.depth("short"), server.depth("short.dead")) == (0, 1)


def test_a_delayed_message_dies_as_one_from_the_task_exchange(
    broker: MemoryBroker, clock: ManualClock
) -> None:
    broker.publish("emails", SEND)
    broker.nack(take(broker).id, delay=5)
    clock.advance(5)
    broker.nack(take(broker).id, requeue=False)
    (death,) = x_death.parse(take(broker, "emails.dead").properties.headers)
    assert (death.exchange, death.routing_keys) == (broker.layout.task_exchange, ("emails",))


# --- consumers ----------------------------------------------------------------------


def test_a_lowered_limit_counts_what_is_held_already(broker: MemoryBroker) -> None:
    got: list[Delivery] = []
    broker.publish_many([outgoing() for _ in range(9)])
    consumer = broker.consume("emails", got.append, prefetch=9, limit=3)
    eventually(lambda: len(got) == 3)
    consumer.adjust(prefetch=9, limit=1)
    for n in range(2):
        broker.ack(got[n].id)
    time.sleep(0.05)
    assert len(got) == 3
    broker.ack(got[2].id)
    eventually(lambda: len(got) == 4)


@pytest.mark.parametrize("bounds", [(0, None), (-1, 5), (5, -1)])
def test_bounds_that_cannot_be_are_refused(
    broker: MemoryBroker, bounds: tuple[int, int | None]
) -> None:
    prefetch, limit = bounds
    with pytest.raises(ValueError, match="are the least"):
        broker.consume("emails", print, prefetch=prefetch, limit=limit)
    consumer = broker.consume("emails", print, prefetch=1)
    with pytest.raises(ValueError, match="are the least"):
        consumer.adjust(prefetch=prefetch, limit=limit)
    assert repr(consumer) == "<Consumer of 'emails'>"


def test_what_receives_may_fail_and_what_it_got_stays_ours(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Delivery] = []

    def receive(delivery: Delivery) -> None:
        got.append(delivery)
        raise LookupError("out of order")

    broker.publish_many([outgoing(), outgoing()])
    broker.consume("emails", receive, prefetch=5)
    eventually(lambda: len(got) == 2)
    eventually(lambda: len(caplog.records) == 2)
    for delivery in got:
        broker.ack(delivery.id)


def test_a_consumer_may_end_itself(broker: MemoryBroker, server: MemoryServer) -> None:
    got: list[Delivery] = []

    def receive(delivery: Delivery) -> None:
        got.append(delivery)
        consumer.cancel()

    consumer = broker.consume("emails", receive, prefetch=5)
    broker.publish_many([outgoing(), outgoing()])
    eventually(lambda: server.consumers("emails") == 0)
    assert len(got) == 1


def test_a_client_may_be_closed_while_its_consumers_are_busy(server: MemoryServer) -> None:
    for _ in range(20):
        client, helper = MemoryBroker(server), MemoryBroker(server)
        client.ensure_topic("emails")
        busy = threading.Event()

        def receive(_delivery: Delivery, busy: threading.Event = busy) -> None:
            busy.set()

        for _ in range(3):
            client.consume("emails", receive, prefetch=50, limit=50)
        helper.publish_many([outgoing() for _ in range(100)])
        busy.wait(5)
        client.close()
        helper.close()
        assert server.depth("emails") == 100
        server.purge("emails")
    assert not consumer_threads()


def test_the_consumer_of_a_client_that_was_simply_dropped_ends(server: MemoryServer) -> None:
    got: list[Delivery] = []
    dropped = MemoryBroker(server)
    dropped.publish("emails", SEND)
    dropped.consume("emails", got.append, prefetch=1)
    eventually(lambda: got)
    del dropped
    gc.collect()
    eventually(lambda: not consumer_threads())
    assert (server.depth("emails"), server.consumers("emails")) == (1, 0)


def test_real_consumers_count_beside_those_that_are_made_believe(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    server.set_consumers("emails", 2)
    broker.consume("emails", print, prefetch=1)
    assert server.consumers("emails") == 3
    with MemoryBroker(server, read_only=True) as other, pytest.raises(LookRefused):
        other.peek("emails", 1)


def test_threads_of_two_clients_lose_and_double_nothing(server: MemoryServer) -> None:
    """Acknowledged, requeued, delayed and given up at random, while consumers come and go."""
    gone: list[bytes] = []
    clock = server.clock
    assert isinstance(clock, ManualClock)
    clients = [MemoryBroker(server) for _ in range(2)]
    clients[0].ensure_topic("emails")

    def settle(client: MemoryBroker, delivery: Delivery, dice: random.Random) -> None:
        match dice.randrange(5):
            case 0:
                client.nack(delivery.id, delay=dice.random())
            case 1:
                client.nack(delivery.id, count_attempt=False)
            case 2:
                client.dead_letter(delivery.id, failure())
                gone.append(delivery.body)
            case _:
                client.ack(delivery.id)
                gone.append(delivery.body)

    with ThreadPoolExecutor(4, thread_name_prefix="tasktools-settle") as pool:
        for n in range(6):
            client = clients[n % 2]
            dice = random.Random(n)

            def receive(
                delivery: Delivery, client: MemoryBroker = client, dice: random.Random = dice
            ) -> None:
                pool.submit(settle, client, delivery, dice)

            client.consume("emails", receive, prefetch=7, limit=None if n % 3 else 4)
        bodies = [b"%d" % n for n in range(600)]
        clients[0].publish_many([outgoing(body=body) for body in bodies])

        def all_gone() -> bool:
            clock.advance(0.1)
            return len(gone) >= len(bodies)

        eventually(all_gone)
    assert sorted(gone) == sorted(bodies)
    (stats,) = [s for s in clients[0].topic_report(["emails"]).topics if s.topic == "emails"]
    assert (stats.queued, stats.unacked) == (0, 0)
    for client in clients:
        client.close()


# --- dead letters -------------------------------------------------------------------


def test_a_dead_letter_keeps_the_deaths_it_died_before(broker: MemoryBroker) -> None:
    broker.publish("emails", SEND)
    broker.nack(take(broker).id, requeue=False)
    broker.dead_letter(take(broker, "emails.dead").id, failure())
    headers = take(broker, "emails.dead.dead").properties.headers
    assert [death.queue for death in x_death.parse(headers)] == ["emails"]
    assert failure_headers.from_headers(headers) == failure()
    assert broker.known_topics() == {"default", "emails"}


# --- topics and settings ------------------------------------------------------------


def test_there_are_no_quorum_queues(broker: MemoryBroker) -> None:
    with pytest.raises(InvalidTopic, match="no quorum queues; nothing was changed"):
        broker.create_topic("fresh", queue_type="quorum")
    assert not broker.topic_exists("fresh")


def test_a_conflict_names_the_argument_what_it_is_and_what_it_should_have_been(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    with pytest.raises(TopicConflict, match="has x-max-priority none instead of 5; it was not"):
        broker.create_topic("emails", max_priority=5)
    server.declare_queue("old", max_length=7, dead_letter=("", "elsewhere"))
    with pytest.raises(TopicConflict, match=r"x-dead-letter-exchange '' instead of '"):
        broker.create_topic("old")
    assert not broker.queue_exists("old.dead")


def test_a_queue_made_by_ensuring_is_the_same_as_one_that_was_created(broker: MemoryBroker) -> None:
    broker.create_topic("emails")
    broker.create_topic("fresh", message_ttl=0.5)
    broker.create_topic("fresh", message_ttl=0.5)


@pytest.mark.parametrize(
    "name", ["tasktools.settings", "fp.node.1", "tw.lock.nightly", "emails.dead", "*"]
)
def test_a_queue_of_a_program_is_no_topic_although_a_worker_speaks_of_it(
    server: MemoryServer, broker: MemoryBroker, name: str
) -> None:
    server.declare_queue(name)
    server.bind(name, broker.layout.task_exchange, name)
    assert broker.known_topics() == {"default", "emails"}
    broker.broadcast(worker_event(topics=("spoken-of", name)))
    assert broker.known_topics() == {"default", "emails", "spoken-of"}


def test_settings_of_layouts_live_beside_each_other(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    broker.configure_topic("emails", TopicSettings(max_retries=3))
    with MemoryBroker(server, layout=FP) as other:
        assert dict(other.topic_settings()) == {}
    # As a peer would read them: what is not said of dead letters means yes.
    assert broker.topic_settings()["emails"] == TopicSettings(
        max_retries=3, dead_letter_enabled=True
    )


# --- locks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x" * 201, "ä" * 101])
def test_a_name_that_can_be_no_lock_is_refused(broker: MemoryBroker, name: str) -> None:
    for ask in (broker.acquire_lock, broker.force_release_lock):
        with pytest.raises(ValueError, match="1 to 200 bytes"):
            ask(name)


def test_the_lock_of_a_client_that_was_simply_dropped_is_free(
    server: MemoryServer, broker: MemoryBroker
) -> None:
    dropped = MemoryBroker(server)
    lock = dropped.acquire_lock("nightly")
    assert lock is not None
    assert repr(lock) == "<Lock 'nightly' fence=1>"
    assert broker.acquire_lock("nightly") is None
    del lock, dropped
    gc.collect()
    lock = broker.acquire_lock("nightly")
    assert lock is not None
    lock.release()
    assert repr(lock) == "<Lock 'nightly' fence=2, not held>"


def test_many_threads_are_never_two_in_a_lock(server: MemoryServer) -> None:
    inside, fences = threading.Lock(), list[int]()
    clients = [MemoryBroker(server) for _ in range(3)]

    def work(client: MemoryBroker) -> None:
        done = 0
        while done < 50:
            lock = client.acquire_lock("nightly")
            if lock is None:
                continue
            with lock:
                assert inside.acquire(blocking=False)
                fences.append(lock.fence)
                inside.release()
            done += 1

    with ThreadPoolExecutor(6, thread_name_prefix="tasktools-locks") as pool:
        for done in [pool.submit(work, clients[n % 3]) for n in range(6)]:
            done.result(30)
    assert fences == sorted(set(fences))
    for client in clients:
        client.close()


# --- listeners ----------------------------------------------------------------------


def test_a_sender_finds_that_all_have_heard(broker: MemoryBroker, server: MemoryServer) -> None:
    events: list[Event] = []
    with MemoryBroker(server) as other:
        other.listen(events.append)
        broker.broadcast(task_event())
        assert events[-1] == task_event()


def test_a_listener_may_answer_and_all_hear_the_answer_after_the_question(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    question, answer = task_event("task_started"), task_event("task_completed")
    lists: list[list[Event]] = [[], []]

    with MemoryBroker(server) as other:

        def hear_and_answer(event: Event) -> None:
            lists[0].append(event)
            if event == question:
                other.broadcast(answer)

        other.listen(hear_and_answer)
        broker.listen(lists[1].append)
        broker.broadcast(question)
    for events in lists:
        assert [event for event in events if isinstance(event, TaskEvent)] == [question, answer]


def test_a_listener_is_never_called_twice_at_once_and_misses_nothing(server: MemoryServer) -> None:
    inside, bodies = threading.Lock(), list[str]()

    def hear(event: Event) -> None:
        if isinstance(event, TaskEvent):
            assert inside.acquire(blocking=False)
            bodies.append(event.task_id)
            inside.release()

    with MemoryBroker(server) as broker:
        broker.listen(hear)

        def speak(n: int) -> None:
            for m in range(100):
                broker.broadcast(task_event(task_id=f"{n}-{m}"))

        with ThreadPoolExecutor(4, thread_name_prefix="tasktools-speak") as pool:
            list(pool.map(speak, range(4)))
        assert len(bodies) == 400
        for n in range(4):
            assert [t for t in bodies if t.startswith(f"{n}-")] == [f"{n}-{m}" for m in range(100)]


def test_a_listener_hears_our_own_question_and_may_answer_it(server: MemoryServer) -> None:
    with MemoryBroker(server) as broker:

        def node(event: Event) -> None:
            if isinstance(event, Question) and event.kind == "who_is_alive":
                broker.broadcast(WorkerList(sender_id="node", workers=(worker_report("worker-9"),)))

        broker.listen(node)
        assert [worker.worker_id for worker in broker.cluster_state().workers] == ["worker-9"]


def test_a_closed_client_hears_nothing_more(broker: MemoryBroker, server: MemoryServer) -> None:
    events: list[Event] = []
    with MemoryBroker(server) as other:
        stop = other.listen(events.append)
        events.clear()
    broker.broadcast(task_event())
    stop()
    assert not events


def test_a_lock_that_is_taken_away_is_told_before_it_is_taken_again(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    names: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, LockEvent):
            names.append(event.kind)

    broker.listen(hear)
    with MemoryBroker(server) as other:
        assert other.acquire_lock("nightly", "task-1")
        assert broker.force_release_lock("nightly")
        assert broker.acquire_lock("nightly")
    assert names == ["lock_acquired", "lock_released", "lock_acquired"]


def test_a_delivery_given_back_by_a_close_cannot_be_settled_by_another(
    broker: MemoryBroker, server: MemoryServer
) -> None:
    broker.publish("emails", SEND)
    other = MemoryBroker(server)
    delivery = take(other)
    other.close()
    with pytest.raises(UnknownDelivery):
        broker.ack(delivery.id)
