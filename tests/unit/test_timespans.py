"""Times and spans as people give them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasktools.core.timespans import epoch, in_words, seconds

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("span", "total"),
    [(5, 5), (0.5, 0.5), ("5s", 5), ("2h", 7200), ("7D", 604_800), (timedelta(minutes=1), 60)],
)
def test_a_span_is_seconds(span: Any, total: float) -> None:
    assert seconds(span) == total


@pytest.mark.parametrize(
    "span", [0, -1, "", "soon", "-2h", timedelta(0), float("nan"), float("inf"), None, [1], True]
)
def test_what_is_no_span_is_said(span: Any) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        seconds(span)


@pytest.mark.parametrize(
    "moment",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15T09:00+01:00",
        datetime(2027, 1, 15, 8, tzinfo=UTC),
    ],
)
def test_a_moment_is_seconds_since_the_epoch(moment: Any) -> None:
    assert epoch(moment, NOW) == NOW


def test_a_span_is_a_moment_before_now() -> None:
    assert epoch("2h", NOW) == epoch(timedelta(hours=2), NOW) == NOW - 7200


@pytest.mark.parametrize("moment", ["2027-01-15T08:00:00", datetime(2027, 1, 15)])  # noqa: DTZ001
def test_a_time_without_its_zone_is_refused(moment: Any) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        epoch(moment, NOW)


@pytest.mark.parametrize("moment", ["noon", None, 5, float("nan"), []])
def test_what_is_no_moment_is_said(moment: Any) -> None:
    """A number, as of seconds, was an `AttributeError`."""
    with pytest.raises(ValueError, match=f"{re.escape(repr(moment))} is no moment"):
        epoch(moment, NOW)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0 s"),
        (0.04, "0.04 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3599.9, "1 h"),
        (7260, "2 h 1 min"),
        (86_400 * 3 + 4 * 3600, "3 d 4 h"),
        (-7200, "-2 h"),
    ],
)
def test_a_span_in_words(span: float, text: str) -> None:
    assert in_words(span) == text


def test_a_span_in_its_largest_unit_and_with_its_sign() -> None:
    assert in_words(359, units=1) == "5 min"
    assert in_words(7200, signed=True) == "+2 h"
