"""Verdicts on looks, against what was measured (RABBITMQ.md 1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasktools.core import peek
from tasktools.core.errors import LookRefused
from tasktools.core.peek import Cost, QueueFacts, Verdict

OLD, MIDDLE, NEW = (3, 10), (4, 0), (4, 3)


def facts(server: tuple[int, int], queue_type: Any, **more: Any) -> QueueFacts:
    usual: dict[str, Any] = {
        "queue": "emails",
        "limit_argument": None,
        "arguments_known": True,
        "policy_limit": None,
        "policies_known": True,
        "consumers": 0,
        "dead_letters": False,
    }
    return QueueFacts(server=server, queue_type=queue_type, **usual | more)


def judge(server: tuple[int, int], queue_type: Any, **more: Any) -> Verdict:
    return peek.judge(facts(server, queue_type, **more))


@pytest.mark.parametrize(
    ("server", "queue_type", "more", "cost", "give_back"),
    [
        # classic: order kept on every version
        (OLD, "classic", {}, Cost.HARMLESS, "nack"),
        (MIDDLE, "classic", {}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {"dead_letters": True}, Cost.HARMLESS, "nack"),
        (NEW, "classic", {"policies_known": False}, Cost.HARMLESS, "nack"),
        (OLD, "classic", {"consumers": 1}, Cost.REORDERS, "nack"),
        (NEW, "classic", {"consumers": 1}, Cost.REORDERS, "nack"),
        # quorum on 3.10: a nack goes to the tail, closing the channel keeps the order
        (OLD, "quorum", {}, Cost.REORDERS, "close"),
        (OLD, "quorum", {"limit_argument": 20}, Cost.COUNTS, "close"),
        (OLD, "quorum", {"policy_limit": 20}, Cost.COUNTS, "close"),
        (OLD, "quorum", {"limit_argument": -1}, Cost.COULD_DROP, "nack"),
        (OLD, "quorum", {"policies_known": False}, Cost.COULD_DROP, "nack"),
        # quorum on 4.0: limit 20 by default, every give-back counts
        (MIDDLE, "quorum", {}, Cost.COUNTS, "nack"),
        (MIDDLE, "quorum", {"policy_limit": -1}, Cost.REORDERS, "nack"),
        (MIDDLE, "quorum", {"limit_argument": 3, "policy_limit": -1}, Cost.COUNTS, "nack"),
        (MIDDLE, "quorum", {"policies_known": False}, Cost.COULD_DROP, "nack"),
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
        (NEW, "quorum", {"policies_known": False}, Cost.COULD_DROP, "nack"),
        # unknown is treated as quorum, a stream gives nothing back
        (OLD, None, {"arguments_known": False}, Cost.COULD_DROP, "nack"),
        (MIDDLE, None, {}, Cost.COUNTS, "nack"),
        (NEW, None, {"arguments_known": False, "policies_known": False}, Cost.COULD_DROP, "nack"),
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
        (OLD, None, None, peek.UNLIMITED),
        (OLD, 5, None, 5),
        (OLD, -1, None, 0),
        (MIDDLE, None, None, 20),
        (MIDDLE, 5, 3, 3),
        (MIDDLE, 3, 5, 3),
        (NEW, 3, -1, 3),
        (NEW, -1, 3, 3),
        (NEW, -1, None, peek.UNLIMITED),
        (NEW, None, -1, peek.UNLIMITED),
    ],
)
def test_the_lower_limit_wins(
    server: tuple[int, int], argument: int | None, policy: int | None, limit: int
) -> None:
    told = facts(server, "quorum", limit_argument=argument, policy_limit=policy)
    assert told.delivery_limit == limit


@pytest.mark.parametrize(
    ("server", "queue_type", "more", "drop_at"),
    [
        (OLD, "classic", {}, None),
        (OLD, "quorum", {}, None),
        (OLD, "quorum", {"limit_argument": 3}, 3),
        (MIDDLE, "quorum", {}, 20),
        (NEW, "quorum", {}, 21),
        (NEW, "quorum", {"policy_limit": -1}, None),
        (NEW, None, {"policies_known": False}, 21),
    ],
)
def test_a_message_is_dropped_after_so_many_deliveries(
    server: tuple[int, int], queue_type: Any, more: dict[str, Any], drop_at: int | None
) -> None:
    assert facts(server, queue_type, **more).drop_at == drop_at


def test_a_policy_is_not_proposed_against_an_argument_that_wins() -> None:
    told = judge(NEW, "quorum", dead_letters=True, limit_argument=5)
    assert "without x-delivery-limit" in (told.remedy or "")


@pytest.mark.parametrize("server", [MIDDLE, NEW])
def test_the_remedy_is_one_line_with_the_queue_named_exactly(server: tuple[int, int]) -> None:
    told = facts(server, "quorum", dead_letters=True, policy_limit=1)
    remedy = peek.judge(replace(told, queue="a.b")).remedy or ""
    assert r"'^a\.b$'" in remedy
    assert '"delivery-limit": -1' in remedy
    assert "\n" not in remedy


def test_no_unlimited_policy_is_proposed_where_it_would_drop() -> None:
    for more in ({"limit_argument": 1}, {"policies_known": False}):
        assert "-1" not in (judge(OLD, "quorum", **more).remedy or "")


COULD_DROP = judge(NEW, "quorum", dead_letters=True)
REORDERS = judge(NEW, "classic", consumers=1)
HARMLESS = judge(NEW, "classic")


def test_a_look_that_could_drop_is_refused_unless_forced() -> None:
    with pytest.raises(LookRefused, match="not touched"):
        peek.check(COULD_DROP, read_only=False, force=False)
    peek.check(COULD_DROP, read_only=False, force=True)


@pytest.mark.parametrize("verdict", [COULD_DROP, REORDERS])
@pytest.mark.parametrize("force", [True, False])
def test_a_read_only_cluster_is_only_looked_at_harmlessly(verdict: Verdict, force: bool) -> None:  # noqa: FBT001
    with pytest.raises(LookRefused):
        peek.check(verdict, read_only=True, force=force)
    peek.check(HARMLESS, read_only=True, force=force)


def test_a_look_that_reorders_is_allowed() -> None:
    peek.check(REORDERS, read_only=False, force=False)
