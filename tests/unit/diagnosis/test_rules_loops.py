"""Loops: redelivered and republished messages, delivery limits."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.queue_facts import QueueFacts
from tasktools.diagnosis.facts import TopicFacts
from tasktools.diagnosis.rules.loops import (
    delivery_limit_near,
    redelivery_loop,
    republish_loop,
)
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import only, says_nothing, unknown


def looping(
    per_second: float = 45.0,
    *,
    acks: float = 0.0,
    messages: int = 1,
    consumers: int = 1,
    facts: QueueFacts | None = None,
) -> TopicFacts:
    """Return a topic of which some messages come back again and again."""
    queue = make.queue(
        facts=facts,
        consumers=consumers,
        redelivered=make.growing(per_second),
        delivered=make.growing(per_second + acks),
        acked=make.growing(acks),
        unacked_series=make.level(messages),
    )
    return make.topic(
        queue=queue, unacked=messages, consumers=consumers, consumer_series=make.level(consumers)
    )


@pytest.mark.parametrize(("per_second", "messages"), [(45.0, 1), (44.0, 3), (2.0, 3)])
def test_a_message_that_comes_back_for_ever_is_found(per_second: float, messages: int) -> None:
    finding = only(redelivery_loop, make.facts(looping(per_second, messages=messages)))
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert finding.evidence["redelivered in 20 s"] == pytest.approx(20 * per_second)
    assert finding.evidence["messages"] == messages
    assert finding.since is None  # it was so before the first sample


def test_a_loop_is_found_by_a_process_that_has_just_connected() -> None:
    assert only(redelivery_loop, make.cold(make.facts(looping())))


def test_a_loop_began_when_the_counter_began_to_rise() -> None:
    queue = make.queue(
        redelivered=make.samples(0, 0, 0, 100, 300, 500, 700, 700), acked=make.level()
    )
    finding = only(redelivery_loop, make.facts(make.topic(queue=queue)))
    assert finding.since == make.NOW - 25


@pytest.mark.parametrize(
    "topic",
    [
        make.topic(),
        looping(30.0, messages=170, consumers=0),  # 170 messages, looked at 4 times by us
        looping(8.5, messages=170),  # the same while a worker consumes
        looping(2.0, acks=1.0, messages=1),  # tasks are retried, and end
        looping(0.5, messages=1),
    ],
    ids=["healthy", "our looks", "our looks beside a worker", "acknowledged", "few"],
)
def test_no_redelivery_loop(topic: TopicFacts) -> None:
    assert says_nothing(redelivery_loop, make.facts(topic))


def test_redeliveries_are_not_known_without_management() -> None:
    facts = make.amqp_only(make.facts(looping()))
    assert unknown(redelivery_loop, facts) == [f"redeliveries: {make.NO_TAG}"]
    unsampled = make.without_part(make.facts(looping()), "samples")
    assert unknown(redelivery_loop, unsampled) == ["redeliveries: needs the tag monitoring"]
    unconsumed = make.topic(consumers=0, consumer_series=make.level(0))
    assert says_nothing(redelivery_loop, make.amqp_only(make.facts(unconsumed)))


def test_a_queue_whose_samples_were_not_asked_for_is_idle() -> None:
    idle = make.queue(acked=None, redelivered=None, published=None, delivered=None)
    assert says_nothing(redelivery_loop, make.facts(make.topic(queue=idle)))


# --- publishing ---------------------------------------------------------------------------


def republishing(per_second: float = 43.0) -> TopicFacts:
    """Return a topic whose messages are acknowledged and published again."""
    queue = make.queue(published=make.growing(per_second), acked=make.growing(per_second))
    return make.topic(queue=queue)


def test_a_worker_that_publishes_what_it_acknowledges_is_found() -> None:
    finding = only(republish_loop, make.facts(republishing(), ends=make.ends(20, every=1.0)))
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert finding.evidence["acknowledged in 20 s"] == pytest.approx(860)
    assert finding.evidence["task ends in 28 s"] == 20


def test_a_consumer_that_sends_no_events_is_suspected() -> None:
    facts = make.facts(republishing(), workers=[make.worker(topics=("bills",))])
    assert only(republish_loop, facts).severity == "suspect"


def test_a_loop_is_found_beside_tasks_that_end() -> None:
    """Found on a busy machine: a loop of 25 a second, beside 2 tasks a second of the same topic."""
    ends = make.ends(70, every=0.4)
    facts = make.facts(republishing(18.75), ends=ends)
    assert only(republish_loop, facts).severity == "critical"
    queue = make.queue(published=make.growing(18.75), acked=make.growing(18.75))
    shared = make.topic(queue=queue, consumers=3)
    assert says_nothing(republish_loop, make.facts(shared, ends=ends))  # a stranger's, perhaps


def test_tasks_that_wait_for_a_lock_go_round_slowly() -> None:
    """Found by injecting a lock whose holder was killed: one task came back 63 times in 20 s."""
    taken = {"nightly": (0, 0), "daily": (1, 0)}
    waiting = replace(make.facts(republishing(3.1)), locks_of_peers=taken)
    finding = only(republish_loop, waiting)
    assert (finding.severity, finding.against["locks that are taken"]) == ("suspect", ["nightly"])
    assert "'nightly'" in finding.finding
    fast = replace(make.facts(republishing(43.0)), locks_of_peers=taken)
    assert only(republish_loop, fast).severity == "critical"
    free = replace(make.facts(republishing(3.1)), locks_of_peers={"nightly": (1, 0)})
    assert only(republish_loop, free).severity == "critical"


def test_no_republish_loop() -> None:
    fast = make.facts(republishing(), ends=make.ends(2000, every=0.02))
    assert says_nothing(republish_loop, fast)  # its ends are heard
    elsewhere = make.facts(republishing(), ends=make.ends(2000, every=0.02, topic="x"))
    assert only(republish_loop, elsewhere)
    assert says_nothing(republish_loop, make.facts(ends=make.ends(60)))
    backlog = make.queue(published=make.growing(1.0), acked=make.growing(43.0))
    assert says_nothing(republish_loop, make.facts(make.topic(queue=backlog)))


def test_a_republish_loop_cannot_be_told_without_counters_or_events() -> None:
    assert unknown(republish_loop, make.amqp_only(make.facts(republishing()))) == [
        f"how many messages are acknowledged and published: {make.NO_TAG}"
    ]
    assert unknown(republish_loop, make.cold(make.facts(republishing()))) == [
        "which tasks end (20 s are needed): events are received for 0 s only"
    ]
    assert says_nothing(republish_loop, make.cold(make.facts()))


# --- delivery limit -----------------------------------------------------------------------


def quorum(**fields: Any) -> QueueFacts:
    """Return the facts of a quorum queue."""
    return make.queue_facts(**({"queue_type": "quorum", "server": (4, 3)} | fields))


def test_messages_near_the_delivery_limit_are_found() -> None:
    finding = only(delivery_limit_near, make.facts(looping(2.0, messages=3, facts=quorum())))
    assert (finding.severity, finding.subject) == ("warning", "emails")
    assert finding.evidence["delivery limit"] == 20
    assert "they are dead-lettered" in finding.finding
    loses = quorum(arguments={"x-delivery-limit": 5})
    finding = only(delivery_limit_near, make.facts(looping(2.0, messages=3, facts=loses)))
    assert finding.evidence["delivery limit"] == 5
    assert "they are dropped" in finding.finding


@pytest.mark.parametrize(
    "topic",
    [
        make.topic(),
        looping(2.0, messages=3),  # classic
        looping(2.0, messages=3, facts=quorum(server=(3, 10))),  # no limit
        looping(0.5, messages=20, facts=quorum()),
        looping(2.0, acks=1.0, messages=3, facts=quorum()),
        make.topic(queue=make.queue(facts=quorum(), redelivered=make.growing(1.0))),
    ],
    ids=["healthy", "classic", "no limit", "few", "acknowledged", "empty"],
)
def test_no_delivery_limit_near(topic: TopicFacts) -> None:
    assert says_nothing(delivery_limit_near, make.facts(topic))


def test_a_delivery_limit_cannot_be_told_without_counters_or_policy() -> None:
    near = make.facts(looping(2.0, messages=3, facts=quorum()))
    assert unknown(delivery_limit_near, make.amqp_only(near)) == [
        f"redeliveries and delivery limits: {make.NO_TAG}"
    ]
    unclear = make.facts(looping(2.0, messages=3, facts=quorum(policy=None)))
    assert len(unknown(delivery_limit_near, unclear)) == 1
