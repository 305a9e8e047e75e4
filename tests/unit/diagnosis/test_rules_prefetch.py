"""Messages that wait at a busy worker while others have places free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import TopicSettings
from tasktools.core.server_facts import ServerConsumer
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.rules.prefetch import RULES
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

(RULE,) = RULES


def pool(
    *,
    held: int = 3,
    age: float | None = 30.0,
    running_of: str = "reports",
    busy: Mapping[str, Any] | None = None,
    idle: Mapping[str, Any] | None = None,
    settings: TopicSettings | None = None,
) -> Facts:
    """Return two workers of 4 places: one has no place free and holds messages of `emails`, the
    other one runs a task of it."""
    known: dict[str, Any] = {"is_tasktools": True, "topics": ("emails", "reports")}
    workers = [
        make.worker("worker-1", **(known | {"running": 4, "pid": 1} | dict(busy or {}))),
        make.worker("worker-2", **(known | {"running": 1, "pid": 2} | dict(idle or {}))),
    ]
    tasks = [make.running(f"t{n}", topic=running_of, age=age) for n in range(4)]
    tasks.append(make.running("t4", worker_id="worker-2"))
    emails = make.topic(unacked=held + 1, consumers=2, settings=settings)
    topics = [emails, make.topic("reports", unacked=4, consumers=2)]
    connections = tuple(
        make.connection(f"c{pid}", client=f"tasktools worker host-1:{pid}") for pid in (1, 2)
    )
    consumers = tuple(
        ServerConsumer(queue="emails", connection=f"c{pid}", channel="(2)", prefetch=4, held=count)
        for pid, count in ((1, held), (2, 1))
    )
    return make.facts(
        *topics,
        workers=workers,
        running=tasks,
        server=make.server(topics, connections=connections, consumers=consumers),
    )


def judged(facts: Facts) -> list[Any]:
    return list(RULE.judge(facts))


def why_unknown(facts: Facts) -> str:
    (why,) = set(judging.unknown(RULE.judge, facts))  # the same of each topic
    return why


def test_a_healthy_cluster_has_none() -> None:
    assert judged(make.facts()) == []


def test_messages_that_wait_at_a_busy_worker_beside_an_idle_one() -> None:
    finding = judging.only(RULE.judge, pool())
    assert (finding.check, finding.severity, finding.subject) == (
        "prefetch_too_high",
        "warning",
        "emails",
    )
    assert finding.needs_second_look
    assert finding.finding == (
        "3 messages of 'emails' wait at 'worker-1', where no place became free for 30 s, "
        "while 3 places on its other workers are free."
    )
    assert finding.evidence == {"waiting": 3, "free places": 3, "no place free for": 30.0}
    assert finding.call == "cluster.leave_topic('worker-1', 'emails')"
    assert finding.workers == ("worker-1", "worker-2")


def test_what_it_runs_of_the_topic_does_not_wait() -> None:
    assert judging.only(RULE.judge, pool(running_of="emails", held=6)).evidence["waiting"] == 2
    assert judged(pool(running_of="emails", held=4)) == []


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (pool(held=0), "it holds none"),
        (pool(age=9.0), "places become free"),
        (pool(busy={"capacity": 5}), "it has a place free"),
        (pool(idle={"running": 4}), "nobody has a place free"),
        (pool(idle={"draining": True}), "the other one takes none"),
        (pool(idle={"topics": ("reports",)}), "the other one has another topic"),
        (pool(idle={"silence": 8.0}), "the other one is silent"),
        (pool(busy={"is_tasktools": False}), "a peer's connections are not known"),
        (pool(busy={"pid": 2}), "two workers in a process cannot be told apart"),
        (pool(settings=TopicSettings(concurrency_limit=1)), "its limit is reached"),
    ],
)
def test_what_does_not_wait_in_vain(facts: Facts, why: str) -> None:
    assert judged(facts) == [], why


def test_a_limit_that_is_not_reached_leaves_the_permits_with_the_busy_worker() -> None:
    assert judged(pool(settings=TopicSettings(concurrency_limit=4))) != []


def test_what_each_consumer_holds_takes_the_tag_monitoring() -> None:
    for part in ("consumers", "connections"):
        facts = make.without_part(pool(), part)
        assert "needs the tag monitoring" in why_unknown(facts)
        assert judged(make.without_part(pool(age=9.0), part)) == []
    assert make.NO_TAG in why_unknown(make.amqp_only(pool()))


def test_without_events_it_is_not_known_what_runs_and_for_how_long() -> None:
    assert "which tasks workers run" in why_unknown(make.deaf(pool()))
    unsettled = replace(pool(), state=replace(pool().state, settled=False))
    assert "which tasks workers run" in why_unknown(unsettled)
    just_connected = replace(pool(age=None), heard_since=make.NOW - 9)
    assert "for how long tasks have run: events are received for 9 s" in why_unknown(just_connected)
    assert judging.only(RULE.judge, replace(just_connected, heard_since=make.NOW - 10))
