"""JSON in text that a user has typed; NaN and Infinity are refused."""

from __future__ import annotations

import json
from typing import Any, Never


def parse(text: str) -> Any:
    """Return the value of *text*. Raises `ValueError`, or `RecursionError` if it nests deeply."""
    return json.loads(text, parse_constant=_refuse)


def value_of(text: str) -> Any:
    """Return *text* parsed as JSON, or unchanged if it is not JSON."""
    try:
        return parse(text)
    except (ValueError, RecursionError):
        return text


def number(text: str) -> int | float | None:
    """Return the number in *text*, or `None` if it is not a number."""
    value = value_of(text.strip())
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _refuse(constant: str) -> Never:
    raise ValueError(f"JSON has no {constant}")
