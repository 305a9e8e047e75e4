"""The colours of topics, the same in the live board and in the figures of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from zlib import crc32

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
OTHER: Final = "#8d949c"
"""The colour of what is added up as "other"."""


def colours(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each of *names*; up to 8 of them have different ones.

    A name has the colour that follows from its letters, unless another one has that: so mostly
    the same one in every figure, and always the same one among the same names.
    """
    given: dict[str, str] = {}
    for name in sorted(set(names)):
        wanted = crc32(name.encode("utf-8", "replace")) % len(COLOURS)
        order = COLOURS[wanted:] + COLOURS[:wanted]
        given[name] = min(order, key=list(given.values()).count)
    return given
