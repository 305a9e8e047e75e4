"""Creating topics, delays, kept settings, and failures as headers, as plain pika sees them."""

from __future__ import annotations

import functools
import json
import threading
from datetime import UTC, datetime

import pika
import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.queues import delays
from tasktools.core.errors import BrokerError, TopicConflict
from tasktools.core.models import Failure, QueueType, TopicSettings
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost

TASK = {"task_name": "some_module:f"}
FAILURE = Failure(
    reason="failed", error_type="ValueError", error="no", failed_at=datetime(2026, 1, 1, tzinfo=UTC)
)


def redeclare(raw: Raw, queue: str, **arguments: object) -> None:
    """Raises unless the queue has exactly these arguments."""
    Raw.declare(raw, queue, **arguments)


def test_a_topic_is_created_as_asked(cluster: tt.Cluster, raw: Raw) -> None:
    cluster.broker.create_topic("urgent", max_priority=9, message_ttl=60)
    redeclare(
        raw,
        "urgent",
        x_dead_letter_exchange="fp.dlx",
        x_dead_letter_routing_key="dlx.urgent",
        x_max_priority=9,
        x_message_ttl=60_000,
    )
    redeclare(raw, "urgent.dead")


def test_a_quorum_topic_has_a_classic_dead_letter_queue(cluster: tt.Cluster, raw: Raw) -> None:
    cluster.broker.create_topic("safe", queue_type="quorum")
    stats = {row.topic: row for row in cluster.broker.topic_report(["safe"]).topics}
    assert stats["safe"].queue_type == "quorum"
    redeclare(raw, "safe.dead", x_queue_type="classic")


def test_the_conflict_with_a_queue_that_exists_is_named_and_it_is_used_as_it_is(
    cluster: tt.Cluster, raw: Raw
) -> None:
    raw.declare("emails", x_max_length=5)
    with pytest.raises(TopicConflict, match=r"'emails' exists .* used as it is"):
        cluster.broker.create_topic("emails", max_priority=5)
    cluster.broker.publish("emails", TASK)
    assert raw.depth("emails") == 1


def test_priorities_of_classic_and_quorum_queues_are_obeyed(
    cluster: tt.Cluster, version: tuple[int, int]
) -> None:
    broker = cluster.broker
    broker.create_topic("classic", max_priority=9)
    broker.create_topic("quorum", queue_type="quorum")
    for topic in ("classic", "quorum"):
        for priority in (1, 9):
            broker.publish(topic, TASK, priority=priority)
        first = eventually(functools.partial(broker.claim, topic, "w"))
        has_priorities = topic == "classic" or version >= (4, 0)
        assert first.properties.priority == (9 if has_priorities else 1)


@pytest.mark.parametrize(
    ("delay", "parked"),
    [(0.0001, 1), (0.5, 500), (1.234, 1300), (10, 10_000), (61, 61_000), (3599, 3_600_000)],
)
def test_delays_are_rounded_up_to_two_digits(delay: float, parked: int) -> None:
    assert delays.rounded(delay) == parked


def test_a_delayed_message_keeps_no_trace_of_the_way_it_took(cluster: tt.Cluster, raw: Raw) -> None:
    broker = cluster.broker
    broker.publish("emails", TASK, delay=0.2, priority=3)
    for _ in range(3):
        delivery = eventually(lambda: broker.claim("emails", "w"))
        assert not delivery.properties.headers
        assert delivery.properties.priority == 3
        assert broker.nack(delivery.id, delay=0.2)
    eventually(lambda: raw.depth("emails"))
    assert broker.peek("emails", 1).messages[0].deaths == ()
    delivery = eventually(lambda: broker.claim("emails", "w"))
    assert delivery.task.attempts == 3
    broker.nack(delivery.id)
    (again,) = raw.read_all("emails")
    assert not again[0].headers


