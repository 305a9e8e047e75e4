"""Tables of a page: values in words, and rows that are left out are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasktools.core.escaping import shortened
from tasktools.reports.tables import table, words


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (pd.NA, "", "–"),  # noqa: RUF001 - a dash
        (pd.NaT, "", "–"),  # noqa: RUF001
        (np.nan, "", "–"),  # noqa: RUF001
        (np.True_, "", "yes"),
        (np.int64(12_345), "", "12,345"),
        (0.25, "share", "25%"),
        (0.25, "rate", "0.25"),
        (pd.Timestamp("2026-11-24T08:00:01.5Z"), "", "2026-11-24 08:00:01"),
        (pd.Timedelta(seconds=75), "silence", "1 min 15 s"),
        (pd.Timedelta(seconds=0.2), "clock_offset", "0 s"),
        (pd.Timedelta(hours=2), "clock_offset", "+2 h"),
        ([], "", "none"),
        (["a", {"b": 1}], "", 'a, {"b": 1}'),
        ({"a": [1, None]}, "", '{"a": [1, null]}'),
    ],
)
def test_a_value_is_written_for_people(value: Any, name: str, text: str) -> None:
    assert words(value, name) == text


def test_rows_that_are_left_out_are_counted() -> None:
    frame = pd.DataFrame({"n": range(5)})
    assert table({"n": "number"}, frame, most=3, label="x").count("<tr>") == 4
    assert "and 2 more" in table({"n": "number"}, frame, most=3, label="x")
    assert "more" not in table({"n": "number"}, frame, most=5, label="x")


def test_what_is_left_out_of_a_long_text_is_counted() -> None:
    assert shortened("a" * 1_010, 10) == "a" * 10 + "… [+1,000 characters]"
    assert shortened("short", 10) == "short"
