"""How the lines of topics look, the same in the live board and in the figures of a report."""

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
"""Told apart by the colour-blind too, and seen on white as on black: of colours that are not too
loud, those whose least difference is greatest, as they are and to each kind of the colour-blind."""
DASHES: Final = ("solid", "dash", "dot")
OTHER: Final = "#8d949c"
"""The colour of what is added up as "other"."""


class Style(NamedTuple):
    """How a line looks."""

    colour: str
    dash: str


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each of *names*, in their order: among the same names always the same.

    Up to 8 have different colours, up to 24 different styles.
    """
    return {
        name: Style(COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)])
        for n, name in enumerate(sorted(set(names)))
    }
