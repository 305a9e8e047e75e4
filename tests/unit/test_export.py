"""Frames as CSV: what is written is what is there, and a spreadsheet runs none of it."""

from __future__ import annotations

import csv
import json

import pandas as pd
import pytest

from tasktools.core.escaping import as_shown, harmless
from tasktools.core.frames import build, export
from tasktools.core.frames.history_schemas import FAILURES, QUEUE_DEPTH
from tasktools.core.frames.schema import DTYPES, Schema


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1;cmd",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        " =1",
        "\uff1d1+1",
        "=cmd|'C'!A0",
    ],
)
def test_a_text_in_csv_is_never_a_formula(text: str) -> None:
    """Issue 11, secrets: a spreadsheet runs what begins with one of these signs."""
    (row,) = csv.reader([export.csv(pd.DataFrame({"why": [text]})).splitlines()[1]])
    assert row[0].startswith(("'", "\\")), row
    assert row[0].lstrip("'") == harmless(text)


def test_numbers_and_texts_in_csv_stay_as_they_are() -> None:
    """Issue 11, secrets: negative numbers and numbers in texts are no formulas."""
    frame = pd.DataFrame({"a": [-5, 7], "b": ["-5.3", "+1e9"], "c": ["a=b", "x@y"]})
    assert export.csv(frame) == "a,b,c\n-5,-5.3,a=b\n7,+1e9,x@y\n"


@pytest.mark.parametrize("schema", [QUEUE_DEPTH, FAILURES], ids=lambda schema: schema.name)
def test_columns_of_every_kind_are_written_as_json_has_them(schema: Schema) -> None:
    at = pd.Timestamp("2026-11-24T08:00:00.5Z")
    values = {"string": "a,b", "Int64": 3, "Float64": 0.5, "boolean": True}
    values |= {DTYPES["span"]: 2.5, DTYPES["time"]: at}
    full = [values.get(DTYPES[column.kind], {"x": [1, None]}) for column in schema.columns]
    frame = build.frame_from(schema, [full, [None] * len(full), full])
    heading, first, second, third = csv.reader(export.csv(frame).splitlines())
    texts = {DTYPES["time"]: at.isoformat(), "object": '{"x": [1, null]}'}
    dtypes = {column.name: DTYPES[column.kind] for column in schema.columns}
    assert heading == list(schema.names)
    assert first == third == [texts.get(dtypes[n], str(values.get(dtypes[n]))) for n in heading]
    assert set(second) == {""}


def test_values_that_are_equal_and_not_the_same_are_written_as_they_are() -> None:
    frame = pd.DataFrame({"args": pd.Series([1, True, 1.0, "1", None], dtype=object)})
    assert export.csv(frame) == 'args\n1\nTrue\n1.0\n1\n""\n'


def test_a_disguised_name_in_a_message_is_exact_in_json() -> None:
    """Its escape was escaped once more."""
    value = as_shown({"a\u202eb": "c\u202ed"})
    assert json.dumps(export.plain(value)) == '{"a\\u202eb": "c\\u202ed"}'
