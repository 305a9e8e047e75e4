"""A second layout in a vhost, and topics that nobody consumes any more."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.layout import FP, TASKWORKER
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.ranking import judge
from tasktools.diagnosis.rules import leftovers
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule.judge for rule in leftovers.RULES}
BOTH = (FP.task_exchange, TASKWORKER.task_exchange)


def with_exchanges(*exchanges: str, **published: Any) -> Facts:
    topic = make.topic()
    known = {name.replace("_", "."): series for name, series in published.items()}
    return make.facts(topic, server=make.server([topic], exchanges=exchanges, published_to=known))


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    assert judging.says_nothing(RULES[check], make.facts())


def test_two_layouts_are_suspected() -> None:
    used = {"fp_tasks": make.growing(1.0), "taskworker_tasks": make.level(3)}
    both = judging.only(RULES["two_layouts"], with_exchanges(*BOTH, **used))
    assert both.severity == "suspect"
    assert both.subject == "fp.tasks and taskworker.tasks"
    assert both.evidence["published to fp.tasks in 60 s"] == 60
    assert judging.only(RULES["two_layouts"], make.cold(with_exchanges(*BOTH))) is not None


def test_two_layouts_that_are_both_used_are_found() -> None:
    used = {"fp_tasks": make.growing(1.0), "taskworker_tasks": make.growing(0.1)}
    both = judging.only(RULES["two_layouts"], with_exchanges(*BOTH, **used))
    assert both.severity == "warning"
    assert "both were published to" in both.finding


def test_the_other_layout_alone_is_as_good() -> None:
    assert judging.says_nothing(RULES["two_layouts"], with_exchanges(TASKWORKER.task_exchange))


def test_over_amqp_alone_exchanges_cannot_be_told() -> None:
    why = judging.unknown(RULES["two_layouts"], make.amqp_only(make.facts()))
    assert why == [f"which exchanges there are: {make.NO_TAG}"]


def waiting(span: float | None, *, queued: int = 5, consumers: int = 0, **fields: Any) -> Facts:
    recorded = {} if span is None else {"bills": span}
    topic = make.topic("bills", queued=queued, consumers=consumers, **fields)
    return make.facts(topic, unconsumed_for=recorded)


def test_a_topic_without_a_consumer_for_a_day_is_forgotten() -> None:
    forgotten = judging.only(RULES["forgotten_topic"], waiting(87_000))
    assert forgotten.severity == "suspect"
    assert "5 messages lie in 'bills'" in forgotten.finding
    over_amqp = make.amqp_only(waiting(87_000))
    assert judging.only(RULES["forgotten_topic"], over_amqp).subject == "bills"


@pytest.mark.parametrize(
    "facts", [waiting(None), waiting(87_000, queued=0), waiting(87_000, consumers=1)]
)
def test_what_is_not_forgotten(facts: Facts) -> None:
    assert judging.says_nothing(RULES["forgotten_topic"], facts)


def test_a_day_must_be_recorded() -> None:
    (why,) = judging.unknown(RULES["forgotten_topic"], waiting(600))
    assert "not recorded, only 10 min" in why


def test_of_a_forgotten_topic_the_missing_consumer_is_not_said_twice() -> None:
    """Injected on a real node: `no_consumer` stood before `forgotten_topic`, of the same topic."""
    for published, checks in (
        (make.level(), ["forgotten_topic"]),
        (make.growing(1.0), ["no_consumer", "forgotten_topic"]),
    ):
        queue = make.queue("bills", ready=5, consumers=0, published=published)
        rows = judge(waiting(87_000, queue=queue)).rows
        shown = [row.check for row in rows if row.verdict in ("found", "suspected")]
        assert shown == checks
