"""Counts and lists of names in words, as "1 task waits" and "a, b and 2 more"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MAX_NAMED: Final = 3
_IRREGULAR: Final = {"are": "is", "have": "has", "were": "was"}


def counted(number: int, noun: str, verb: str = "") -> str:
    """Return *number* with *noun*, in the plural unless it is 1, and *verb*, given in the plural.

    >>> counted(1, "message"), counted(0, "message"), counted(1_200, "message")
    ('1 message', '0 messages', '1,200 messages')
    >>> counted(1, "message", "wait"), counted(2, "message", "wait")
    ('1 message waits', '2 messages wait')
    """
    text = f"{number:,} {noun}{'' if number == 1 else 's'}"
    return f"{text} {agreeing(number, verb)}" if verb else text


def agreeing(number: int, verb: str) -> str:
    """Return *verb*, given in the plural, as it agrees with *number*.

    >>> agreeing(1, "have"), agreeing(2, "have"), agreeing(1, "wait")
    ('has', 'have', 'waits')
    """
    return verb if number != 1 else _IRREGULAR.get(verb, f"{verb}s")


def named(names: Sequence[str], most: int = _MAX_NAMED) -> str:
    """Return the first *names* in a list, and how many more there are.

    >>> named(["a", "b"]), named(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
