"""Colours and dashes of lines, shared by the live board and the figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

COLOURS: Final = (
    "#3b80cd",  # blue
    "#b43902",  # rust
    "#fb921a",  # orange
    "#ce95e5",  # lilac
    "#67bf7d",  # green
    "#894a8c",  # plum
    "#ab7e2d",  # ochre
    "#26744d",  # dark green
)
"""Colours that the colour-blind can tell apart too, and that stand out on white and on black:
among muted colours, the set whose least difference, over all kinds of vision, is greatest."""
DASHES: Final = ("solid", "dash", "dot")
OTHER: Final = "#8d949c"
"""The colour of topics that are added up as "other"."""


class Style(NamedTuple):
    """Colour and dash of a line."""

    colour: str
    dash: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each of *names*; the same set of names always gets the same styles.

    Up to 8 have different colours, up to 24 different styles.
    """
    return {
        name: Style(COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)])
        for n, name in enumerate(sorted(set(names)))
    }
