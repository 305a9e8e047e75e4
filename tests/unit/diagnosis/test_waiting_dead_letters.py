"""Dead letters that wait for a decision, where nothing is found wrong."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.diagnosis.facts import TopicFacts
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.summary import headline
from tasktools.diagnosis.waiting_dead_letters import left_behind
from tests.unit.diagnosis import facts_factory as make


def lying(topic: str, count: int | None, grown: float | None = 0.0) -> TopicFacts:
    fields: dict[str, Any] = {"dead_letters": count, "dead_ready": None, "dead_queue": None}
    if grown is not None:
        fields["dead_ready"] = make.growing(grown / 60, start=(count or 0) - grown)
    return make.topic(topic, **fields)


@pytest.mark.parametrize(
    ("topics", "text"),
    [
        ([("a", 0)], None),
        ([("a", None, None)], None),
        ([("a", 1)], "1 dead letter lies in 'a'; none came in the last minute"),
        (
            [("a", 3), ("b", 1_200, 5)],
            "1,200 dead letters lie in 'b', 3 in 'a'; 5 came in the last minute",
        ),
        ([("a", 3), ("b", 7, None)], "7 dead letters lie in 'b', 3 in 'a'"),
        (
            [("a", 3), ("b", 3), ("c", 3), ("d", 2), ("e", 1)],
            "3 dead letters lie in 'a', 3 in 'b', 3 in 'c', 3 in 2 other topics; none came in the "
            "last minute",
        ),
    ],
)
def test_dead_letters_that_lie_there_are_counted(topics: list[Any], text: str | None) -> None:
    assert left_behind(make.facts(*(lying(*topic) for topic in topics))) == text


@pytest.mark.parametrize(
    ("values", "count", "text"),
    [
        ([0] * 13, 4, "4 dead letters lie in 'a'; 4 came in the last minute"),
        ([4] * 2, 4, "4 dead letters lie in 'a'"),
        ([4] * 4, 4, "4 dead letters lie in 'a'; all came before 07:59:45 UTC"),
        ([1, 4, 4, 4], 4, "4 dead letters lie in 'a'; 3 came since 07:59:45 UTC"),
        ([1, 1, 1, 1], 4, "4 dead letters lie in 'a'; 3 came since 07:59:45 UTC"),
        ([4] * 13, 4, "4 dead letters lie in 'a'; none came in the last minute"),
    ],
)
def test_what_samples_do_not_cover_is_not_none(values: list[int], count: int, text: str) -> None:
    """A newcomer read that none came in the last minute, two seconds after they came."""
    series = make.samples(*values)
    facts = make.facts(make.topic("a", dead_letters=count, dead_ready=series, dead_queue=None))
    assert left_behind(facts) == text


def test_of_several_topics_the_time_that_all_samples_cover_counts() -> None:
    early = make.topic("a", dead_letters=9, dead_ready=make.samples(*[1] * 6, 5, 5, 9))
    late = make.topic("b", dead_letters=2, dead_ready=make.samples(0, 2, 2, 2))
    facts = make.facts(replace(early, dead_queue=None), replace(late, dead_queue=None))
    text = "9 dead letters lie in 'a', 2 in 'b'; 10 came since 07:59:45 UTC"
    assert left_behind(facts) == text


def test_a_headline_without_a_finding_names_them() -> None:
    """A new user read that nothing was found, and had 300 dead letters."""
    rows = [Row(verdict="ruled out", check="clock_off", finding="Ruled out: clocks.")]
    text = "300 dead letters lie in 'Orders'"
    assert headline(rows, text) == f"Nothing found, but {text}; 1 check ruled out."
    unknown = [Row(verdict="cannot tell", check="clock_off", finding="Cannot tell of clocks.")]
    assert headline(rows + unknown, text).startswith(
        f"Nothing found, but most checks cannot tell; {text}; 1 check"
    )
