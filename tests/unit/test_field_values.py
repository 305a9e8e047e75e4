"""Columns as fields: paths, times, bins, ids, missing values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasktools.core.redaction import MASKED
from tasktools.diagnosis.field_values import MISSING, FieldReader


def read(values: Any, dtype: Any = object) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return what each row has in each field of a column ``x``, and what was skipped."""
    column: pd.Series[Any] = pd.Series(values, dtype=dtype)
    reader = FieldReader(len(column), lambda _path: True)
    fields: dict[str, list[str]] = {}
    for field in reader.read("x", column):
        fields.setdefault(field.name, [field.labels[code] for code in field.codes])
    return fields, reader.skipped


def test_dicts_and_lists_become_paths() -> None:
    value = {"a": {"b": "c"}, "items": ["p", "q"], "n": 1}
    fields, _ = read([value] * 6)
    assert fields == {
        "x.a.b": ["c"] * 6,
        "x.items[0]": ["p"] * 6,
        "x.items[1]": ["q"] * 6,
        "x.n": ["1"] * 6,
    }


def test_a_path_has_three_names_at_most() -> None:
    fields, _ = read([{"a": {"b": {"c": 1}}}] * 6)
    assert fields == {"x.a.b": ["{'c': 1}"] * 6}


def test_a_path_that_few_rows_have_is_missing_elsewhere() -> None:
    fields, _ = read([{"a": "v"}] * 6 + [{}, None, {"b": 1}, "text"])
    assert fields == {"x.a": [*["v"] * 6, *[MISSING] * 4], "x": [*[MISSING] * 9, "text"]}


def test_a_long_list_is_read_from_its_start() -> None:
    fields, _ = read([list(range(500))] * 6)
    assert len(fields) == 20


def test_paths_are_bounded() -> None:
    fields, skipped = read([{f"k{n}": 1 for n in range(3_000)}] * 5)
    assert len(fields) == 1_000
    assert "3,000 paths" in skipped["x.…"]


def test_keys_that_all_differ_cost_no_fields() -> None:
    fields, _ = read([{f"user_{n}": n} for n in range(2_000)])
    assert fields == {}


def test_times_become_hours_and_weekdays() -> None:
    fields, _ = read(
        [datetime(2026, 11, 24, 13, 5, tzinfo=UTC), None, datetime(2026, 11, 22, tzinfo=UTC)],
        "datetime64[us, UTC]",
    )
    assert fields["x.hour"] == ["13", MISSING, "00"]
    assert fields["x.weekday"] == ["Tuesday", MISSING, "Sunday"]


def test_few_numbers_are_themselves_and_many_are_bins() -> None:
    fields, _ = read([1, 2.5, None, 1, 3], "Float64")
    assert fields["x"] == ["1", "2.5", MISSING, "1", "3"]
    fields, _ = read([float(n) for n in range(100)] + [None], "Float64")
    assert len(set(fields["x"])) == 11
    assert fields["x"][0] == "below 9"
    assert fields["x"][15] == "9 to below 19"
    assert fields["x"][99] == "89 and more"
    assert fields["x"][100] == MISSING
    assert max(fields["x"].count(label) for label in set(fields["x"])) <= 11


def test_whole_numbers_of_which_each_is_frequent_are_bins_and_values() -> None:
    column: pd.Series[Any] = pd.Series([n % 80 for n in range(1_000)])
    bins, values = FieldReader(1_000, lambda _path: True).read("x", column)
    assert (len(bins.labels), len(values.labels)) == (11, 81)


def test_spans_are_in_seconds() -> None:
    fields, _ = read([pd.Timedelta("90s"), None], "timedelta64[us]")
    assert fields["x"] == ["90 s", MISSING]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([True, False, None], ["True", "False", MISSING]),
        (["a", 1, None, True], ["a", "1", MISSING, "True"]),
        ([float("nan"), float("inf"), 1], [MISSING, "inf", "1"]),
        ([10**400, 1, 1], ["1000", "1", "1"]),
        ([MASKED, MASKED, None], ["•••", "•••", MISSING]),
        ([np.int64(4), 4, 5.5], ["4", "4", "5.5"]),
        (["x" * 500] * 3, ["x" * 99 + "…"] * 3),
    ],
)
def test_whatever_is_there_is_a_value(values: list[Any], labels: list[str]) -> None:
    fields, _ = read([*values] * 3)
    shown = fields["x"][: len(values)]
    assert [a.startswith(b) for a, b in zip(shown, labels, strict=True)] == [True] * len(labels)


def test_many_infinite_numbers_have_bins() -> None:
    fields, _ = read([float("inf")] * 50 + [float(n) for n in range(100)], "float64")
    assert fields["x"][0].endswith("and more")


def test_an_id_is_skipped() -> None:
    fields, skipped = read([f"id-{n}" for n in range(10)], "string")
    assert fields == {}
    assert skipped == {"x": "an id: 10 different values in 10 rows"}
    fields, skipped = read([{"id": f"id-{n}", "to": "a"} for n in range(10)])
    assert fields.keys() == {"x.to"}
    assert skipped.keys() == {"x.id"}
