"""A frame is a DataFrame in everything but its display; what is made of it keeps that."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.frames import (
    capacity_schemas,
    diagnosis_schemas,
    export,
    history_schemas,
    schemas,
)
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.frame import Frame
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.schemas import DEAD_LETTERS, TOPICS, WORKERS
from tasktools.core.redaction import MASKED
from tests.timing import spending

EVERY = (
    *(*schemas.SCHEMAS, *history_schemas.SCHEMAS),
    *(*diagnosis_schemas.SCHEMAS, *capacity_schemas.SCHEMAS),
)
AT = datetime(2026, 3, 1, 12, 30, 5, 597067, tzinfo=UTC)


def frame_of(schema: Schema, *rows: dict[str, Any], **attrs: Any) -> pd.DataFrame:
    values = [[row.get(name) for name in schema.names] for row in rows]
    return frame_from(schema, values, **attrs)


def html_of(frame: Any) -> str:
    return str(frame._repr_html_())


def topics() -> pd.DataFrame:
    rows = [{"topic": name, "queued": n, "consumers": n} for n, name in enumerate("abc")]
    return frame_of(TOPICS, *rows, notes=["a note"], demo="DEMO")


@pytest.mark.parametrize(
    "derived",
    [
        lambda frame: frame[frame["queued"] > 0],
        lambda frame: frame.sort_values("queued", ascending=False),
        lambda frame: frame.head(2),
        lambda frame: frame[["topic", "queued"]],
        lambda frame: frame.iloc[1:],
        lambda frame: frame.query("queued > 0"),
        lambda frame: frame.assign(twice=frame["queued"] * 2),
        lambda frame: frame.reset_index(drop=True),
        lambda frame: frame.drop(columns="queued"),
        lambda frame: frame.copy(),
        copy.copy,
        copy.deepcopy,
        lambda frame: pickle.loads(pickle.dumps(frame)),  # noqa: S301
        lambda frame: pd.concat([frame, frame]),
    ],
)
def test_what_is_made_of_a_frame_keeps_its_display_and_attrs(derived: Any) -> None:
    plain = pd.DataFrame(topics())
    plain.attrs = topics().attrs
    made = derived(topics())
    assert type(made) is Frame
    assert made.attrs == {"notes": ["a note"], "demo": "DEMO"}
    assert repr(made).startswith("DEMO topics: ")
    assert "note: a note" in html_of(made)
    pd.testing.assert_frame_equal(pd.DataFrame(made), pd.DataFrame(derived(plain)))


def test_groups_columns_and_files_are_those_of_pandas(tmp_path: Path) -> None:
    frame = topics()
    plain = pd.DataFrame(frame)
    assert type(frame["queued"]) is pd.Series
    assert frame.to_csv() == plain.to_csv()
    assert frame.to_html() == plain.to_html()
    assert frame.to_string() == plain.to_string()
    assert frame.to_dict("records") == plain.to_dict("records")
    sums = frame.groupby("topic")[["queued"]].sum()
    pd.testing.assert_frame_equal(pd.DataFrame(sums), plain.groupby("topic")[["queued"]].sum())
    merged = frame.merge(frame[["topic", "queued"]], on="topic")
    assert list(merged["queued_x"]) == [0, 1, 2]
    assert frame.transpose().iloc[0].tolist() == ["a", "b", "c"]


def test_frames_of_two_looks_become_one_with_the_notes_of_both() -> None:
    first, second = topics(), topics()
    second.attrs |= {"notes": ["another"], "cluster": "<Cluster b>"}
    whole = pd.concat([first, second], ignore_index=True)
    assert whole.attrs == {"notes": ["a note", "another"], "demo": "DEMO"}
    assert first.attrs["notes"] == ["a note"]
    assert pd.concat([first, pd.DataFrame({"topic": ["d"]})]).attrs == first.attrs
    assert repr(whole).startswith("DEMO topics: 6 rows")


def test_of_other_rows_it_does_not_say_that_they_are_topics() -> None:
    sums = topics().groupby("topic")[["queued"]].sum()
    assert repr(sums).startswith("DEMO made of topics: 3 rows")
    other = topics().merge(frame_of(WORKERS, {"worker_id": "w"}), how="cross")
    assert repr(other).startswith("DEMO frame: 3 rows")
    without = frame_of(TOPICS, {"topic": "a"})
    assert pd.concat([without, without]).attrs == {}


@pytest.mark.parametrize("schema", EVERY, ids=lambda schema: schema.name)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_every_frame_can_be_shown_full_empty_and_in_parts(schema: Schema, rows: int) -> None:
    values: dict[str, Any] = {
        **dict.fromkeys(("name", "text"), "x y z " * 30),
        **dict.fromkeys(("count", "bytes"), 3),
        **dict.fromkeys(("ratio", "share", "rate"), 0.5),
        **dict.fromkeys(("span", "offset"), 261.597067),
        "id": "70993322-10aa-4538-a3ee-1d952d1d7e57",
        "flag": True,
        "time": AT,
        "names": ["a", "b"],
        "object": {"to": MASKED},
    }
    full = [values[column.kind] for column in schema.columns]
    for row in (full, [None] * len(full)):
        frame = frame_from(schema, [row] * rows)
        parts = (frame, frame.iloc[:, :1], frame.iloc[:, -2:], frame.iloc[:, ::-1])
        for part in parts:
            text, html = repr(part), html_of(part)
            assert max(map(len, text.split("\n"))) <= 80 or part.shape[1] < len(full)
            assert "tasktools-frame" in html
            assert "0 days" not in text + html
            assert "597067" not in text


def test_the_demos_frames_say_all_that_is_in_their_attrs() -> None:
    with tt.connect("demo://") as cluster:
        for frame in (cluster.workers(), cluster.dead_letters("orders"), cluster.stats()):
            for shown in (repr(frame), html_of(frame)):
                assert "DEMO" in shown
                assert all(source in shown for source in frame.attrs["sources"])
                text = " ".join(shown.split())
                assert all(note in text for note in frame.attrs["notes"])


def test_a_hundred_thousand_rows_are_shown_at_once() -> None:
    """Only the rows that are shown are written."""
    row = {"key": "a" * 20, "task_id": "b" * 32, "topic": "emails", "last_death": AT, "size": 600}
    frame = frame_of(DEAD_LETTERS, *[row | {"kwargs": {"to": "a@b"}}] * 100_000)
    repr(frame)
    with spending(0.2, "both"):
        text, html = repr(frame), html_of(frame)
    assert "… 99,990 more rows" in text
    assert len(html) < 50_000


def test_the_options_of_pandas_hold() -> None:
    frame = frame_of(TOPICS, *[{"topic": f"t{n}", "queued": n} for n in range(70)])
    assert repr(frame).count("\nt") + repr(frame).count("  t") >= 10
    assert "… 60 more rows" in repr(frame)
    with pd.option_context("display.max_rows", None):
        assert "more rows" not in repr(frame)
    with pd.option_context("display.max_rows", 20, "display.min_rows", 5):
        assert "… 65 more rows" in repr(frame)
    with pd.option_context("display.notebook_repr_html", False):
        assert html_of(frame) == "None"
    with pd.option_context("display.width", 40):
        assert max(map(len, repr(frame).split("\n"))) <= 40
    with pd.option_context("display.large_repr", "info", "display.max_rows", 5):
        assert "RangeIndex: 70 entries" in repr(frame)


@pytest.mark.parametrize("width", [0, 1, 5, 20])
def test_a_display_without_room_is_as_narrow_as_can_be_read(width: int) -> None:
    with pd.option_context("display.width", width):
        for frame in (topics(), topics().head(1), topics().head(0)):
            assert max(map(len, repr(frame).split("\n"))) <= 20


def test_arrays_and_frames_in_cells_are_values_like_others() -> None:
    frame = topics().head(2)
    arrays: list[Any] = [np.array([1, 2]), np.array([])]
    frames: list[Any] = [topics(), pd.Series([1, 2])]
    frame = frame.assign(array=arrays, frame=frames)
    assert "[1, 2]" in repr(frame)
    assert "[1, 2]" in html_of(frame)
    assert export.rows(frame)[0]["array"] == [1, 2]


@pytest.mark.parametrize(
    ("attrs", "note"),
    [
        ({"notes": "checked by Ann"}, "note: checked by Ann"),
        ({"notes": None, "looks": None}, None),
        ({"notes": ["known"], "looks": [{}], "sources": ["a"]}, "note: known"),
        ({"notes": ["known"], "window": {}, "run": 1, "outcomes": []}, "note: known"),
        ({"notes": ["known"], "sources": {"events": {}}}, "note: known"),
    ],
)
def test_attrs_that_somebody_set_hide_no_rows(attrs: dict[Any, Any], note: str | None) -> None:
    frame = topics()
    frame.attrs = dict(attrs)
    for each in (frame, pd.concat([frame, frame.copy()])):
        for shown in (repr(each), html_of(each)):
            assert "topic" in shown
            assert note is None or shown.count(note) == 1


def test_columns_that_are_no_names_are_shown_by_pandas() -> None:
    wide = topics().pivot_table(index="topic", values="queued", columns="consumers")
    assert "tasktools-frame" not in html_of(wide)
    assert str(np.nan) in str(wide) or "<NA>" in str(wide)
