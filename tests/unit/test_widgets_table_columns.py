"""The values of a table as texts: short, exact on request, and harmless."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktools.core.redaction import MASKED
from tasktools.widgets.table.columns import Cell, Kind, cell

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def time(**ago: float) -> Cell:
    return cell(pd.Timestamp(NOW - timedelta(**ago)), "time", NOW)


@pytest.mark.parametrize(
    ("value", "kind", "text", "title"),
    [
        ("send_email", "text", "send_email", ""),
        (7, "text", "7", ""),
        ("<script>", "id", "<script>", ""),
        ({"to": "ä", "n": [1, None]}, "json", '{"to":"ä","n":[1,null]}', ""),
        ({"password": MASKED}, "json", '{"password":"•••"}', ""),
        ("not decoded", "json", "not decoded", ""),
        (1234567, "count", "1,234,567", ""),
        (650, "size", "650 B", "650 bytes"),
        (12_345, "size", "12.3 kB", "12,345 bytes"),
        (5_200_000, "size", "5.2 MB", "5,200,000 bytes"),
        (timedelta(seconds=2.04), "span", "2 s", "2.040 s"),
        (timedelta(minutes=5, seconds=59), "span", "5 min", "359.000 s"),
        (-timedelta(hours=2), "span", "-2 h", "-7,200.000 s"),
        (True, "flag", "yes", ""),
        (False, "flag", "no", ""),
    ],
)
def test_a_value_is_short_and_its_title_is_exact(
    value: Any, kind: Kind, text: str, title: str
) -> None:
    assert cell(value, kind, NOW) == (text, title)


@pytest.mark.parametrize("kind", ["text", "id", "json", "count", "size", "time", "span", "flag"])
@pytest.mark.parametrize("missing", [None, pd.NA, pd.NaT, float("nan")])
def test_what_is_missing_is_nothing(missing: Any, kind: Kind) -> None:
    assert cell(missing, kind, NOW) == ("", "")


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        ({"seconds": 0}, "just now"),
        ({"seconds": 59}, "just now"),
        ({"seconds": 60}, "1 min ago"),
        ({"minutes": 59.9}, "59 min ago"),
        ({"hours": 1}, "1 h ago"),
        ({"hours": 23.9}, "23 h ago"),
        ({"days": 1}, "1 d ago"),
        ({"days": 800}, "800 d ago"),
        ({"minutes": -5}, "in 5 min"),
    ],
)
def test_a_time_is_told_from_now(ago: dict[str, float], text: str) -> None:
    assert time(**ago).text == text


def test_the_title_of_a_time_is_in_utc() -> None:
    elsewhere = datetime(2026, 3, 1, 13, 30, tzinfo=timezone(timedelta(hours=2)))
    assert cell(elsewhere, "time", NOW) == ("30 min ago", "2026-03-01 11:30:00 UTC")


def test_a_long_text_is_cut_and_says_so() -> None:
    text = cell("x" * 1534, "text", NOW).text
    assert text == "x" * 300 + "… [+1,234 characters]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("one\ntwo", "one\\ntwo"),
        ("\x1b[2J", "\\x1b[2J"),
        ("invoice\u202efdp.exe", "invoice\\u202efdp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_cannot_be_printed_is_written_out(value: str, text: str) -> None:
    assert cell(value, "text", NOW).text == text


@given(st.recursive(st.text() | st.binary() | st.floats() | st.integers(), st.lists))
def test_whatever_is_in_a_message_can_be_sent_and_printed(value: Any) -> None:
    for kind in ("text", "json"):
        text = cell(value, kind, NOW).text
        assert text.isprintable()
        assert json.loads(json.dumps(text).encode()) == text


def test_a_lone_surrogate_within_json_is_written_out() -> None:
    text = cell({"to": "\ud800"}, "json", NOW).text
    assert text == r"{'to': '\ud800'}"
    assert text.encode()
