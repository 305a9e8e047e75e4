"""Checks of the arguments of public functions."""

from __future__ import annotations

import math
from numbers import Integral, Real


def is_number(value: object) -> bool:
    """Return whether *value* is a real number, finite, and not a bool.

    >>> is_number(0.5), is_number(True), is_number(float("nan")), is_number("1"), is_number(None)
    (True, False, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: object, most: int) -> bool:
    """Return whether *value* is a whole number from 1 to *most*.

    >>> is_count(3, 10), is_count(0, 10), is_count(11, 10), is_count(1.5, 10)
    (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= most
