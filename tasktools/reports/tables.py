"""Tables of a page: rows of frames in words, each cell a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.core.escaping import exact, shortened
from tasktools.core.frames import cell_text as in_words
from tasktools.core.frames import export
from tasktools.core.frames.cell_text import as_json
from tasktools.reports.html import Child, Html, fragment, tag

MAX_CELL_CHARS: Final = 300
_MISSING: Final = "–"  # noqa: RUF001
_SHARES: Final = ("share", "utilisation")
_NUMBERS: Final = (int, float, timedelta)


def table(columns: Mapping[str, str], frame: pd.DataFrame, *, most: int, label: str) -> Html:
    """Return *columns* of *frame*, with their headings, as a table of at most *most* rows."""
    shown = frame.head(most)[list(columns)]
    head = tag("tr", (tag("th", heading, scope="col") for heading in columns.values()))
    body = (
        tag("tr", (_cell(name, value) for name, value in row.items()))
        for row in export.records(shown)
    )
    rest = len(frame) - len(shown)
    more = tag("p", f"and {rest:,} more: they are in the data below", class_="note") if rest else ""
    whole = tag("table", tag("thead", head), tag("tbody", body))
    return fragment(scrolled(whole, label), [more] if more else [])


def scrolled(content: Html, label: str) -> Html:
    """Return *content* in a box that can be scrolled sideways, by keys, too."""
    return tag("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Return names and their values as a list."""
    items = (fragment(tag("dt", name), tag("dd", value)) for name, value in pairs)
    return tag("dl", items)


def words(value: Any, name: str = "") -> str:  # noqa: PLR0911 - one a type
    """Return a value of the column *name* in words; a dash for a missing value."""
    value = _python(value)
    match value:
        case dict():
            return as_json(value)
        case list():
            return ", ".join(map(_item, value)) or "none"
        case _ if export.is_missing(value):
            return _MISSING
        case bool():
            return "yes" if value else "no"
        case pd.Timestamp():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case timedelta():
            return in_words.words(value, "offset" if name == "clock_offset" else "span")
        case float() if name in _SHARES:
            return in_words.words(value, "share")
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case _:
            return exact(str(value))


def _cell(name: str, value: Any) -> Html:
    value = _python(value)
    is_number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    text = shortened(words(value, name), MAX_CELL_CHARS)
    kind = "number" if is_number and text != _MISSING else None
    return tag("td", text, class_="moment" if isinstance(value, pd.Timestamp) else kind)


def _python(value: Any) -> Any:
    """Return a number or flag of numpy as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _item(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)
