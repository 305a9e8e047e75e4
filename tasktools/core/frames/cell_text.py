"""Values of frames in words, by the kind of their column: each is written alike everywhere."""

from __future__ import annotations

import json
from typing import Any

from tasktools.core.escaping import exact
from tasktools.core.frames.export import plain
from tasktools.core.frames.schema import Kind
from tasktools.core.timespans import in_words


def words(value: Any, kind: Kind) -> str:  # noqa: PLR0911, C901 - one a kind
    """Return *value*, which is not missing, in words.

    >>> words(12_345, "count"), words(12_345, "bytes"), words(0.786, "share"), words(0.05, "rate")
    ('12,345', '12.3 kB', '79%', '0.05/s')
    """
    match kind:
        case "count":
            return f"{int(value):,}"
        case "bytes":
            return size(int(value))
        case "share":
            return _share(value)
        case "ratio":
            return _number(value)
        case "rate":
            return f"{_number(value)}/s"
        case "flag":
            return "yes" if value else "no"
        case "time":
            return f"{value:%Y-%m-%d %H:%M:%S}Z"
        case "span":
            return in_words(value.total_seconds())
        case "offset":
            return _offset(value.total_seconds())
        case "names":
            return ", ".join(map(str, value)) if isinstance(value, list) else as_json(value)
        case "object":
            return exact(value) if isinstance(value, str) else as_json(value)
        case _:
            return exact(value) if isinstance(value, str) else str(value)


def size(number: float) -> str:
    """Return a *number* of bytes for people.

    >>> size(650), size(12_345), size(3 * 10**9)
    ('650 B', '12.3 kB', '3 GB')
    """
    for unit, least in (("GB", 10**9), ("MB", 10**6), ("kB", 1000)):
        if number >= least:
            return f"{f'{number / least:,.1f}'.removesuffix('.0')} {unit}"
    return f"{number:,.0f} B"


def as_json(value: Any) -> str:
    """Return a list or dict as JSON, in which a secret is ``•••``."""
    return json.dumps(plain(value), ensure_ascii=False)


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) >= 1 or not value else f"{value:.2g}"


def _share(value: float) -> str:
    """Return a share in percent; only exact 0 and 1 are shown as 0 % and 100 %."""
    percent = f"{value:.0%}"
    if percent == "0%" and value > 0:
        return "<1%"
    return ">99%" if percent == "100%" and value < 1 else percent


def _offset(seconds: float) -> str:
    return "0 s" if abs(seconds) < 1 else in_words(seconds, signed=True)  # no more exact than that
