"""Opening, closing, and what a read-only client may not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tasktools.brokers.base import Broker
from tasktools.core.errors import Closed, ReadOnly
from tasktools.core.models import TopicSettings
from tasktools.testing.conformance.base import (
    TASK,
    Backdoor,
    Conformance,
    abilities,
    holds,
    publish,
    take,
)
from tasktools.testing.factories import failure, outgoing, worker_event

Call = Callable[[Broker], object]

CHANGES: Final[dict[str, Call]] = {
    "setup": lambda broker: broker.setup(),
    "publish": lambda broker: broker.publish("fresh", {"task_name": TASK}),
    "publish_many": lambda broker: broker.publish_many([outgoing("emails")]),
    "claim": lambda broker: broker.claim("emails", "worker-1"),
    "ack": lambda broker: broker.ack("any"),
    "nack": lambda broker: broker.nack("any"),
    "consume": lambda broker: broker.consume("emails", print, prefetch=1),
    "dead_letter": lambda broker: broker.dead_letter("any", failure()),
    "count_begin": lambda broker: broker.count_begin("emails", "task-1"),
    "forget_begins": lambda broker: broker.forget_begins("emails", "task-1"),
    "delete_topic": lambda broker: broker.delete_topic("emails", force=True),
    "purge": lambda broker: broker.purge("emails"),
    "ensure_topic": lambda broker: broker.ensure_topic("fresh"),
    "create_topic": lambda broker: broker.create_topic("fresh"),
    "configure_topic": lambda broker: broker.configure_topic("fresh", TopicSettings()),
    "acquire_lock": lambda broker: broker.acquire_lock("nightly"),
    "force_release_lock": lambda broker: broker.force_release_lock("nightly"),
    "broadcast": lambda broker: broker.broadcast(worker_event()),
}
LOOKS: Final[dict[str, Call]] = {
    "connect": lambda broker: broker.connect(),
    "queue_facts": lambda broker: broker.queue_facts("emails"),
    "look_verdict": lambda broker: broker.look_verdict("emails", 5),
    "peek": lambda broker: broker.peek("emails", 5),
    "topic_exists": lambda broker: broker.topic_exists("emails"),
    "queue_exists": lambda broker: broker.queue_exists("emails.dead"),
    "topic_report": lambda broker: broker.topic_report(),
    "known_topics": lambda broker: broker.known_topics(),
    "topic_settings": lambda broker: broker.topic_settings(),
    "server_facts": lambda broker: broker.server_facts(["emails"]),
    "listen": lambda broker: broker.listen(print),
    "cluster_state": lambda broker: broker.cluster_state(),
}


class Lifecycle(Conformance):
    """Behaviours of a client as a whole."""

    def test_connecting_again_changes_nothing(self, broker: Broker) -> None:
        broker.connect()
        broker.connect()
        assert broker.cluster_state().events.ok

    def test_setting_up_again_keeps_the_messages(self, broker: Broker, backdoor: Backdoor) -> None:
        broker.setup()
        publish(broker)
        broker.setup()
        assert backdoor.depth("emails") == 1

    def test_a_client_says_what_it_is(self, broker: Broker, read_only_broker: Broker) -> None:
        assert (broker.read_only, read_only_broker.read_only) == (False, True)
        assert "://" in broker.address
        assert broker.demo is False
        assert broker.note is None

    def test_all_clients_of_a_cluster_use_the_same_names(
        self, broker: Broker, second_broker: Broker
    ) -> None:
        assert broker.layout == second_broker.layout

    def test_all_clients_of_a_cluster_know_it_as_the_same(
        self, broker: Broker, second_broker: Broker, read_only_broker: Broker
    ) -> None:
        assert broker.identity is not None
        assert broker.identity == second_broker.identity == read_only_broker.identity

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_read_only_client_refuses_to(
        self, broker: Broker, read_only_broker: Broker, backdoor: Backdoor, change: str
    ) -> None:
        publish(broker, count=2)
        with pytest.raises(ReadOnly, match=change):
            CHANGES[change](read_only_broker)
        assert backdoor.depth("emails") == 2
        assert not broker.topic_exists("fresh")
        assert dict(broker.topic_settings()) == {}
        assert broker.acquire_lock("nightly") is not None
        assert broker.cluster_state().workers == ()

    @pytest.mark.parametrize("look", LOOKS)
    def test_a_read_only_client_can(
        self, broker: Broker, read_only_broker: Broker, backdoor: Backdoor, look: str
    ) -> None:
        publish(broker, count=2)
        LOOKS[look](read_only_broker)
        assert holds(backdoor, "emails", 2)

    @pytest.mark.parametrize("method", CHANGES | LOOKS)
    def test_a_closed_client_refuses_to(self, broker: Broker, method: str) -> None:
        publish(broker)
        broker.close()
        with pytest.raises(Closed):
            (CHANGES | LOOKS)[method](broker)

    def test_closing_twice_is_fine(self, broker: Broker) -> None:
        broker.close()
        broker.close()
        with pytest.raises(Closed):
            broker.topic_exists("emails")

    def test_a_client_is_closed_at_the_end_of_its_block(
        self, broker: Broker, second_broker: Broker, backdoor: Backdoor
    ) -> None:
        publish(broker)
        with second_broker as client:
            take(client)
        assert holds(backdoor, "emails", 1)
        with pytest.raises(Closed):
            second_broker.claim("emails", "worker-1")

    def test_the_backend_lacks_exactly_what_the_suite_was_told(self, broker: Broker) -> None:
        assert {name for name, has in abilities(broker).items() if not has} == self.lacks
