"""Failures are grouped by whatever one likes, and every failure is in one group."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.failure_groups import failure_groups, group_table
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import FAILURE_GROUPS
from tasktools.core.frames.table import Table
from tasktools.core.redaction import MASKED
from tests.timing import spending

T0 = datetime(2026, 11, 24, tzinfo=UTC)
DTYPES_OF_GROUPS = {c.name: DTYPES[c.kind] for c in FAILURE_GROUPS.columns}


def after(minutes: int) -> datetime:
    return T0 + timedelta(minutes=minutes)


def dead(*rows: dict[str, Any]) -> pd.DataFrame:
    numbered = ({"key": f"k{n}", **row} for n, row in enumerate(rows))
    return frame_from(
        schemas.DEAD_LETTERS,
        [[row.get(name) for name in schemas.DEAD_LETTERS.names] for row in numbered],
    )


FAILED = dead(
    {"fingerprint": "E <n>", "error": "1", "task_name": "a", "topic": "y", "last_death": after(3)},
    {"fingerprint": "F", "task_name": "a", "topic": "x", "first_death": after(1)},
    {"fingerprint": "E <n>", "error": "2", "task_name": "b", "topic": "x", "last_death": after(9)},
    {"fingerprint": "E <n>", "error": "3", "task_name": "a", "topic": "y", "last_death": after(5)},
    {"kwargs": {"to": "ann"}, "published_at": after(2)},
)  # fmt: skip


def test_each_kind_of_failure_is_one_row() -> None:
    groups = failure_groups(FAILED)
    assert dict(groups.dtypes.astype(str)) == DTYPES_OF_GROUPS
    assert groups.iloc[0].to_dict() == {
        "group": "E <n>",
        "count": 3,
        "share": 0.6,
        "first": after(3),
        "last": after(9),
        "tasks": 2,
        "topics": ["x", "y"],
        "example": "k2",
        "example_error": "2",
        "error_kind": None,
        "fingerprint_why": None,
    }


def test_the_largest_group_is_first_and_others_keep_their_order() -> None:
    groups = failure_groups(dead(*({"fingerprint": f} for f in "cabbad")))
    assert groups["group"].tolist() == ["a", "b", "c", "d"]
    assert groups["count"].tolist() == [2, 2, 1, 1]
    assert groups.index.tolist() == [0, 1, 2, 3]


def test_failures_without_a_fingerprint_are_a_group_that_is_missing() -> None:
    groups = failure_groups(FAILED)
    missing = groups[groups["group"].isna()].iloc[0]
    assert (missing["count"], missing["example"]) == (1, "k4")
    assert missing[["tasks", "topics", "example_error"]].isna().all()


def test_the_time_is_that_of_the_last_death_that_is_known() -> None:
    groups = failure_groups(FAILED, by="key").set_index("group")
    assert groups["first"].to_dict() == {
        "k0": after(3), "k1": after(1), "k2": after(9), "k3": after(5), "k4": after(2),
    }  # fmt: skip
    assert groups["last"].equals(groups["first"])


def test_several_columns_make_a_group_together() -> None:
    groups = failure_groups(FAILED, by=["task_name", "topic"])
    assert groups["group"].tolist()[:3] == ["a · y", "a · x", "b · x"]
    assert groups["group"].isna().tolist() == [False, False, False, True]
    assert groups["count"].tolist() == [2, 1, 1, 1]
    assert failure_groups(FAILED.iloc[4:], by=["topic", "key"])["group"].tolist() == ["? · k4"]


def test_texts_that_look_alike_when_joined_stay_apart() -> None:
    frame = dead({"task_name": "a · b", "topic": "c"}, {"task_name": "a", "topic": "b · c"})
    assert failure_groups(frame, by=["task_name", "topic"])["count"].tolist() == [1, 1]


def counts(frame: pd.DataFrame, by: Any) -> dict[Any, int]:
    """Return how many rows of *frame* are in each group."""
    groups = failure_groups(frame, by=by)
    names = [None if pd.isna(name) else name for name in groups["group"]]
    return dict(zip(names, groups["count"], strict=True))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (lambda row: row.topic, {"y": 2, "x": 2, None: 1}),
        (lambda row: (row.task_name, row.topic), {"a · y": 2, "a · x": 1, "b · x": 1, None: 1}),
        (lambda row: row.kwargs and row.kwargs["to"], {"ann": 1, None: 4}),
        (lambda row: row.kwargs, {"{'to': 'ann'}": 1, None: 4}),
        (lambda row: row.position, {None: 5}),
        (lambda row: pd.isna(row.error), {"False": 3, "True": 2}),
        ("kwargs", {"{'to': 'ann'}": 1, None: 4}),
        ("position", {None: 5}),
    ],
)
def test_any_column_and_any_function_of_a_row_can_group(by: Any, expected: dict[Any, int]) -> None:
    assert counts(FAILED, by) == expected


EXPIRED = {"reason": "expired", "topic": "orders"}


@pytest.mark.parametrize("fingerprint", ["expired in orders", None])
def test_a_death_without_an_error_is_named_by_what_is_known_of_it(fingerprint: Any) -> None:
    """It was a group called "?", or one without a name."""
    frame = dead(
        {"error_type": "TypeError", "fingerprint": "TypeError: x", "topic": "orders"},
        {**EXPIRED, "fingerprint": fingerprint},
        {**EXPIRED, "fingerprint": fingerprint},
        {"error": "an error without a type", "fingerprint": "an error", **EXPIRED},
    )
    known = "expired in orders"
    by: Any
    for by in ("error_type", lambda row: row.error_type):
        assert counts(frame, by) == {known: 2, "TypeError": 1, None: 1}
    for by in (["error_type", "topic"], lambda row: (row.error_type, row.topic)):
        assert counts(frame, by) == {
            f"{known} · orders": 2,
            "TypeError · orders": 1,
            "? · orders": 1,
        }
    table = Table.of_frame(frame, schemas.DEAD_LETTERS)
    groups = group_table(table, ["error_type", "topic"])
    assert groups["group"] == [f"{known} · orders", "TypeError · orders", "? · orders"]
    assert counts(frame, "kwargs") == {None: 4}


def test_a_path_into_arguments_and_headers_can_group() -> None:
    frame = dead(
        {"kwargs": {"customer": {"id": 7}}, "headers": {"tenant": "acme"}, "args": ["a"]},
        {"kwargs": {"customer": {"id": 7}}, "headers": {"tenant": "other"}},
        {"kwargs": {"customer": "no object"}, "args": ["a", "b"]},
    )
    groups = {by: counts(frame, by) for by in ("kwargs.customer.id", "headers.tenant", "args.1")}
    assert groups == {
        "kwargs.customer.id": {"7": 2, None: 1},
        "headers.tenant": {"acme": 1, "other": 1, None: 1},
        "args.1": {None: 2, "b": 1},
    }
    both = failure_groups(frame, by=["headers.tenant", "kwargs.customer.id"])
    assert both["group"].tolist()[0] == "acme · 7"
    with pytest.raises(ValueError, match=r"no column error\.type"):
        failure_groups(frame, by="error.type")


def test_a_masked_value_groups_without_being_shown() -> None:
    frame = dead({"kwargs": {"token": MASKED}}, {"kwargs": {"token": MASKED}})
    assert failure_groups(frame, by=lambda row: row.kwargs["token"])["group"].tolist() == ["•••"]


def test_what_a_function_raises_is_not_hidden() -> None:
    with pytest.raises(TypeError):
        failure_groups(FAILED, by=lambda row: row.kwargs["to"])


def test_any_frame_with_the_column_can_be_grouped() -> None:
    groups = failure_groups(pd.DataFrame({"why": ["a", "b", "a"]}, index=[7, 7, 7]), by="why")
    assert dict(groups.dtypes.astype(str)) == DTYPES_OF_GROUPS
    assert groups["count"].tolist() == [2, 1]
    known = ["group", "count", "share"]
    assert groups[known].notna().all(axis=None)
    assert groups.drop(columns=known).isna().all(axis=None)


@pytest.mark.parametrize("by", ["fingerprint", ["task_name", "topic"], lambda row: row.topic])
def test_no_failures_are_no_groups(by: Any) -> None:
    groups = failure_groups(dead(), by=by)
    assert groups.empty
    assert dict(groups.dtypes.astype(str)) == DTYPES_OF_GROUPS


@pytest.mark.parametrize(
    ("frame", "by", "message"),
    [
        (FAILED, "fingerprnt", "no column fingerprnt; it has key, queue"),
        (FAILED, ["topic", "a", "b"], "no column a or b"),
        (FAILED, [], "no column to group by"),
        (pd.DataFrame(), "fingerprint", "it has none"),
        ([{"fingerprint": "x"}], "fingerprint", "not in a list"),
    ],
)
def test_what_cannot_be_grouped_is_said(frame: Any, by: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        failure_groups(frame, by=by)


def test_the_frame_stays_as_it_was_and_a_demo_stays_a_demo() -> None:
    frame = FAILED.copy(deep=True)
    frame.attrs = {"demo": "DEMO", "cluster": "<demo>", "sources": {"look": {}}}
    before = frame.copy(deep=True)
    assert failure_groups(frame).attrs == {"demo": "DEMO", "cluster": "<demo>"}
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(0, 9) | st.none())))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_failure_is_in_exactly_one_group(
    failures: list[tuple[str | None, int | None]],
) -> None:
    rows = [
        {"fingerprint": f, "last_death": None if minute is None else after(minute)}
        for f, minute in failures
    ]
    groups = failure_groups(dead(*rows))
    assert groups["count"].sum() == len(failures)
    assert groups["share"].sum() == pytest.approx(1 if failures else 0)
    for group in groups.itertuples():
        name = None if group.group is pd.NA else group.group
        known = [after(minute) for f, minute in failures if f == name and minute is not None]
        assert group.first is pd.NaT if not known else group.first == min(known)
        assert group.last is pd.NaT if not known else group.last == max(known)
        example = failures[int(str(group.example)[1:])]
        assert example[0] == name
        assert not known or (example[1] is not None and after(example[1]) == max(known))


def test_a_hundred_thousand_failures_are_grouped_at_once() -> None:
    frame = pd.concat([FAILED] * 20_000, ignore_index=True)
    with spending(0.3, "groups"):
        groups = failure_groups(frame)
    assert groups["count"].tolist() == [60_000, 20_000, 20_000]


def test_a_group_says_what_its_fingerprint_is_made_of() -> None:
    rows = ({"fingerprint": "E: x", "error_kind": "E in a.py:f", "fingerprint_why": "w"},) * 2
    frame = dead(*rows)
    frame.attrs["fingerprint_version"] = 1
    groups = failure_groups(frame)
    assert groups[["error_kind", "fingerprint_why"]].iloc[0].tolist() == ["E in a.py:f", "w"]
    assert groups.attrs == {"fingerprint_version": 1}
    by_kind = failure_groups(frame, by=["error_kind", "fingerprint"])
    assert by_kind["group"].tolist() == ["E in a.py:f · E: x"]
