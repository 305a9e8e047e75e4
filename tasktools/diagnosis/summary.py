"""The summary of a diagnosis: its worst finding in a sentence, and what was ruled out in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.plurals import counted
from tasktools.diagnosis.finding import Row

_NAMED: Final = 3
"""Checks of which the line says why they cannot tell."""
_MAX_WHY_CHARS: Final = 160


def worst(rows: Sequence[Row]) -> Row | None:
    """Return the best explanation of what was found or, if nothing was, is suspected."""
    for verdict in PROBLEMS:
        row = next((row for row in rows if row.verdict == verdict), None)
        if row is not None:
            return row
    return None


def headline(rows: Sequence[Row]) -> str:
    """Return the worst finding in a sentence, and how many more there are.

    >>> headline([Row(verdict="ruled out", check="clock_off", finding="Ruled out: clocks.")])
    'Nothing found; 1 check ruled out.'
    """
    row = worst(rows)
    if row is None:
        return f"{nothing_found(row.verdict for row in rows).capitalize()}; {folded(rows)}"
    severity = row.severity if row.verdict == "found" else "suspected"
    more = sum(other.verdict in PROBLEMS for other in rows) - 1
    others = f" (and {more} more)" if more else ""
    return f"{severity}, {row.check}: {row.finding}{others}"


def nothing_found(verdicts: Iterable[str]) -> str:
    """Return in words that nothing is found, and whether that says anything.

    >>> nothing_found(["ruled out", "cannot tell", "ruled out"])
    'nothing found'
    >>> nothing_found(["cannot tell", "cannot tell"])
    'nothing can be told'
    """
    counts = Counter(verdicts)
    if not counts["ruled out"]:
        return "nothing can be told" if counts["cannot tell"] else "nothing was judged"
    if counts["cannot tell"] >= counts["ruled out"]:
        return "nothing found, but most cannot be told"
    return "nothing found"


def folded(rows: Sequence[Row]) -> str:
    """Return in one line how many checks were ruled out, and which cannot tell, and why.

    >>> unknown = Row(verdict="cannot tell", check="beat_missing", finding="Cannot tell of a beat.")
    >>> folded([unknown])
    '0 checks ruled out, 1 cannot tell: beat_missing (Cannot tell of a beat.)'
    """
    ruled_out = sum(row.verdict == "ruled out" for row in rows)
    unknown = [row for row in rows if row.verdict == "cannot tell"]
    text = f"{counted(ruled_out, 'check')} ruled out"
    if not unknown:
        return f"{text}."
    named = [f"{row.check} ({_short(row.finding)})" for row in unknown[:_NAMED]]
    more = [f"and {len(unknown) - _NAMED} more"] if len(unknown) > _NAMED else []
    return f"{text}, {len(unknown)} cannot tell: {', '.join([*named, *more])}"


def _short(text: str) -> str:
    return text if len(text) <= _MAX_WHY_CHARS else f"{text[: _MAX_WHY_CHARS - 1]}…"
