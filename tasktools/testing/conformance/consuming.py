"""Consumers: pushed deliveries and their limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import QueueNotFound, UnknownDelivery
from tasktools.core.models import Delivery
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    fill,
    holds,
    never,
    number_of,
    take,
)
from tasktools.testing.eventually import eventually


class Hands:
    """Work on deliveries for a few milliseconds, and count how many are in work at once."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.done: list[int] = []
        self.most = 0
        self._in_work = 0
        self._lock = threading.Lock()
        self._pool = pool

    def of(self, broker: Broker) -> Callable[[Delivery], object]:
        """Return a receiver for a consumer of *broker*."""

        def receive(delivery: Delivery) -> None:
            with self._lock:
                self._in_work += 1
                self.most = max(self.most, self._in_work)
            self._pool.submit(self._work, broker, delivery)

        return receive

    def _work(self, broker: Broker, delivery: Delivery) -> None:
        time.sleep(0.005)
        with self._lock:
            self._in_work -= 1
            self.done.append(number_of(delivery))
        broker.ack(delivery.id)


class Consuming(Conformance):
    """Behaviours of `consume` and of its `Consumer`."""

    @pytest.fixture
    def hands(self) -> Iterator[Hands]:
        with ThreadPoolExecutor(8, thread_name_prefix="tasktools-hands") as pool:
            yield Hands(pool)

    # --- what comes -----------------------------------------------------------------

    def test_what_is_there_and_what_comes_later_is_received_in_order(self, broker: Broker) -> None:
        got: list[Delivery] = []
        fill(broker, count=3)
        consumer = broker.consume("emails", got.append, prefetch=20)
        eventually(lambda: len(got) == 3)
        fill(broker, count=3)
        eventually(lambda: len(got) == 6)
        assert [number_of(delivery) for delivery in got] == [0, 1, 2, 0, 1, 2]
        assert {(delivery.topic, delivery.redelivered) for delivery in got} == {("emails", False)}
        assert (consumer.topic, consumer.problem) == ("emails", None)

    def test_each_message_is_received_once_by_one_of_three(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor, hands: Hands
    ) -> None:
        broker.ensure_topic("emails")
        for client in (broker, broker, second_broker):
            client.consume("emails", hands.of(client), prefetch=10)
        fill(broker, count=300)
        eventually(lambda: len(hands.done) >= 300)
        never(lambda: len(hands.done) > 300, 0.2)
        assert sorted(hands.done) == list(range(300))
        assert holds(backdoor, "emails", 0)

    def test_a_topic_that_does_not_exist_cannot_be_consumed(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound):
            broker.consume("missing", print, prefetch=1)
        assert not broker.topic_exists("missing")

    def test_what_receives_may_fail_and_the_next_message_comes_all_the_same(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        fill(broker, count=3)
        got: list[Delivery] = []

        def receive(delivery: Delivery) -> None:
            got.append(delivery)
            raise RuntimeError("a defect of whoever consumes")

        consumer = broker.consume("emails", receive, prefetch=3)
        eventually(lambda: len(got) == 3)
        for delivery in got:  # it keeps what it has got
            broker.ack(delivery.id)
        consumer.cancel()
        assert backdoor.depth("emails") == 0

    def test_a_body_that_is_no_task_is_received_with_its_problem(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        got: list[Delivery] = []
        broker.ensure_topic("emails")
        backdoor.put("emails", b"no JSON")
        broker.consume("emails", got.append, prefetch=1)
        (delivery,) = eventually(lambda: got)
        assert delivery.body == b"no JSON"
        assert delivery.task.problem

    def test_a_delivery_may_be_acknowledged_where_it_is_received(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        got: list[Delivery] = []

        def receive(delivery: Delivery) -> None:
            got.append(delivery)
            broker.ack(delivery.id)

        fill(broker, count=50)
        broker.consume("emails", receive, prefetch=1)
        eventually(lambda: len(got) == 50)
        assert holds(backdoor, "emails", 0)

    def test_a_requeued_message_is_received_again(self, broker: Broker) -> None:
        got: list[Delivery] = []
        fill(broker)
        broker.consume("emails", got.append, prefetch=1)
        broker.nack(eventually(lambda: got)[0].id)
        eventually(lambda: len(got) == 2)
        assert got[1].task.attempts == 1

    def test_a_topic_tells_of_its_consumers(self, broker: Broker) -> None:
        def consumers() -> int | None:
            (stats,) = [s for s in broker.topic_report(["emails"]).topics if s.topic == "emails"]
            return stats.consumers

        broker.ensure_topic("emails")
        consumer = broker.consume("emails", print, prefetch=1)
        eventually(lambda: consumers() == 1)
        consumer.cancel()
        eventually(lambda: consumers() == 0)

    # --- prefetch -------------------------------------------------------------------

    def test_no_more_than_the_prefetch_is_unsettled(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        got: list[Delivery] = []
        fill(broker, count=10)
        broker.consume("emails", got.append, prefetch=3)
        eventually(lambda: len(got) == 3)
        assert holds(backdoor, "emails", 7)
        broker.ack(got[1].id)
        eventually(lambda: len(got) == 4)
        never(lambda: len(got) > 4)

    def test_the_prefetch_can_be_changed(self, broker: Broker) -> None:
        got: list[Delivery] = []
        fill(broker, count=10)
        consumer = broker.consume("emails", got.append, prefetch=1)
        eventually(lambda: len(got) == 1)
        broker.ack(got[0].id)
        eventually(lambda: len(got) == 2)
        consumer.adjust(prefetch=4, limit=None)
        eventually(lambda: len(got) >= 5)

    # --- limits ---------------------------------------------------------------------

    def test_a_limit_is_never_exceeded_by_three_consumers_of_two_clients(
        self, broker: Broker, second_broker: Broker, hands: Hands
    ) -> None:
        fill(broker, count=100)
        for client in (broker, broker, second_broker):
            client.consume("emails", hands.of(client), prefetch=10, limit=2)
        eventually(lambda: len(hands.done) == 100)
        assert sorted(hands.done) == list(range(100))
        assert hands.most <= 2

    def test_consumers_without_a_limit_do_not_count(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        without, within = list[Delivery](), list[Delivery]()
        fill(broker, count=5)
        broker.consume("emails", without.append, prefetch=2)
        eventually(lambda: len(without) == 2)
        second_broker.consume("emails", within.append, prefetch=2, limit=1)
        eventually(lambda: len(within) == 1)

    def test_a_limit_of_zero_pauses(self, broker: Broker) -> None:
        got: list[Delivery] = []
        fill(broker, count=2)
        consumer = broker.consume("emails", got.append, prefetch=5, limit=0)
        never(lambda: got)
        assert consumer.problem is None
        consumer.adjust(prefetch=5, limit=1)
        eventually(lambda: len(got) == 1)
        consumer.adjust(prefetch=5, limit=None)
        eventually(lambda: len(got) == 2)

    def test_a_limit_can_be_raised_and_lowered(self, broker: Broker) -> None:
        got: list[Delivery] = []
        fill(broker, count=10)
        consumer = broker.consume("emails", got.append, prefetch=5, limit=2)
        eventually(lambda: len(got) == 2)
        never(lambda: len(got) > 2)

        consumer.adjust(prefetch=5, limit=3)
        eventually(lambda: len(got) == 3)

        consumer.adjust(prefetch=5, limit=1)
        never(lambda: len(got) > 3)
        for delivery in got[:3]:
            broker.ack(delivery.id)
        eventually(lambda: len(got) == 4)
        never(lambda: len(got) > 4)

    def test_permits_of_a_client_that_closes_are_free(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        theirs, received = list[Delivery](), list[Delivery]()
        fill(broker, count=6)
        second_broker.consume("emails", theirs.append, prefetch=5, limit=2)
        eventually(lambda: len(theirs) == 2)
        broker.consume("emails", received.append, prefetch=5, limit=2)
        never(lambda: received)
        second_broker.close()
        eventually(lambda: len(received) == 2)

    def test_a_permit_is_held_until_its_delivery_is_settled_also_after_the_end(
        self, broker: Broker
    ) -> None:
        first, second = list[Delivery](), list[Delivery]()
        fill(broker, count=2)
        consumer = broker.consume("emails", first.append, prefetch=1, limit=1)
        eventually(lambda: first)
        consumer.cancel()
        broker.consume("emails", second.append, prefetch=1, limit=1)
        never(lambda: second)
        broker.ack(first[0].id)
        eventually(lambda: second)

    # --- the end --------------------------------------------------------------------

    def test_nothing_comes_once_it_is_cancelled(self, broker: Broker, backdoor: Backdoor) -> None:
        got: list[Delivery] = []
        broker.ensure_topic("emails")
        consumer = broker.consume("emails", got.append, prefetch=5)
        consumer.cancel()
        consumer.cancel()
        fill(broker, count=2)
        never(lambda: got)
        assert backdoor.depth("emails") == 2

    def test_what_came_before_the_end_can_still_be_settled(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        got: list[Delivery] = []
        fill(broker, count=3)
        consumer = broker.consume("emails", got.append, prefetch=2)
        eventually(lambda: len(got) == 2)
        consumer.cancel()
        broker.ack(got[0].id)
        broker.nack(got[1].id, count_attempt=False)
        assert holds(backdoor, "emails", 2)
        assert [number_of(take(broker)) for _ in range(2)] == [1, 2]
        with pytest.raises(UnknownDelivery):
            broker.ack(got[0].id)

    def test_what_a_closed_client_received_comes_back_redelivered(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        got: list[Delivery] = []
        fill(broker, count=3)
        consumer = second_broker.consume("emails", got.append, prefetch=2)
        eventually(lambda: len(got) == 2)
        second_broker.close()
        consumer.cancel()  # of no effect
        assert holds(backdoor, "emails", 3)
        back = [take(broker) for _ in range(3)]
        assert [number_of(delivery) for delivery in back] == [0, 1, 2]
        assert [delivery.redelivered for delivery in back[:2]] == [True, True]
