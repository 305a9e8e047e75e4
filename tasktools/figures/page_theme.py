"""Figure that a dark page of Jupyter shows in the colours of the dark theme.

The kernel does not know the theme of the page, which can change; a style sheet does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import plotly.graph_objects as go

from tasktools.figures.palette import BARS, COLOURS, GRID, LIMIT, PAPER, QUIET, TEXT

_DARK_PAGE: Final = ':is([data-jp-theme-light="false"], html[data-theme="dark"])'
"""A page of JupyterLab, Notebook, Voilà or nbconvert; or of the docs."""
_ON_ITS_OWN: Final = "tasktools-figure-style"


def _rgb(colour: str) -> str:
    """Return *colour* as a browser writes it into the attribute `style`."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return f"rgb({red}, {green}, {blue})"


def _rules() -> Iterator[str]:
    """Yield a rule each part of a light figure; a figure is light if its title is."""
    title = f'.gtitle[style*="fill: {_rgb(TEXT["light"])}"]'
    figure = f"{_DARK_PAGE} .js-plotly-plot:has({title})"

    def change(parts: str, what: str, light: str, dark: str) -> str:
        was = f'[style*="{what}: {_rgb(light)}"], [{what}="{_rgb(light)}"]'
        return f"{figure} {parts}:is({was}) {{ {what}: {dark} !important; }}"

    # The label of a bar or a symbol has the colour of it, and text that plotly chooses for that.
    parts = ":is(text, path, rect):not(.hovertext *)"
    bars = [each for each in zip(*BARS.values(), strict=True) if each[0] not in COLOURS]
    yield change(".main-svg", "background", *PAPER.values())
    yield change("rect.bg", "fill", *PAPER.values())
    yield change(".spikeline", "stroke", *PAPER.values())
    for light, dark in (TEXT.values(), QUIET.values(), *bars):
        yield change(parts, "fill", light, dark)
    for light, dark in (GRID.values(), LIMIT.values(), TEXT.values()):
        yield change(parts, "stroke", light, dark)
    yield f"{figure} :is(.heatmaplayer, .cbfills) {{ filter: invert(.9) hue-rotate(180deg); }}"
    yield f"{figure} .modebar-group {{ background-color: {PAPER['dark']} !important; }}"
    yield f"{figure} .modebar-btn path {{ fill: {QUIET['dark']} !important; }}"


STYLE: Final = f"<style>{' '.join(_rules())}</style>"
"""A style sheet for pages that show figures."""


class PageFigure(go.Figure):
    """A figure whose output in a notebook brings the style sheet with it.

    Files and pictures that are made of it keep the colours in which it was drawn.
    """

    def _ipython_display_(self) -> None:
        from IPython.display import display

        hidden = f".jp-OutputArea-child:has(> * > .{_ON_ITS_OWN}) {{ display: none; }}"
        style = f'<style class="{_ON_ITS_OWN}">{hidden}</style>{STYLE}'
        display({"text/html": style, "text/plain": ""}, raw=True)
        super()._ipython_display_()
