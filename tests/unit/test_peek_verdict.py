"""Verdicts on looks, against what was measured (RABBITMQ.md 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasktools.core import peek_verdict
from tasktools.core.errors import LookRefused
from tasktools.core.peek_verdict import Cost, Verdict
from tasktools.core.queue_facts import UNLIMITED, QueueFacts

OLD, MIDDLE, NEW = (3, 10), (4, 0), (4, 3)


def facts(server: tuple[int, int], queue_type: Any, **more: Any) -> QueueFacts:
    """Return facts about a queue; *more* may tell a `limit_argument` and a `policy_limit`."""
    for part, limit, name in (
        ("arguments", more.pop("limit_argument", None), "x-delivery-limit"),
        ("policy", more.pop("policy_limit", None), "delivery-limit"),
    ):
        if limit is not None:
            more[part] = {**more.get(part, {}), name: limit}
    return QueueFacts(**{"queue": "emails", "server": server, "queue_type": queue_type} | more)


def judge(server: tuple[int, int], queue_type: Any, **more: Any) -> Verdict:
    return peek_verdict.judge(facts(server, queue_type, **more))


@pytest.mark.parametrize(
    ("server", "queue_type", "more", "cost", "give_back"),
    [
        # classic: order kept on every version
        (OLD, "classic", {}, Cost.HARMLESS, "nack"),
        (MIDDLE, "classic", {}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {"dead_letters": True}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {"policy": None}, Cost.HARMLESS, "nack"),
        (OLD, "classic", {"consumers": 1}, Cost.REORDERS, "nack"),
        (NEW, "classic", {"consumers": 1}, Cost.REORDERS, "nack"),
        # quorum on 3.10: a nack goes to the tail, closing the channel keeps the order
        (OLD, "quorum", {}, Cost.REORDERS, "close"),
        (OLD, "quorum", {"limit_argument": 20}, Cost.COUNTS, "close"),
        (OLD, "quorum", {"policy_limit": 20}, Cost.COUNTS, "close"),
        (OLD, "quorum", {"limit_argument": -1}, Cost.COULD_DROP, "nack"),
        (OLD, "quorum", {"policy": None}, Cost.COULD_DROP, "nack"),
        # quorum on 4.0: limit 20 by default, every give-back counts
        (MIDDLE, "quorum", {}, Cost.COUNTS, "nack"),
        (MIDDLE, "quorum", {"policy_limit": -1}, Cost.REORDERS, "nack"),
        (MIDDLE, "quorum", {"limit_argument": 3, "policy_limit": -1}, Cost.COUNTS, "nack"),
        (MIDDLE, "quorum", {"policy": None}, Cost.COULD_DROP, "nack"),
        # quorum on 4.3: a nack does not count, but a carried count can be over the limit
        (NEW, "quorum", {}, Cost.HARMLESS, "nack"),
        (NEW, "quorum", {"consumers": 2}, Cost.REORDERS, "nack"),
        (NEW, "quorum", {"dead_letters": True}, Cost.COULD_DROP, "nack"),
        (NEW, "quorum", {"dead_letters": True, "policy_limit": -1}, Cost.HARMLESS, "nack"),
        (NEW, "quorum", {"dead_letters": True, "limit_argument": -1}, Cost.HARMLESS, "nack"),
        (
            NEW,
            "quorum",
            {"dead_letters": True, "limit_argument": 3, "policy_limit": -1},
            Cost.COULD_DROP,
            "nack",
        ),
        (NEW, "quorum", {"policy": None}, Cost.COULD_DROP, "nack"),
        # unknown is treated as quorum, a stream gives nothing back
        (OLD, None, {"arguments": None}, Cost.COULD_DROP, "nack"),
        (MIDDLE, None, {}, Cost.COUNTS, "nack"),
        (NEW, None, {"arguments": None, "policy": None}, Cost.COULD_DROP, "nack"),
        (NEW, "stream", {}, Cost.COULD_DROP, "nack"),
    ],
)
def test_the_verdict_is_what_was_measured(
    server: tuple[int, int], queue_type: Any, more: dict[str, Any], cost: Cost, give_back: str
) -> None:
    verdict = judge(server, queue_type, **more)
    assert verdict.cost is cost
    if cost is not Cost.COULD_DROP:
        assert verdict.give_back == give_back


@pytest.mark.parametrize(
    ("seen", "cost", "left"),
    [
        (None, Cost.COUNTS, None),
        (0, Cost.COUNTS, 3),
        (1, Cost.COUNTS, 2),
        (2, Cost.COULD_DROP, 1),
        (3, Cost.COULD_DROP, 0),
        (9, Cost.COULD_DROP, 0),
    ],
)
def test_looks_are_refused_when_one_is_left(seen: int | None, cost: Cost, left: int | None) -> None:
    verdict = judge(OLD, "quorum", limit_argument=3, deliveries_seen=seen)
    assert (verdict.cost, verdict.looks_left) == (cost, left)


@pytest.mark.parametrize("limit", [0, 1])
@pytest.mark.parametrize("server", [OLD, MIDDLE])
def test_a_limit_that_allows_no_look_is_refused_at_once(
    server: tuple[int, int], limit: int
) -> None:
    verdict = judge(server, "quorum", limit_argument=limit)
    assert (verdict.cost, verdict.looks_left) == (Cost.COULD_DROP, limit)


def test_the_words_say_how_many_looks_are_left() -> None:
    assert "2 left" in judge(MIDDLE, "quorum", limit_argument=3, deliveries_seen=1).why
    assert "1 look is left" in judge(MIDDLE, "quorum", limit_argument=3, deliveries_seen=2).why


@pytest.mark.parametrize(
    ("server", "argument", "policy", "limit"),
    [
        (OLD, None, None, UNLIMITED),
        (OLD, 5, None, 5),
        (OLD, -1, None, 0),
        (MIDDLE, None, None, 20),
        (MIDDLE, 5, 3, 3),
        (MIDDLE, 3, 5, 3),
        (NEW, 3, -1, 3),
        (NEW, -1, 3, 3),
        (NEW, -1, None, UNLIMITED),
        (NEW, None, -1, UNLIMITED),
    ],
)
def test_the_lower_limit_wins(
    server: tuple[int, int], argument: int | None, policy: int | None, limit: int
) -> None:
    queue_facts = facts(server, "quorum", limit_argument=argument, policy_limit=policy)
    assert queue_facts.delivery_limit == limit


@pytest.mark.parametrize(
    ("server", "queue_type", "more", "drop_at"),
    [
        (OLD, "classic", {}, None),
        (OLD, "quorum", {}, None),
        (OLD, "quorum", {"limit_argument": 3}, 3),
        (MIDDLE, "quorum", {}, 20),
        (NEW, "quorum", {}, 21),
        (NEW, "quorum", {"policy_limit": -1}, None),
        (NEW, None, {"policy": None}, 21),
    ],
)
def test_a_message_is_dropped_after_so_many_deliveries(
    server: tuple[int, int], queue_type: Any, more: dict[str, Any], drop_at: int | None
) -> None:
    assert facts(server, queue_type, **more).drop_at == drop_at


def test_a_policy_is_not_proposed_against_an_argument_that_wins() -> None:
    queue_facts = judge(NEW, "quorum", dead_letters=True, limit_argument=5)
    assert "without x-delivery-limit" in (queue_facts.remedy or "")


@pytest.mark.parametrize("server", [MIDDLE, NEW])
def test_the_remedy_is_one_line_with_the_queue_named_exactly(server: tuple[int, int]) -> None:
    queue_facts = facts(server, "quorum", dead_letters=True, policy_limit=1)
    remedy = peek_verdict.judge(replace(queue_facts, queue="a.b")).remedy or ""
    assert r"'^a\.b$'" in remedy
    assert '"delivery-limit": -1' in remedy
    assert "\n" not in remedy


def test_no_unlimited_policy_is_proposed_where_it_would_drop() -> None:
    for more in ({"limit_argument": 1}, {"policy": None}):
        assert "-1" not in (judge(OLD, "quorum", **more).remedy or "")


COULD_DROP = judge(NEW, "quorum", dead_letters=True)
REORDERS = judge(NEW, "classic", consumers=1)
HARMLESS = judge(NEW, "classic")


def test_a_look_that_could_drop_is_refused_unless_forced() -> None:
    with pytest.raises(LookRefused, match="not touched"):
        peek_verdict.check(COULD_DROP, read_only=False, force=False)
    peek_verdict.check(COULD_DROP, read_only=False, force=True)


@pytest.mark.parametrize("verdict", [COULD_DROP, REORDERS])
@pytest.mark.parametrize("force", [True, False])
def test_a_read_only_cluster_is_only_looked_at_harmlessly(verdict: Verdict, force: bool) -> None:  # noqa: FBT001
    with pytest.raises(LookRefused):
        peek_verdict.check(verdict, read_only=True, force=force)
    peek_verdict.check(HARMLESS, read_only=True, force=force)


def test_a_look_that_reorders_is_allowed() -> None:
    peek_verdict.check(REORDERS, read_only=False, force=False)


def queue(ready: int = 5, **more: Any) -> Verdict:
    """Return the verdict on a classic queue with some messages."""
    return judge(NEW, "classic", ready=ready, **more)


@pytest.mark.parametrize(
    ("more", "cost"),
    [
        ({"auto_delete": True}, Cost.COULD_DROP),
        ({"auto_delete": True, "consumers": 3}, Cost.COULD_DROP),
        ({"auto_delete": None}, Cost.COULD_DROP),
        ({"policy": {"expires": 60_000}}, Cost.COULD_DROP),
        ({"arguments": {"x-expires": 90_000}, "policy": {"expires": 60_000}}, Cost.COULD_DROP),
        ({"policy": {"expires": 61_000}}, Cost.HARMLESS),
        ({"policy": {"message-ttl": 60_000}}, Cost.COULD_DROP),
        ({"policy": {"message-ttl": 60_000, "dead-letter-exchange": "x"}}, Cost.EXPIRES),
        ({"policy": {"message-ttl": 61_000}}, Cost.HARMLESS),
        ({"policy": {"message-ttl": 60_000}, "ready": 0}, Cost.HARMLESS),
        ({"policy": {"max-length": 100}}, Cost.COULD_DROP),
        ({"policy": {"max-length": 100}, "ready": 0}, Cost.HARMLESS),
        ({"policy": {"max-length": 10_000}, "ready": 9_001}, Cost.COULD_DROP),
        ({"policy": {"max-length": 10_000}, "ready": 9_000}, Cost.HARMLESS),
        ({"policy": {"max-length": 100, "overflow": "reject-publish"}}, Cost.HARMLESS),
        ({"policy": {"max-length-bytes": 1_000}}, Cost.COULD_DROP),
        ({"policy": {"max-length-bytes": 1_000}, "ready_bytes": 901}, Cost.COULD_DROP),
        ({"policy": {"max-length-bytes": 1_000}, "ready_bytes": 900}, Cost.HARMLESS),
        ({"arguments": {"x-single-active-consumer": True}}, Cost.REORDERS),
        ({"consumers": 1, "exclusive_consumer": True}, Cost.REORDERS),
    ],
)
def test_what_a_queue_is_set_to_is_in_the_verdict(more: dict[str, Any], cost: Cost) -> None:
    """Issue 11, row 1: all that can make a look lose something, by argument and by policy."""
    assert queue(**more).cost is cost


@pytest.mark.parametrize(
    ("limit", "seen", "cost"),
    [
        (UNLIMITED, None, Cost.HARMLESS),
        (20, None, Cost.HARMLESS),
        (20, 11, Cost.COUNTS),
        (20, 16, Cost.COULD_DROP),
        (9, None, Cost.COUNTS),
        (4, None, Cost.COULD_DROP),
    ],
)
def test_an_interrupted_look_is_risked_while_enough_deliveries_are_left(
    limit: int, seen: int | None, cost: Cost
) -> None:
    """Issue 11, row 20: on 4.3 only a look that is interrupted counts."""
    verdict = judge(NEW, "quorum", limit_argument=limit, deliveries_seen=seen)
    assert verdict.cost is cost
    assert ("interrupted" in verdict.why) is (limit != UNLIMITED)


def test_all_reasons_to_refuse_a_look_are_named_and_nothing_else() -> None:
    """Issue 11, row 1: whoever mends one thing is not refused for the next."""
    verdict = queue(auto_delete=True, policy={"message-ttl": 5_000, "max-length": 10})
    for words in ("auto-delete", "5 s (TTL)", "beyond 10 messages"):
        assert words in verdict.why
    assert "only marks" not in verdict.why


def test_a_run_is_refused_where_nobody_else_may_consume() -> None:
    """Issue 11, row 1: a run likewise; unless it is forced."""
    for more in ({"arguments": {"x-single-active-consumer": True}}, {"exclusive_consumer": True}):
        known = facts(NEW, "classic", consumers=1, **more)
        with pytest.raises(LookRefused, match="not touched"):
            peek_verdict.check_run(peek_verdict.judge(known), known, force=False)
        peek_verdict.check_run(peek_verdict.judge(known), known, force=True)


@pytest.mark.parametrize(
    ("server", "queue_type", "timeout"),
    [
        ((3, 10), "quorum", None),  # the argument is ignored
        ((3, 13), "classic", 5.0),
        ((4, 3), "quorum", 5.0),
        ((4, 3), "classic", None),
    ],
)
def test_a_consumer_timeout_counts_where_rabbitmq_keeps_it(
    server: tuple[int, int], queue_type: Any, timeout: float | None
) -> None:
    known = facts(
        server,
        queue_type,
        arguments={"x-consumer-timeout": 9_000, "x-delivery-limit": 100},
        policy={"consumer-timeout": 5_000},
    )
    verdict = peek_verdict.judge(known)
    assert known.consumer_timeout == verdict.consumer_timeout == timeout
