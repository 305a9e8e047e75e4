"""Nodes that run short of descriptors or disk, and connections that come and go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.rules import node_resources
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule.judge for rule in node_resources.RULES}
GB = 1e9


def with_node(connections: int = 1, **fields: Any) -> Facts:
    topic = make.topic()
    each = tuple(make.connection(f"c{number}") for number in range(connections))
    server = make.server([topic], nodes=(make.node(**fields),), connections=each)
    return make.facts(topic, server=server)


def disk(per_minute: float, *, minutes: int = 60, noise: float = 0.0) -> dict[str, Any]:
    """Return a disk of which the free bytes change by so many a minute to 20 GB."""
    places = np.arange(minutes + 1)
    free = 20 * GB - per_minute * (minutes - places)
    free += np.random.default_rng(1).normal(0, noise or 1e-9, len(free))
    return {
        "disk_free": round(free[-1]),
        "disk_free_series": make.samples(*free.tolist(), step=60),
    }


def counters(per_second: float) -> dict[str, Any]:
    """Return connections that are opened and closed, so many together a second."""
    counted = make.growing(per_second / 2, start=1000, seconds=3600, step=60)
    return {"connections_opened": counted, "connections_closed": counted}


@pytest.mark.parametrize("check", RULES)
def test_a_healthy_node_has_none(check: str) -> None:
    assert judging.says_nothing(RULES[check], make.facts())
    assert judging.says_nothing(RULES[check], with_node(**disk(0, noise=0.01 * GB), **counters(1)))


def test_few_descriptors_are_left() -> None:
    near = judging.only(RULES["near"], with_node(descriptors_used=801))
    assert near.severity == "warning"
    assert near.subject == "rabbit@one"
    assert "uses 801 of its 1000 file descriptors" in near.finding
    assert judging.says_nothing(RULES["near"], with_node(descriptors_used=800))


def test_a_disk_that_will_be_full_within_a_day() -> None:
    near = judging.only(RULES["near"], with_node(**disk(-0.03 * GB)))
    assert "has 20 GB of free disk and reaches its limit of 0.05 GB in 11 h" in near.finding
    noisy = with_node(**disk(-0.03 * GB, noise=0.2 * GB))
    assert judging.only(RULES["near"], noisy).subject == "rabbit@one"


def test_a_trend_of_26_minutes_foretells_no_21_hours() -> None:
    severities = {
        rate: judging.only(RULES["near"], with_node(**disk(-rate * GB, minutes=26))).severity
        for rate in (0.016, 0.04)  # full in 21 h, and in 8 h
    }
    assert severities == {0.016: "suspect", 0.04: "warning"}


@pytest.mark.parametrize(
    ("free", "why"),
    [
        (disk(-0.01 * GB), "it takes 33 hours"),
        (disk(-0.03 * GB, minutes=20), "20 minutes are no trend of a disk"),
        (disk(0.03 * GB), "it becomes free"),
        (disk(0, noise=1 * GB), "it wavers"),
        ({"disk_free_series": None}, "not known"),
    ],
)
def test_what_is_not_near(free: dict[str, Any], why: str) -> None:
    assert judging.says_nothing(RULES["near"], with_node(**free)), why


def test_connections_that_come_and_go_for_ten_minutes() -> None:
    churn = judging.only(RULES["churn"], with_node(120, **counters(13)))
    assert churn.severity == "warning"
    assert "At least 13 connections a second" in churn.finding
    assert churn.evidence["connections"] == 120


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (with_node(120, **counters(11)), "not a tenth of them"),
        (with_node(99, **counters(50)), "few connections"),
        (
            with_node(
                120,
                connections_opened=make.samples(*[0] * 5, *range(0, 6000, 1000), step=60),
                connections_closed=make.level(0, seconds=600, step=60),
            ),
            "it began 5 minutes ago",
        ),
        (with_node(120, connections_opened=None, connections_closed=None), "not known"),
    ],
)
def test_what_is_no_churn(facts: Facts, why: str) -> None:
    assert judging.says_nothing(RULES["churn"], facts), why


@pytest.mark.parametrize("check", RULES)
def test_nodes_take_the_tag_monitoring(check: str) -> None:
    (why,) = judging.unknown(RULES[check], make.without_part(make.facts(), "nodes"))
    assert "needs the tag monitoring" in why
    assert make.NO_TAG in judging.unknown(RULES[check], make.amqp_only(make.facts()))[0]