def test_a_delay_works_again_after_its_parking_queue_was_deleted(
    cluster: tt.Cluster, raw: Raw
) -> None:
    broker = cluster.broker
    broker.publish("emails", TASK, delay=0.1)
    eventually(lambda: broker.claim("emails", "w"))
    raw.channel.queue_delete("tasktools.delay.fp.100")
    broker.publish("emails", TASK, delay=0.1)
    eventually(lambda: broker.claim("emails", "w"))


def test_a_dead_letter_is_the_message_as_it_came_with_what_went_wrong(
    cluster: tt.Cluster, raw: Raw
) -> None:
    raw.declare("emails")
    odd = {"old": "x" * 300, "table": {"a": [1, None]}, "at": datetime(2020, 1, 1, tzinfo=UTC)}
    sent = pika.BasicProperties(
        headers=odd, delivery_mode=2, priority=7, message_id="m", timestamp=5, expiration="60000"
    )
    body = b"\xff no JSON " + b"x" * 5_000_000
    raw.channel.basic_publish("", "emails", body, sent, mandatory=True)
    delivery = eventually(lambda: cluster.broker.claim("emails", "w"))
    cluster.broker.dead_letter(delivery.id, FAILURE)
    ((properties, dead),) = raw.read_all("emails.dead")
    assert dead == body
    assert {name: properties.headers[name] for name in odd} == odd
    assert properties.headers["x-tasktools-error-type"] == "ValueError"
    assert (properties.priority, properties.message_id, properties.timestamp) == (7, "m", 5)
    assert properties.expiration is None
    assert raw.depth("emails") == 0


def test_settings_and_delayed_messages_outlive_every_client_and_the_broker(
    rabbitmq: RabbitMQNode, connect: Connect
) -> None:
    with connect() as cluster:
        cluster.broker.configure_topic("emails", TopicSettings(max_retries=4))
        cluster.broker.publish("emails", TASK, delay=2)
    rabbitmq.restart()
    broker = connect().broker
    assert broker.topic_settings()["emails"].max_retries == 4
    eventually(lambda: broker.claim("emails", "w"))


def test_settings_changed_by_many_at_once_are_all_kept(connect: Connect) -> None:
    brokers = [connect().broker for _ in range(3)]

    def write(number: int) -> None:
        for n in range(8):
            settings = TopicSettings(concurrency_limit=n)
            brokers[number].configure_topic(f"topic-{number}-{n}", settings)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(brokers[0].topic_settings()) == 24


def test_two_revisions_left_by_a_crash_are_read_as_the_newer_one(
    cluster: tt.Cluster, raw: Raw
) -> None:
    """A process that died between publishing the new revision and acknowledging the old one."""
    broker = cluster.broker
    broker.configure_topic("a", TopicSettings(max_retries=1))
    method, _, _ = raw.channel.basic_get("tasktools.settings.fp")
    newer = {"revision": 2, "value": {"a": {"max_retries": 2}}}
    raw.put("tasktools.settings.fp", json.dumps(newer).encode())
    raw.channel.basic_nack(method.delivery_tag, requeue=True)
    assert broker.topic_settings()["a"].max_retries == 2
    broker.configure_topic("b", TopicSettings())
    assert broker.topic_settings()["a"].max_retries == 2
    assert raw.depth("tasktools.settings.fp") == 1


def test_a_topic_with_a_delay_is_found_by_its_binding_even_if_it_was_made_by_hand(
    cluster: tt.Cluster, raw: Raw
) -> None:
    cluster.broker.setup()
    raw.declare("by-hand")
    message = cluster.broker.composer.compose("by-hand", TASK, delay=0.1)
    assert cluster.broker.publish_many([message]) == ["confirmed"]
    eventually(lambda: raw.depth("by-hand") == 1)


def test_without_management_the_topics_are_those_spoken_of(vhost: Vhost, connect: Connect) -> None:
    writer = connect(management_url=False).broker
    reader = connect(management_url=False).broker
    assert reader.known_topics() == {"default"}
    writer.configure_topic("emails", TopicSettings())
    eventually(lambda: "emails" in reader.known_topics())


