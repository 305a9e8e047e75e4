"""Suggestions for names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with up to three similar names among *known*; "" if there is none.

    >>> did_you_mean("emial", ["email", "orders"])
    "did you mean 'email'?"
    """
    similar = difflib.get_close_matches(name, sorted(set(known) - {name}), n=3)
    return f"did you mean {' or '.join(map(repr, similar))}?" if similar else ""
