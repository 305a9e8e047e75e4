"""Every frame keeps its schema, and the page about them is up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasktools.core.frames import capacity_schemas, diagnosis_schemas, schemas
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.frames_page import as_markdown
from tasktools.core.frames.schema import DTYPES, Column, Kind, Schema

ROOT = Path(__file__).parents[2]
SCHEMAS = (*schemas.SCHEMAS, *diagnosis_schemas.SCHEMAS, *capacity_schemas.SCHEMAS)
VALUES: dict[Kind, Any] = {
    **dict.fromkeys(("name", "id", "text"), "x"),
    **dict.fromkeys(("count", "bytes"), 3),
    **dict.fromkeys(("ratio", "share", "rate"), 0.5),
    "flag": True,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    **dict.fromkeys(("span", "offset"), 1.25),
    "names": ["a"],
    "object": ["a"],
}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
@pytest.mark.parametrize("rows", ["none", "all missing", "full", "mixed"])
def test_a_frame_has_exactly_its_schema(schema: Schema, rows: str) -> None:
    full = [VALUES[column.kind] for column in schema.columns]
    missing = [None] * len(schema.columns)
    values = {"none": [], "all missing": [missing], "full": [full], "mixed": [full, missing]}[rows]
    frame = frame_from(schema, values)
    assert len(frame) == len(values)
    assert dict(frame.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in schema.columns}
    if rows == "mixed":
        assert frame.iloc[1].isna().all()
        assert frame.iloc[0].notna().all()


def test_column_names_are_unique_and_documented() -> None:
    for schema in SCHEMAS:
        assert len(set(schema.names)) == len(schema.names)
        assert all(column.meaning and column.source for column in schema.columns)


def test_the_page_about_frames_is_up_to_date() -> None:
    assert (ROOT / "docs" / "frames.md").read_text(encoding="utf-8") == as_markdown()


def test_a_span_of_ten_thousand_years_is_a_span() -> None:
    schema = Schema("s", "x", (Column("silence", "span", "m", "-"),))
    frame = frame_from(schema, [[3.2e11], [-3.2e11], [None]])
    assert frame["silence"].isna().tolist() == [False, False, True]
