"""Queues that cannot be used, and queues that are full."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tasktools.diagnosis.facts import TopicFacts
from tasktools.diagnosis.rules.queues import queue_down, queue_full
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import findings, only, says_nothing, unknown

SILENT = "it did not answer within 2 s"


def test_a_queue_that_does_not_answer_while_others_do_is_found() -> None:
    down = make.topic("bills", queued=None, trouble=SILENT, exists=True)
    finding = only(queue_down, make.facts(make.topic(), down))
    assert (finding.severity, finding.subject) == ("critical", "bills")
    assert finding.finding == f"The queue bills cannot be used: {SILENT}."
    assert finding.evidence["other queues answer"] == 1
    assert "rabbit@one" in str(finding.remedy)


def test_a_dead_letter_queue_that_is_down_is_a_queue_of_its_topic() -> None:
    dead = make.dead_queue(trouble="it is stopped", node="rabbit@two")
    finding = only(queue_down, make.facts(make.topic(dead_queue=dead)))
    assert (finding.subject_kind, finding.subject) == ("queue", "emails.dead")
    assert finding.topics == ("emails",)


def test_a_queue_that_is_down_is_found_without_management() -> None:
    down = make.topic("bills", queued=None, trouble=SILENT)
    facts = make.amqp_only(make.facts(make.topic(), down))
    assert [finding.subject for finding in findings(queue_down, facts)] == ["bills"]


def test_queues_that_answer_or_do_not_exist_are_not_down() -> None:
    assert says_nothing(queue_down, make.facts())
    assert says_nothing(queue_down, make.facts(make.topic(exists=False, queued=None)))


def test_without_an_answer_of_the_broker_it_cannot_be_told() -> None:
    topic = make.topic(queued=None, exists=None)
    facts = make.facts(topic, missing={"broker": "it did not answer"})
    assert unknown(queue_down, facts) == ["whether emails can be used: it did not answer"]


def full(overflow: str = "reject-publish", queued: int = 96, limit: int = 100) -> TopicFacts:
    """Return a topic with a maximum length."""
    queue = make.with_arguments(make.queue(), max_length=limit, overflow=overflow)
    return make.topic(queued=queued, queue=queue, ready=make.samples(10, 50, 94, 96, 96))


@pytest.mark.parametrize(
    ("overflow", "words"),
    [("reject-publish", "refuses what is published"), ("drop-head", "drop its oldest")],
)
def test_a_full_queue_is_found(overflow: str, words: str) -> None:
    finding = only(queue_full, make.facts(full(overflow)))
    assert (finding.severity, finding.subject) == ("critical", "emails")
    assert words in finding.finding
    assert finding.evidence["maximum length"] == 100
    assert finding.evidence["published in 60 s"] == 60
    assert finding.since == make.NOW - 5
    assert finding.against["consumers"] == 1


def test_the_limit_of_a_policy_counts_too() -> None:
    queue = make.queue(facts=make.queue_facts(policy={"max-length": 10}))
    assert only(queue_full, make.facts(make.topic(queued=10, queue=queue)))


def test_a_queue_with_room_or_without_a_limit_is_not_full() -> None:
    assert says_nothing(queue_full, make.facts(full(queued=90)))
    assert says_nothing(queue_full, make.facts(make.topic(queued=100_000)))
    assert says_nothing(queue_full, make.facts(make.topic(queued=0)))


def test_without_management_the_limit_of_a_backlog_is_not_known() -> None:
    facts = make.amqp_only(make.facts(full(), make.topic("bills")))
    assert unknown(queue_full, facts) == [f"the maximum length of emails: {make.NO_TAG}"]
    assert says_nothing(queue_full, make.amqp_only(make.facts()))


def test_many_names_are_cut_short() -> None:
    topics = [make.topic(f"t{number}", queued=1) for number in range(5)]
    (why,) = unknown(queue_full, make.amqp_only(make.facts(*topics)))
    assert why.startswith("the maximum length of t0, t1, t2 and 2 more:")


def test_our_own_queues_are_no_subject() -> None:
    facts = make.facts(full(), make.topic("down", trouble=SILENT, queued=None))
    facts = replace(facts, own_queues=frozenset({"emails", "down"}))
    assert says_nothing(queue_full, facts)
    assert says_nothing(queue_down, facts)
