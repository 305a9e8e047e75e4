"""Reading what somebody else wrote: a lie is nothing."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core import untrusted
from tasktools.core.clock import moment

FEW = settings(max_examples=50, deadline=None, derandomize=True)
ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)


@pytest.mark.parametrize(("value", "read"), [(0, 0), (7, 7), (7.0, 7), (2**40, 2**40)])
def test_a_whole_number_of_things_is_a_count(value: float, read: int) -> None:
    assert untrusted.count(value) == read


@pytest.mark.parametrize(
    "value", [-1, 0.5, True, "7", None, math.nan, math.inf, 2**40 + 2, 10**400, [1]]
)
def test_anything_else_is_no_count(value: object) -> None:
    assert untrusted.count(value) is None


@pytest.mark.parametrize("value", [True, "1", None, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_not_finite_is_no_number(value: object) -> None:
    assert untrusted.number(value) is None


def test_a_number_may_be_negative() -> None:
    assert untrusted.number(-2) == -2.0


@pytest.mark.parametrize(
    ("value", "read"), [(0, 0), (1.5, 1.5), (-0.1, None), (1e11, None), (True, None), ("2", None)]
)
def test_a_span_is_no_longer_than_a_frame_can_hold(value: object, read: float | None) -> None:
    assert untrusted.span(value) == read


@pytest.mark.parametrize(("value", "read"), [("a", "a"), ("", None), (5, None), (None, None)])
def test_only_a_string_with_something_in_it_is_text(value: object, read: str | None) -> None:
    assert untrusted.text(value) == read


def test_names_are_the_texts_of_a_list() -> None:
    assert untrusted.names(["a", "", 5, None, "b"]) == ("a", "b")
    assert untrusted.names("ab") == ()


def test_a_mapping_is_a_dict_or_empty() -> None:
    assert untrusted.mapping({"a": 1}) == {"a": 1}
    assert untrusted.mapping([("a", 1)]) == {}


def test_a_time_without_zone_is_utc() -> None:
    assert untrusted.time("2026-11-24 02:49:03.395753") == datetime(
        2026, 11, 24, 2, 49, 3, 395753, UTC
    )


def test_a_time_with_zone_is_turned_into_utc() -> None:
    assert untrusted.time("2026-11-24T02:49:03+02:00") == datetime(
        2026, 11, 24, 0, 49, 3, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "value", ["", "yesterday", 5, None, "0001-01-01T00:00:00+23:59", "2026-13"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert untrusted.time(value) is None
    assert untrusted.epoch(value) is None


def test_the_end_of_time_is_no_epoch() -> None:
    assert untrusted.time("9999-12-31T23:59:59.999999") is not None
    assert untrusted.epoch("9999-12-31T23:59:59.999999") is None


@FEW
@given(st.datetimes())
def test_every_epoch_is_a_moment_again(time: datetime) -> None:
    seconds = untrusted.epoch(time.isoformat())
    if seconds is not None:
        assert abs((moment(seconds) - time.replace(tzinfo=UTC)).total_seconds()) < 0.001


@FEW
@given(ANYTHING)
def test_no_reader_ever_raises(value: Any) -> None:
    for read in (
        untrusted.text,
        untrusted.count,
        untrusted.number,
        untrusted.span,
        untrusted.mapping,
        untrusted.names,
    ):
        read(value)
    assert untrusted.epoch(value) is None or isinstance(value, str)
