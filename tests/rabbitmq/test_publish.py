"""Publishing is confirmed, or it says what became of the message."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest
from pika.exceptions import ChannelClosedByBroker

import tasktools as tt


def test_what_is_published_is_the_peers_own_form(cluster: Any, raw: Any) -> None:
    task_id = cluster.publish(
        "emails", "shop.mail:send", kwargs={"to": "ä@b"}, headers={"k": "v"}, create=True
    )
    ((properties, body),) = raw.read_all("emails")
    message = json.loads(body)
    assert message.keys() == {"id", "topic", "payload", "headers", "attempts", "created_at"}
    payload = message["payload"]
    assert (payload["task_id"], payload["func_name"]) == (task_id, "shop.mail:send")
    assert (payload["task_name"], payload["kwargs"]) == ("send", {"to": "ä@b"})
    assert message["headers"] == {"k": "v"}
    assert properties.message_id == message["id"]
    assert properties.delivery_mode == 2
    assert properties.headers is None


def test_an_unknown_topic_is_refused_with_the_names_it_may_have_meant(
    cluster: Any, raw: Any
) -> None:
    cluster.publish("emails", "shop:send", create=True)
    with pytest.raises(tt.UnknownTopic, match="did you mean 'emails'"):
        cluster.publish("emial", "shop:send")
    with pytest.raises(ChannelClosedByBroker, match="404"):
        raw.channel.queue_declare("emial", passive=True)


def test_a_tap_on_the_exchange_does_not_hide_a_missing_queue(cluster: Any) -> None:
    """A binding with `#` takes everything, so `mandatory` alone would call this confirmed."""
    cluster.publish("emails", "shop:send", create=True)
    cluster.tap()
    message = cluster.broker.composer.compose("nowhere", {"task_name": "shop:send"})
    assert cluster.broker.publish_many([message]) == ["unroutable"]
    assert cluster.published().empty


def test_a_full_queue_refuses_and_an_unbound_one_returns(cluster: Any, raw: Any) -> None:
    cluster.broker.setup()
    raw.declare("full", x_max_length=2, x_overflow="reject-publish")
    raw.channel.queue_bind("full", "fp.tasks", "full")
    raw.declare("unbound")
    frame = pd.DataFrame(
        {"topic": ["full"] * 4 + ["unbound"], "task_name": "shop:send", "args": [[1]] * 5}
    )
    outcome = cluster.publish_many(frame)["outcome"].tolist()
    assert outcome == ["confirmed", "confirmed", "refused", "refused", "unroutable"]
    assert (raw.depth("full"), raw.depth("unbound")) == (2, 0)
    with pytest.raises(tt.PublishRefused):
        cluster.publish("full", "shop:send")
    with pytest.raises(tt.Unroutable):
        cluster.publish("unbound", "shop:send")


def test_twenty_thousand_are_confirmed_in_order(cluster: Any, raw: Any) -> None:
    cluster.broker.ensure_topic("emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "kwargs": [{"n": n} for n in range(20_000)]}
    )
    settled: list[int] = []
    published = cluster.publish_many(frame, progress=settled.append)
    assert set(published["outcome"]) == {"confirmed"}
    assert sum(settled) == 20_000
    assert raw.depth("emails") == 20_000
    first = json.loads(raw.channel.basic_get("emails", auto_ack=True)[2])
    assert first["payload"]["task_id"] == published["task_id"][0]


def test_a_bad_row_stops_all_before_the_first_is_sent(cluster: Any, raw: Any) -> None:
    cluster.broker.ensure_topic("emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "kwargs": [{"n": 1}, {"n": float("nan")}]}
    )
    with pytest.raises(tt.InvalidTask, match="JSON"):
        cluster.publish_many(frame)
    with pytest.raises(tt.InvalidTask, match="unknown column prio"):
        cluster.publish_many(frame.assign(prio=1))
    with pytest.raises(tt.UnknownTopic):
        cluster.publish_many(frame.head(1).assign(topic="nowhere"))
    assert raw.depth("emails") == 0


def test_a_queue_without_dead_letter_arguments_is_used_and_told(cluster: Any, raw: Any) -> None:
    raw.declare("old")
    cluster.broker.publish("old", {"task_name": "shop:send"})
    topics = cluster.topics().set_index("topic")
    assert topics.loc["old", "dead_lettering"] is False or not topics.loc["old", "dead_lettering"]
    delivery = cluster.broker.claim("old", "w")
    with pytest.raises(tt.WouldBeLost, match="still holds it"):
        cluster.broker.nack(delivery.id, requeue=False)
    cluster.broker.ack(delivery.id)


def test_a_line_cut_in_the_middle_of_a_batch_accounts_for_every_task(
    cut_cluster: Any, proxy: Any, raw: Any
) -> None:
    cut_cluster.broker.ensure_topic("emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "args": [[n] for n in range(20_000)]}
    )
    published = cut_cluster.publish_many(frame, progress=lambda _settled: proxy.cut())
    counts = published["outcome"].value_counts()
    confirmed, in_doubt = counts["confirmed"], counts.get("in doubt", 0)
    assert confirmed + in_doubt + counts["not sent"] == 20_000
    assert counts["not sent"] > 0
    # and the next call works
    queued = cut_cluster.topics().set_index("topic").loc["emails", "queued"]
    assert confirmed <= queued <= confirmed + in_doubt
    cut_cluster.publish("emails", "shop:send")
    assert raw.depth("emails") == queued + 1


def test_an_interrupted_batch_sends_nothing_more(cluster: Any, raw: Any) -> None:
    cluster.broker.ensure_topic("emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "args": [[n] for n in range(20_000)]}
    )

    def interrupt(_settled: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster.publish_many(frame, progress=interrupt)
    time.sleep(0.5)
    queued = raw.depth("emails")
    time.sleep(0.5)
    assert raw.depth("emails") == queued < 20_000


def test_a_slow_progress_callback_is_not_taken_for_a_silent_broker(connect: Any) -> None:
    cluster = connect(timeout=0.5)
    cluster.broker.ensure_topic("emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "args": [[n] for n in range(5_000)]}
    )
    published = cluster.publish_many(frame, progress=lambda _settled: time.sleep(0.7))
    assert set(published["outcome"]) == {"confirmed"}


def test_threads_may_claim_at_once(cluster: Any, raw: Any) -> None:
    cluster.broker.ensure_topic("emails")
    raw.fill("emails", 80)
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda _: cluster.broker.claim("emails", "w"), range(80)))
    assert len({claim.id for claim in claims}) == 80
    assert cluster.broker.claim("emails", "w") is None


@pytest.mark.parametrize("wrong", [{"args": "hello"}, {"kwargs": "hello"}, {"priority": "5"}])
def test_arguments_of_the_wrong_kind_are_refused(cluster: Any, wrong: dict[str, Any]) -> None:
    cluster.broker.ensure_topic("emails")
    with pytest.raises(tt.InvalidTask, match="nothing was published"):
        cluster.publish("emails", "shop:send", **wrong)
