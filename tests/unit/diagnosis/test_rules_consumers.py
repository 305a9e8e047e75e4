"""Topics with messages that nobody consumes, and limits that keep them so."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import TopicSettings, Worker
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.rules.consumers import (
    advertised_not_consumed,
    limit_orphaned,
    no_consumer,
    topic_paused,
    unknown_topic,
)
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown


def unconsumed(name: str = "bills", queued: int = 12, **fields: Any) -> TopicFacts:
    """Return a topic with messages and no consumer, to which nothing is published."""
    still = make.queue(
        name, consumers=0, published=make.level(5), acked=make.level(5), delivered=make.level(5)
    )
    usual: dict[str, Any] = {
        "consumers": 0,
        "had_consumer": False,
        "queue": still,
        "consumer_series": make.level(0),
    }
    return make.topic(name, queued=queued, **(usual | fields))


# --- advertised ---------------------------------------------------------------------------


@pytest.mark.parametrize("says", ["bills", "*"])
def test_a_topic_that_a_worker_only_says_it_consumes_is_found(says: str) -> None:
    workers = [make.worker(topics=("emails", says), running=1)]
    finding = only(advertised_not_consumed, make.facts(make.topic(), unconsumed(), workers=workers))
    assert (finding.severity, finding.subject) == ("critical", "bills")
    assert finding.needs_second_look
    assert finding.workers == ("worker-1",)
    assert finding.against == {"they consume other topics": {"emails": 1}, "they run": 1}


def test_what_is_advertised_only_is_found_cold_and_without_management() -> None:
    facts = make.facts(unconsumed(), workers=[make.worker(topics=("*",))])
    assert only(advertised_not_consumed, make.cold(facts))
    assert only(advertised_not_consumed, make.amqp_only(facts))
    recorded = replace(facts, is_recorded=True)
    assert not only(advertised_not_consumed, recorded).needs_second_look


@pytest.mark.parametrize(
    "worker",
    [
        make.worker(topics=("bills",), started_at=make.moment(8)),
        make.worker(topics=("bills",), silence=5.0),
        make.worker(topics=("bills",), state="stopped"),
        make.worker(topics=("bills",), draining=True),
        make.worker(topics=("emails",)),
    ],
    ids=["has just started", "killed", "stopped", "draining", "another topic"],
)
def test_nothing_is_advertised(worker: Worker) -> None:
    facts = make.facts(unconsumed(), workers=[worker])
    assert says_nothing(advertised_not_consumed, facts)


def test_workers_that_wait_for_a_permit_do_not_only_advertise() -> None:
    topic = unconsumed(settings=TopicSettings(concurrency_limit=1))
    workers = [make.worker(topics=("bills",))]
    assert only(advertised_not_consumed, make.facts(topic, workers=workers))
    taken = make.facts(topic, workers=workers, permits={"bills": ("gone -> rabbit",)})
    assert says_nothing(advertised_not_consumed, taken)


def test_a_healthy_topic_is_consumed_as_advertised() -> None:
    assert says_nothing(advertised_not_consumed, make.facts())
    assert says_nothing(advertised_not_consumed, make.facts(make.topic(consumers=0)))


def test_who_advertises_cannot_be_told_without_events() -> None:
    assert unknown(advertised_not_consumed, make.deaf(make.facts(unconsumed()))) == [
        "which workers report that they consume bills: the exchange of events cannot be bound"
    ]
    assert says_nothing(advertised_not_consumed, make.deaf(make.facts()))


# --- nobody -------------------------------------------------------------------------------


def test_a_growing_topic_that_nobody_consumes_is_critical() -> None:
    growing = unconsumed(ready=make.growing(1.0))
    finding = only(no_consumer, make.facts(make.topic(), growing))
    assert (finding.severity, finding.subject) == ("critical", "bills")
    assert finding.finding == (
        "Nobody consumes bills: 12 messages wait, and the queue grew by 60 in a minute."
    )
    assert not finding.needs_second_look


def test_a_full_topic_that_gets_messages_and_does_not_grow_is_critical() -> None:
    fed = unconsumed(queue=make.queue("bills", consumers=0))
    finding = only(no_consumer, make.facts(fed))
    assert finding.severity == "critical"
    assert "60 were published in a minute" in finding.finding


def test_a_backlog_to_which_nothing_comes_is_suspected() -> None:
    finding = only(no_consumer, make.facts(unconsumed()))
    assert finding.severity == "suspect"
    assert "a stale backlog" in finding.finding


def test_nobody_is_found_by_amqp_as_soon_as_samples_differ() -> None:
    once = make.amqp_only(make.facts(unconsumed(ready=make.samples(11), consumer_series=None)))
    assert only(no_consumer, once).severity == "suspect"
    twice = make.amqp_only(make.facts(unconsumed(ready=make.samples(11, 12, step=10.0))))
    assert only(no_consumer, twice).severity == "critical"


def test_nobody_is_found_without_events_and_says_so() -> None:
    finding = only(no_consumer, make.deaf(make.facts(unconsumed())))
    assert finding.against == {"workers that report consuming it": "not known"}


def test_it_began_when_the_last_consumer_went_or_messages_came() -> None:
    left = unconsumed(consumer_series=make.samples(1, 1, 0, 0), ready=make.level(12))
    assert only(no_consumer, make.facts(left)).since == make.NOW - 5
    came = unconsumed(ready=make.samples(0, 3, 5, 9))
    assert only(no_consumer, make.facts(came)).since == make.NOW - 10
    assert only(no_consumer, make.facts(unconsumed(ready=None))).since is None


def test_a_worker_of_tasktools_could_join_the_topic() -> None:
    workers = [make.worker(), make.worker("w2", is_tasktools=True)]
    finding = only(no_consumer, make.facts(make.topic(), unconsumed(), workers=workers))
    assert finding.call == "cluster.join_topic('w2', 'bills')"


@pytest.mark.parametrize(
    "facts",
    [
        make.facts(),
        make.facts(unconsumed(queued=0)),
        make.facts(unconsumed(), workers=[make.worker(topics=("bills",))]),
        make.facts(unconsumed(), workers=[make.worker(topics=("*",))]),
        make.facts(unconsumed(), own_queues=frozenset({"bills"})),
    ],
    ids=["healthy", "empty", "a worker says it", "a worker says all", "our own"],
)
def test_somebody_consumes(facts: Facts) -> None:
    assert says_nothing(no_consumer, facts)


def test_without_the_broker_consumers_are_not_known() -> None:
    topic = make.topic(queued=4, consumers=None)
    facts = make.facts(topic, missing={"broker": "it did not answer"})
    for judge in (no_consumer, unknown_topic):
        assert unknown(judge, facts) == ["the consumers of emails: it did not answer"]


# --- a mistaken name ----------------------------------------------------------------------


def test_a_mistaken_name_is_found() -> None:
    finding = only(unknown_topic, make.facts(make.topic(), unconsumed("emials")))
    assert (finding.severity, finding.subject) == ("warning", "emials")
    assert finding.finding == (
        "emials may be a mistake for emails: nobody consumes it, and 12 messages wait."
    )
    assert finding.call == "cluster.plan_replay(cluster.peek('emials'), to='emails')"
    assert only(unknown_topic, make.cold(make.facts(make.topic(), unconsumed("emials"))))


@pytest.mark.parametrize(
    "topic",
    [
        unconsumed("bills"),
        unconsumed("emials", had_consumer=True),
        unconsumed("emials", queued=0),
    ],
    ids=["another name", "it was consumed", "empty"],
)
def test_no_mistaken_name(topic: TopicFacts) -> None:
    assert says_nothing(unknown_topic, make.facts(make.topic(), topic))


# --- limits -------------------------------------------------------------------------------


def limited(limit: int = 2, *, acks: float = 0.0, **fields: Any) -> TopicFacts:
    """Return a topic with a limit of which messages wait."""
    usual: dict[str, Any] = {
        "queued": 9,
        "settings": TopicSettings(concurrency_limit=limit),
        "queue": make.queue(acked=make.growing(acks), consumers=2),
        "ready": make.samples(0, 4, 9),
    }
    return make.topic(**(usual | fields))


PERMITS = {"emails": ("gone -> rabbit", "alive -> rabbit")}


def orphaned(topic: TopicFacts | None = None, **fields: Any) -> Facts:
    """Return facts in which one of two permits has an owner without a worker."""
    each = topic or limited()
    connections = (
        make.connection("gone -> rabbit", client="tasktools main host-1:1"),
        make.connection("alive -> rabbit", client="tasktools main host-1:4711"),
    )
    usual: dict[str, Any] = {
        "server": make.server([each], connections=connections),
        "permits": PERMITS,
        "running": [make.running("t1")],
    }
    return make.facts(each, **(usual | fields))


def test_a_permit_without_a_worker_is_found() -> None:
    finding = only(limit_orphaned, orphaned())
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert finding.finding == (
        "All 2 permits of emails are taken, with 1 task running and 0 ended in 15 s; 9 messages "
        "wait."
    )
    assert finding.evidence["owners without a live worker"] == ["gone -> rabbit"]
    assert "gone -> rabbit" in str(finding.remedy)
    assert finding.needs_second_look


@pytest.mark.parametrize(
    "facts",
    [
        make.facts(),
        orphaned(limited(acks=1.0)),
        orphaned(running=[make.running("t1"), make.running("t2")]),
        orphaned(permits={"emails": ("alive -> rabbit",)}),
        orphaned(limited(queued=0)),
        orphaned(limited(settings=None)),
    ],
    ids=["healthy", "between two tasks", "all run", "a permit is free", "empty", "no limit"],
)
def test_no_limit_is_orphaned(facts: Facts) -> None:
    assert says_nothing(limit_orphaned, facts)


def test_an_orphaned_limit_cannot_be_told_without_queues_events_or_counters() -> None:
    assert unknown(limit_orphaned, make.amqp_only(orphaned(limited(ended=make.level(3))))) == [
        f"who has the permits of emails: {make.NO_TAG}"
    ]
    assert unknown(limit_orphaned, make.deaf(orphaned())) == [
        "how many tasks of emails run: the exchange of events cannot be bound"
    ]
    unsettled = orphaned(state={"settled": False})
    assert len(unknown(limit_orphaned, unsettled)) == 1
    uncounted = make.without_part(orphaned(limited(ended=None)), "samples")
    assert unknown(limit_orphaned, uncounted) == [
        "how many messages of emails are acknowledged: needs the tag monitoring"
    ]


def test_a_topic_with_a_limit_of_0_is_paused() -> None:
    finding = only(topic_paused, make.facts(limited(0)))
    assert (finding.severity, finding.subject) == ("warning", "emails")
    assert finding.finding == "emails is paused (its limit is 0): 9 messages wait for 5 s."
    assert finding.call == "cluster.configure_topic('emails', concurrency_limit=None)"


def test_a_pause_of_an_unknown_backlog_says_so() -> None:
    finding = only(topic_paused, make.facts(limited(0, queued=None, ready=None)))
    assert finding.finding == "emails is paused (its limit is 0): how many wait is not known."


def test_no_topic_is_paused() -> None:
    assert says_nothing(topic_paused, make.facts())
    assert says_nothing(topic_paused, make.facts(limited(1)))


def test_a_pause_cannot_be_told_without_settings() -> None:
    facts = make.facts(unconsumed(), missing={"settings": "no permission to read them"})
    assert unknown(topic_paused, facts) == ["the limit of bills: no permission to read them"]
    assert findings(topic_paused, facts) == []
