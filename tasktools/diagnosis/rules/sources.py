"""Checks of the sources themselves: what is too old, and what cannot be seen at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Judgement, Rule
from tasktools.diagnosis.staleness import MAX_EVENT_LAG, MAX_SAMPLE_AGE, STATISTICS

_MAX_AGES: Final = {"events": MAX_EVENT_LAG, "management": MAX_SAMPLE_AGE}


def _statistics_stale(facts: Facts) -> Iterator[Judgement]:
    if facts.is_recorded:
        return  # a recording is as old as it is
    for source in facts.sources:
        limit, age = _MAX_AGES.get(source.name), source.age
        if source.ok and limit is not None and age is not None and age > limit:
            why = f"{source.name} are {in_words(age)} old, more than {limit:g} s"
            yield CannotTell(why=why, needs=(source.name,))
        elif not source.ok and (source.note or "").startswith(STATISTICS):
            yield CannotTell(why=source.note or "", needs=(source.name,))


def _blind(facts: Facts) -> Iterator[Judgement]:
    for source, why in facts.missing.items():
        yield CannotTell(why=f"{source} not seen: {why}", needs=(source,))


RULES: Final = (
    Rule("statistics_stale", 8, _statistics_stale, "sources that are too old to judge by"),
    Rule("blind", 8, _blind, "sources that cannot be seen"),
)
"""Checks of the sources themselves."""
