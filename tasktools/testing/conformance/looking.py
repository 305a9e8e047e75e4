"""Looks at a queue, which change nothing."""

from __future__ import annotations

import pytest

from tasktools.brokers.base import Broker, Look
from tasktools.core.errors import LookRefused, QueueNotFound
from tasktools.core.models import SeenMessage
from tasktools.core.peek_verdict import Cost
from tasktools.testing.conformance.base import (
    Backdoor,
    Conformance,
    needs,
    number_of,
    publish,
    take,
)
from tasktools.testing.eventually import eventually
from tasktools.testing.factories import celery_message


def fill(backdoor: Backdoor, queue: str, count: int) -> list[bytes]:
    """Put *count* different bodies into *queue*, and return them."""
    bodies = [b"body %d" % n for n in range(count)]
    for body in bodies:
        backdoor.put(queue, body)
    return bodies


class Looking(Conformance):
    """Behaviours of `peek` and `look_verdict`."""

    def test_a_look_shows_the_queued_tasks_in_order(self, broker: Broker) -> None:
        publish(broker, count=3)
        seen = broker.peek("emails", 10).messages
        assert [message.task.kwargs for message in seen] == [{"number": n} for n in range(3)]
        assert [message.position for message in seen] == [0, 1, 2]

    def test_a_look_leaves_the_same_messages_in_the_same_order(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        bodies = fill(backdoor, "emails", 20)
        for _ in range(3):
            broker.peek("emails", 20)
        assert backdoor.bodies("emails") == bodies

    def test_a_look_at_some_leaves_the_order_of_all(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        bodies = fill(backdoor, "emails", 20)
        assert len(broker.peek("emails", 7).messages) == 7
        assert backdoor.bodies("emails") == bodies

    def test_a_look_counts_all_ready_messages(self, broker: Broker) -> None:
        publish(broker, count=5)
        look = broker.peek("emails", 2)
        assert (look.ready_before, look.ready_after, look.note) == (5, 5, None)

    def test_keys_are_the_same_in_every_look(self, broker: Broker) -> None:
        publish(broker, count=5)
        looks = [[m.key for m in broker.peek("emails", 5).messages] for _ in range(10)]
        assert looks == [looks[0]] * 10

    def test_keys_of_different_messages_differ(self, broker: Broker) -> None:
        publish(broker, count=5)
        assert len({message.key for message in broker.peek("emails", 5).messages}) == 5

    def test_identical_messages_have_keys_of_their_own(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        for _ in range(3):
            backdoor.put("emails", b"the same")
        first, *others = [message.key for message in broker.peek("emails", 5).messages]
        assert others == [f"{first}#2", f"{first}#3"]

    def test_a_message_has_another_key_once_it_is_dead(self, broker: Broker) -> None:
        publish(broker)
        alive = broker.peek("emails", 1).messages[0].key
        broker.nack(take(broker).id, requeue=False)
        take_back = take(broker, "emails.dead")
        broker.nack(take_back.id, count_attempt=False)
        publish(broker, "after")  # answered once the give-back has been done
        assert broker.peek("emails.dead", 1).messages[0].key != alive

    def test_a_look_shows_the_deaths_of_dead_letters(self, broker: Broker) -> None:
        publish(broker)
        broker.nack(take(broker).id, requeue=False)
        broker.nack(take(broker, "emails.dead").id, count_attempt=False)
        publish(broker, "after")
        (message,) = broker.peek("emails.dead", 5).messages
        assert [(death.queue, death.reason) for death in message.deaths] == [("emails", "rejected")]

    def test_a_second_look_finds_the_messages_redelivered(self, broker: Broker) -> None:
        publish(broker)
        looks = [broker.peek("emails", 1).messages[0].redelivered for _ in range(2)]
        assert looks == [False, True]

    def test_a_look_does_not_show_what_others_have_claimed(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        publish(broker, count=3)
        take(second_broker)
        look = broker.peek("emails", 5)
        assert [message.task.kwargs for message in look.messages] == [{"number": 1}, {"number": 2}]

    def test_a_message_is_claimed_as_usual_after_a_look(self, broker: Broker) -> None:
        publish(broker, count=2)
        broker.peek("emails", 2)
        delivery = take(broker)
        assert (number_of(delivery), delivery.task.attempts) == (0, 0)

    def test_an_empty_queue_shows_nothing(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        assert broker.peek("emails", 5).messages == ()

    def test_a_queue_that_does_not_exist_cannot_be_looked_at(self, broker: Broker) -> None:
        with pytest.raises(QueueNotFound):
            broker.peek("missing", 5)
        with pytest.raises(QueueNotFound):
            broker.look_verdict("missing", 5)

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_look_shows_at_least_one(self, broker: Broker, limit: int) -> None:
        publish(broker)
        with pytest.raises(ValueError, match=str(limit)):
            broker.peek("emails", limit)

    def test_a_look_without_a_limit_shows_all(self, broker: Broker) -> None:
        publish(broker, count=5)
        assert len(broker.peek("emails").messages) == 5

    def test_each_message_is_handed_over_with_its_body_and_none_is_kept(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        bodies = fill(backdoor, "emails", 5)
        received: list[tuple[int, bytes]] = []
        look = broker.peek("emails", receive=lambda m, body: received.append((m.position, body)))
        assert received == list(enumerate(bodies))
        assert (look.messages, look.ready_before, look.note) == ((), 5, None)
        assert backdoor.bodies("emails") == bodies

    def test_what_is_handed_over_is_what_is_kept_without(self, broker: Broker) -> None:
        publish(broker, count=3)
        messages = broker.peek("emails").messages
        received: list[SeenMessage] = []
        broker.peek("emails", receive=lambda message, _body: received.append(message))
        assert [message.key for message in received] == [message.key for message in messages]
        assert [message.task for message in received] == [message.task for message in messages]

    def test_a_look_ends_when_its_receiver_has_seen_enough(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        bodies = fill(backdoor, "emails", 20)
        received: list[bytes] = []

        def receive(_message: SeenMessage, body: bytes) -> bool:
            received.append(body)
            return body == bodies[6]

        look = broker.peek("emails", receive=receive)
        assert received == bodies[:7]
        assert look.note is None
        assert backdoor.bodies("emails") == bodies

    def test_what_a_receiver_raises_is_raised_once_all_is_given_back(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        bodies = fill(backdoor, "emails", 5)

        def receive(message: SeenMessage, _body: bytes) -> None:
            raise LookupError(message.position)

        with pytest.raises(LookupError, match="0"):
            broker.peek("emails", receive=receive)
        assert backdoor.bodies("emails") == bodies

    def test_a_look_shows_what_is_no_task_with_its_problem(
        self, broker: Broker, backdoor: Backdoor
    ) -> None:
        broker.ensure_topic("emails")
        backdoor.put("emails", b"\x80no JSON")
        (message,) = broker.peek("emails", 5).messages
        assert message.task.problem
        assert message.size == len(b"\x80no JSON")

    def test_a_look_reads_the_messages_of_celery(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.ensure_topic("emails")
        body, celery_properties = celery_message(kwargs={"to": "a@b"})
        backdoor.put("emails", body, celery_properties)
        (message,) = broker.peek("emails", 5).messages
        assert (message.task.dialect, message.task.kwargs) == ("celery", {"to": "a@b"})

    def test_the_verdict_on_a_queue_without_consumers_is_harmless(self, broker: Broker) -> None:
        publish(broker)
        verdict = broker.look_verdict("emails", 5)
        assert verdict.cost is Cost.HARMLESS
        assert broker.peek("emails", 5).verdict == verdict

    def test_a_look_where_somebody_consumes_may_reorder(self, broker: Broker) -> None:
        broker.ensure_topic("emails")
        broker.consume("emails", print, prefetch=1)
        eventually(lambda: broker.look_verdict("emails", 5).cost is Cost.REORDERS)

    def test_the_facts_about_a_queue_say_what_it_was_made_with(self, broker: Broker) -> None:
        """Issue 11, row 1: what decides about a queue's messages is known."""
        broker.create_topic("emails", max_priority=5, message_ttl=30.0)
        publish(broker, count=2)
        facts = broker.queue_facts("emails")
        assert (facts.queue_type, facts.ready, facts.message_ttl) == ("classic", 2, 30.0)
        assert facts.dead_letter_exchange == broker.layout.dead_letter_exchange
        assert facts.unknown == ()
        with pytest.raises(QueueNotFound):
            broker.queue_facts("missing")

    def test_that_messages_may_expire_while_they_are_held_is_in_the_verdict(
        self, broker: Broker, read_only_broker: Broker
    ) -> None:
        """Issue 11, row 1: a TTL, and what a read-only client may look at."""
        broker.create_topic("emails", message_ttl=30.0)
        publish(broker, count=2)
        verdict = broker.look_verdict("emails")
        assert (verdict.cost, "expire after 30 s" in verdict.why) == (Cost.EXPIRES, True)
        assert len(broker.peek("emails").messages) == 2
        with pytest.raises(LookRefused, match="read_only"):
            read_only_broker.peek("emails")

    def test_what_expires_when_a_look_brings_it_to_the_head_is_told(self, broker: Broker) -> None:
        """Issue 11, row 11: it was reported as another user of the queue."""
        publish(broker)
        for _ in range(3):
            broker.publish("emails", {"task_name": "shop:send"}, ttl=0.001)
        broker.publish("emails", {"task_name": "shop:last"})
        looks: list[Look] = []

        def is_expired() -> bool:
            looks.append(broker.peek("emails"))
            return looks[-1].ready_after == 2

        eventually(is_expired)
        assert str(looks[-1].messages[-1].task.task_name).endswith("last")
        assert len(looks[-1].messages) == 2
        shrunk = [look for look in looks if look.ready_after < look.ready_before]
        assert sum(look.ready_before - look.ready_after for look in shrunk) == 3
        for look in shrunk:
            assert f"{look.ready_before - look.ready_after} had expired" in str(look.note)
            assert "moved them" in str(look.note)
        eventually(lambda: broker.queue_facts("emails.dead").ready == 3)

    def test_asking_for_the_verdict_touches_nothing(self, broker: Broker) -> None:
        publish(broker)
        broker.look_verdict("emails", 5)
        assert take(broker).redelivered is False

    def test_a_read_only_client_may_look_where_it_is_harmless(
        self, broker: Broker, read_only_broker: Broker
    ) -> None:
        publish(broker, count=2)
        assert len(read_only_broker.peek("emails", 5).messages) == 2

    @needs("quorum_queues")
    def test_looks_at_a_quorum_queue_lose_nothing(self, broker: Broker, backdoor: Backdoor) -> None:
        backdoor.declare_quorum_queue("quorum")
        bodies = fill(backdoor, "quorum", 10)
        for _ in range(25):
            try:
                assert len(broker.peek("quorum", 10).messages) == 10
            except LookRefused:  # once its delivery limit is nearly used up
                break
        assert backdoor.bodies("quorum") == bodies
