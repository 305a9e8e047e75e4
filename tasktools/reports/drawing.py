"""Drawings on the time axis of a report: the SVG of each, and the shapes behind its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import pandas as pd

from tasktools.reports.axes import WIDTH, TimeAxis
from tasktools.reports.html import Html, fragment, tag

HEIGHT: Final = 190
"""Units of the drawing area."""
ABOVE, BELOW = 18, 24


class Backdrop(msgspec.Struct, frozen=True):
    """The time axis common to a report's charts: the *gaps* without data, and the moment that
    splits before from after."""

    axis: TimeAxis
    gaps: Sequence[tuple[pd.Timestamp, pd.Timestamp]] = ()
    split: pd.Timestamp | None = None

    def behind(self, height: int) -> Html:
        """Return the shapes behind the data of a chart of *height*: gaps, and round times."""
        return fragment(self._shades(height), self._times(height))

    def before(self, height: int) -> Html:
        """Return the shapes in front of the data: the line at the split."""
        if self.split is None or not self.axis.has(self.split):
            return Html()
        x = f"{self.axis.place(self.split):.1f}"
        return fragment(
            tag("line", x1=x, x2=x, y1=-ABOVE, y2=height, class_="split"),
            tag("text", "cause", x=f"{float(x) + 4:.1f}", y=-7, class_="begin"),
        )

    def _shades(self, height: int) -> Iterator[Html]:
        for since, until in self.gaps:
            left, right = self.axis.place(since), self.axis.place(until)
            width = max(right - left, 1.0)
            yield tag("rect", x=f"{left:.1f}", y=0, width=width, height=height, class_="gap")

    def _times(self, height: int) -> Iterator[Html]:
        for x, words in self.axis.labels():
            at = f"{x:.1f}"
            yield tag("line", x1=at, x2=at, y1=0, y2=height, class_="grid")
            yield tag("text", words, x=at, y=height + 16, class_="time")


def svg(drawn: Html, height: int, title: str) -> Html:
    """Return a drawing as SVG; its data area begins *height* units above the lower edge."""
    return tag(
        "svg",
        drawn,
        viewBox=f"0 {-ABOVE} {WIDTH} {height + ABOVE + BELOW}",
        role="img",
        aria_label=title,
    )
