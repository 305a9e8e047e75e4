"""Limits that leave places empty, consumers that hoard, workers that idle beside busy ones."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.duration_histogram import Histogram
from tasktools.core.models import DurationReading, TopicSettings
from tasktools.core.server_facts import ServerConsumer
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import sharing
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in sharing.RULES}


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_cluster_has_none(check: str) -> None:
    assert judged(check, make.facts()) == []


# --- limit_saturated --------------------------------------------------------------------


def limited(*, limit: int | None = 2, queued: int = 9, running: int = 2, **worker: Any) -> Facts:
    topic = make.topic(queued=queued, settings=TopicSettings(concurrency_limit=limit))
    workers = [make.worker(running=running, is_tasktools=True, **worker)]
    tasks = [make.running(f"t{number}") for number in range(running)]
    return make.facts(topic, workers=workers, running=tasks)


def test_a_limit_that_is_reached_while_places_are_free() -> None:
    saturated = finding("limit_saturated", limited())
    assert saturated.severity == "warning"
    assert saturated.needs_second_look
    assert "as many as its limit of 2" in saturated.finding
    assert saturated.call == "cluster.configure_topic('emails', concurrency_limit=4)"
    assert finding("limit_saturated", make.amqp_only(limited())).subject == "emails"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (limited(queued=0), "nothing waits"),
        (limited(running=1), "the limit is not reached"),
        (limited(limit=None), "there is none"),
        (limited(limit=0), "it is paused"),
        (limited(capacity=2), "no place is free: too few workers"),
    ],
)
def test_what_is_not_held_back_by_a_limit(facts: Facts, why: str) -> None:
    assert judged("limit_saturated", facts) == [], why


def test_a_peers_limit_is_one_of_each_process() -> None:
    two = [make.worker(name, running=1) for name in ("peer-1", "peer-2")]
    topic = make.topic(queued=9, settings=TopicSettings(concurrency_limit=2))
    tasks = [make.running(f"t{number}", worker_id="peer-1") for number in range(4)]
    half = make.facts(topic, workers=two, running=tasks[:2])
    assert judged("limit_saturated", half) == []
    assert judged("limit_saturated", make.facts(topic, workers=two, running=tasks)) != []


def test_without_events_what_runs_is_not_known() -> None:
    assert "which tasks workers run" in why_unknown("limit_saturated", make.deaf(limited()))
    unsettled = replace(limited(), state=replace(limited().state, settled=False))
    assert "which tasks workers run" in why_unknown("limit_saturated", unsettled)


# --- prefetch_hoarding ------------------------------------------------------------------


def consumers(*held_and_prefetch: tuple[int, int], unacked: int = 300, **server: Any) -> Facts:
    topic = make.topic(queued=5, unacked=unacked, consumers=len(held_and_prefetch))
    each = tuple(
        ServerConsumer(
            queue="emails", connection=f"c{n}", channel=f"c{n} (1)", prefetch=prefetch, held=held
        )
        for n, (held, prefetch) in enumerate(held_and_prefetch)
    )
    named = (make.connection("c0", client="tasktools worker host-1:4711"),)
    known = {"consumers": each, "connections": named} | server
    return make.facts(topic, server=make.server([topic], **known))


def test_one_of_the_consumers_holds_nearly_all() -> None:
    hoarding = finding("prefetch_hoarding", consumers((300, 0), (4, 32)))
    assert hoarding.severity == "warning"
    assert hoarding.needs_second_look
    assert "tasktools worker host-1:4711" in hoarding.finding
    assert "no prefetch limit" in hoarding.finding
    assert hoarding.against == {"held by the others": 4}
    assert "prefetch of 500" in finding("prefetch_hoarding", consumers((300, 500), (4, 32))).finding


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (consumers((32, 32), (0, 32)), "the prefetch of peers is as usual"),
        (consumers((300, 0)), "there is no other"),
        (consumers((49, 0), (0, 32)), "it is not much"),
        (consumers((300, 0), (200, 0)), "both hold much"),
        (consumers((300, 0), (4, 32), own_connections=frozenset({"c0"})), "it is ours"),
    ],
)
def test_what_is_no_hoarding(facts: Facts, why: str) -> None:
    assert judged("prefetch_hoarding", facts) == [], why


def test_what_consumers_hold_takes_the_tag_monitoring() -> None:
    facts = make.without_part(consumers((300, 0), (4, 32)), "consumers")
    assert "needs the tag monitoring" in why_unknown("prefetch_hoarding", facts)
    assert judged("prefetch_hoarding", make.without_part(make.facts(), "consumers")) == []
    assert make.NO_TAG in why_unknown(
        "prefetch_hoarding", make.amqp_only(consumers((300, 0), (4, 32)))
    )


# --- uneven -----------------------------------------------------------------------------


def two_workers(busy: float, idle: float, topic: TopicFacts | None = None, **fields: Any) -> Facts:
    """Return two workers of 4 places, which have used these shares of them for 2 min."""
    readings = {
        (name, "send"): (
            DurationReading(at=make.NOW - 1, span=3, durations=Histogram(100, share * 4 * 120, {})),
        )
        for name, share in [("worker-1", busy), ("worker-2", idle)]
    }
    workers = [make.worker(), make.worker("worker-2")]
    known = {"workers": workers, "durations": readings} | fields
    return make.facts(topic or make.topic(queued=5, consumers=2), **known)


def test_a_worker_that_idles_beside_a_busy_one_is_suspected() -> None:
    uneven = finding("uneven", two_workers(0.97, 0.2))
    assert uneven.severity == "suspect"
    assert "'worker-1' used 97% of its places and 'worker-2' 20%" in uneven.finding
    assert "Lower the prefetch of the busy worker" in str(uneven.remedy)


def test_of_a_topic_with_a_limit_the_permits_are_not_shared() -> None:
    settings = TopicSettings(concurrency_limit=3)
    emails = make.topic(queued=5, consumers=2, settings=settings)
    facts = replace(two_workers(0.97, 0.2), topics={"emails": emails})
    assert "permits of its limit stay" in str(finding("uneven", facts).remedy)


def test_the_busy_time_is_also_of_ends_and_of_what_runs() -> None:
    ends = make.ends(120, duration=3.0)
    running = [make.running("t", age=1000)]
    assert finding("uneven", two_workers(0, 0.1, ends=ends, running=running)).workers == (
        "worker-1",
        "worker-2",
    )


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (two_workers(0.9, 0.2), "not wholly busy"),
        (two_workers(0.97, 0.4), "not idle"),
        (
            two_workers(0.97, 0.2, workers=[make.worker(), make.worker("worker-2", silence=8)]),
            "it is silent",
        ),
        (
            two_workers(
                0.97,
                0.2,
                workers=[make.worker(), make.worker("worker-2", started_at=make.moment(60))],
            ),
            "it has just started",
        ),
        (
            two_workers(
                0.97,
                0.2,
                make.topic(unacked=1, consumers=2),
                running=[make.running("long", age=300)],
            ),
            "nothing waits, one task just takes long",
        ),
    ],
)
def test_what_is_even_enough(facts: Facts, why: str) -> None:
    assert judged("uneven", facts) == [], why


def test_what_waits_at_a_busy_worker_is_not_known_over_amqp_alone() -> None:
    """Seen on a real node: a peer held 30 messages, and the check said that it was clear."""
    running = [make.running("t", age=5)]
    held = two_workers(0.97, 0.2, make.topic(unacked=30, consumers=2), running=running)
    assert finding("uneven", held).subject == "emails"
    assert "wait at the busy one of its workers" in why_unknown("uneven", make.amqp_only(held))


def test_without_events_nobody_is_known_to_idle() -> None:
    assert "how busy each worker was" in why_unknown("uneven", make.deaf(two_workers(1, 0)))
    assert "0 s only" in why_unknown("uneven", make.cold(two_workers(1, 0)))
