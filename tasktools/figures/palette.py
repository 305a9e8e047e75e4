"""Colours of the figures, and colours and dashes of lines, which the live board shares."""

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

PAPER: Final = {"light": "#ffffff", "dark": "#111111"}
TEXT: Final = {"light": "#24292f", "dark": "#e4e6e8"}
QUIET: Final = {"light": "#5f6770", "dark": "#a5abb2"}
GRID: Final = {"light": "#e3e6e9", "dark": "#2f3337"}
LIMIT: Final = {"light": "#c4291c", "dark": "#ff7b6b"}
HATCH: Final = {"light": "#8d949c", "dark": "#6b737b"}
BARS: Final = {
    "light": ("#d6402f", "#fb921a", "#d9c06a", "#a8d3b4", "#d5d9dd"),
    "dark": ("#d6402f", "#d97b14", "#96803a", "#2f6b46", "#4a5056"),
}
"""Colours of a timeline's bars: critical, warning, suspect, no trouble, not known."""
INK_ON_BAR: Final = {
    theme: ("#ffffff", "#111111", "#111111", ink, ink) for theme, ink in TEXT.items()
}
"""Each with a contrast of 4.5 to its bar."""


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