def test_a_full_vhost_answers_with_a_note(
    rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect, raw: Raw
) -> None:
    """Issue 11, misleading: the limit of queues is reached, and `topics()` raised."""
    first = connect()
    first.create_topic("emails")
    first.configure_topic("emails", max_retries=1)
    first.close()
    path = f"/api/vhost-limits/{vhost.name}/max-queues"
    rabbitmq.request("PUT", path, {"value": 1})
    cluster = connect()
    frame = cluster.topics()
    assert frame["topic"].tolist() == ["emails"]
    assert frame["queued"].tolist() == [0]
    notes = " ".join(frame.attrs["notes"])
    assert "queue limit in vhost" in notes
    assert "stored settings of topics could not be read" in notes
    assert "emails" in cluster.broker.known_topics()
    for look in (cluster.workers, cluster.stats, cluster.active_tasks, cluster.locks):
        assert "queue limit in vhost" in " ".join(look().attrs["notes"])
    assert cluster.dead_letters("emails").empty
    assert cluster.publish("emails", "shop:send")
    for change in (
        lambda: cluster.create_topic("new"),
        lambda: cluster.publish("new", "shop:send", create=True),
        lambda: cluster.publish("emails", "shop:send", delay=3),
        lambda: cluster.configure_topic("emails", max_retries=2),
    ):
        with pytest.raises(BrokerError, match="queue limit in vhost"):
            change()
    assert not cluster.broker.topic_exists("new")


def test_a_topic_that_there_is_room_for_by_half_is_not_created(
    rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect
) -> None:
    """Issue 11, misleading: of its kind: the queue without its dead-letter queue would lose."""
    cluster = connect()
    cluster.workers()  # our own queue
    path = f"/api/vhost-limits/{vhost.name}/max-queues"
    rabbitmq.request("PUT", path, {"value": 2})
    with pytest.raises(BrokerError, match="queue limit in vhost"):
        cluster.create_topic("new")
    assert not cluster.broker.topic_exists("new")


def test_a_user_who_may_configure_nothing_sees_topics(
    rabbitmq: RabbitMQNode, vhost: Vhost, connect: Connect, cluster: tt.Cluster
) -> None:
    """Issue 11, misleading: of its kind: our queue of events cannot be declared."""
    cluster.create_topic("emails")
    cluster.configure_topic("emails", max_retries=1)
    user = f"looker-{vhost.name}"
    rabbitmq.add_user(user, "pw", tags="management")
    rabbitmq.allow(user, vhost.name, configure="^$")
    looker = connect(vhost.dsn.replace("guest:guest@", f"{user}:pw@"))
    frame = looker.topics()
    assert frame["topic"].tolist() == ["emails"]
    assert frame["dead_lettering"].tolist() == [True]
    assert "refused" in " ".join(frame.attrs["notes"])


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_topic_with_a_claimed_message_is_kept(
    cluster: tt.Cluster, raw: Raw, kind: QueueType
) -> None:
    """Issue 11, new user: AMQP does not count what is held; the management API does."""
    cluster.create_topic("emails", queue_type=kind)
    raw.put("emails", b"x")
    eventually(lambda: raw.channel.basic_get("emails")[0] is not None)
    eventually(lambda: cluster.broker.topic_report(["emails"]).topics[0].unacked == 1)
    with pytest.raises(tt.TopicInUse, match="1 unacknowledged message"):
        cluster.delete_topic("emails")
    assert cluster.broker.topic_exists("emails")


def test_an_unknown_topic_is_not_deleted(cluster: tt.Cluster) -> None:
    cluster.create_topic("emails")
    with pytest.raises(tt.UnknownTopic, match="did you mean 'emails'"):
        cluster.delete_topic("email")
