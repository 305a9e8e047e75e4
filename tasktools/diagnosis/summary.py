"""The summary of a diagnosis: its worst finding in a sentence, and what was ruled out in a line."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.plurals import counted
from tasktools.diagnosis.finding import Row

_NAMED: Final = 3
"""The largest number of checks for which the line gives the reason why they cannot tell."""
_MAX_WHY_CHARS: Final = 80


def worst(rows: Sequence[Row]) -> Row | None:
    """Return the best explanation among the findings; without findings, among the suspicions."""
    for verdict in PROBLEMS:
        row = next((row for row in rows if row.verdict == verdict), None)
        if row is not None:
            return row
    return None


def headline(rows: Sequence[Row], left_behind: str | None = None) -> str:
    """Return the worst finding in a sentence, and how many more there are.

    Without a finding, the sentence says which dead letters are *left_behind*.

    >>> headline([Row(verdict="ruled out", check="clock_off", finding="Ruled out: clocks.")])
    'Nothing found; 1 check ruled out.'
    """
    row = worst(rows)
    if row is None:
        nothing = nothing_found((row.verdict for row in rows), left_behind)
        return f"{nothing[0].upper()}{nothing[1:]}; {folded(rows)}"
    severity = row.severity if row.verdict == "found" else "suspected"
    more = sum(other.verdict in PROBLEMS for other in rows) - 1
    others = f" (and {more} more)" if more else ""
    return f"{severity}, {row.check}: {row.finding}{others}"


def nothing_found(verdicts: Iterable[str], left_behind: str | None = None) -> str:
    """Return in words that nothing is found, how much was checked, and which dead letters are
    *left_behind*.

    >>> nothing_found(["ruled out", "cannot tell", "ruled out"])
    'nothing found'
    >>> nothing_found(["ruled out"], "7 dead letters lie in 'orders'")
    "nothing found, but 7 dead letters lie in 'orders'"
    >>> nothing_found(["cannot tell", "cannot tell"])
    'no check has a verdict'
    """
    text = _nothing_found(Counter(verdicts))
    if not left_behind:
        return text
    return f"{text}; {left_behind}" if "but" in text else f"{text}, but {left_behind}"


def _nothing_found(counts: Counter[str]) -> str:
    if not counts["ruled out"]:
        return "no check has a verdict" if counts["cannot tell"] else "nothing was judged"
    if counts["cannot tell"] >= counts["ruled out"]:
        return "nothing found, but most checks cannot tell"
    return "nothing found"


def folded(rows: Sequence[Row]) -> str:
    """Return in one line the number of checks ruled out, and the checks without a verdict with
    their reasons.

    >>> why = "Cannot tell of a beat that is gone: no event of a beat came."
    >>> unknown = Row(verdict="cannot tell", check="beat_missing", finding=why)
    >>> folded([unknown])
    '0 checks ruled out, 1 cannot tell: beat_missing (no event of a beat came)'
    """
    ruled_out = sum(row.verdict == "ruled out" for row in rows)
    unknown = [row for row in rows if row.verdict == "cannot tell"]
    text = f"{counted(ruled_out, 'check')} ruled out"
    if not unknown:
        return f"{text}."
    named = [f"{row.check} ({_short(row.finding)})" for row in unknown[:_NAMED]]
    more = [f"and {len(unknown) - _NAMED} more"] if len(unknown) > _NAMED else []
    return f"{text}, {len(unknown)} cannot tell: {', '.join([*named, *more])}"


def _short(finding: str) -> str:
    """Return why a check cannot tell, without repeating its condition, which the name of the check
    says."""
    text = finding.partition(": ")[2].rstrip(".") or finding
    return textwrap.shorten(text, _MAX_WHY_CHARS, placeholder=" …")
