"""Edits of a task message: by path, checked, applied to the bytes, shown without secrets."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.errors import InvalidPlan
from tasktools.core.redaction import MASKED, mask
from tasktools.core.tasks import edits
from tasktools.core.tasks.edits import NOT_KNOWN, NOT_THERE, REMOVE, misfit
from tests.unit.json_values import ARGUMENTS, NAMES

MANY = settings(max_examples=200, deadline=None, derandomize=True)


# --- edits as a value ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["args.0", "args.0.to", "kwargs.to", "kwargs.address.city", "kwargs.0", "headers.type"],
)
@given(value=ARGUMENTS)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_any_json_is_a_new_value(path: str, value: Any) -> None:
    assert edits.checked({path: value}) == {path: value}
    assert edits.checked({path: REMOVE}) == {path: REMOVE}


@pytest.mark.parametrize(
    "path",
    ["", "x", "arg.0", "payload.kwargs.to", "kwargs.", "kwargs..to", "headers", "task_name.x",
     "attempts.0", "args.x", "args.-1", "args.01", "args.\u0661", "id", "task_id", "topic",
     ".kwargs"],
)  # fmt: skip
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidPlan, match="nothing was done"):
        edits.checked({path: 1})


@pytest.mark.parametrize("paths", [("kwargs", "kwargs.to"), ("kwargs.a.b.c", "kwargs.a")])
def test_edits_that_overlap_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(InvalidPlan, match="overlap"):
        edits.checked({path: {} for path in paths})


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, {"a", "b"}, b"bytes", math.nan, -math.inf, "\ud800",
     pytest.param(10**5_000, id="huge"), pd.NA, pd.NaT, NOT_THERE, [REMOVE],
     np.datetime64("2026-11-24"), object()],
)  # fmt: skip
def test_a_value_that_json_does_not_have_is_refused(value: Any) -> None:
    for put in (value, [value], {"deep": [{"er": value}]}):
        with pytest.raises(InvalidPlan, match=r"kwargs\.x cannot be given this value"):
            edits.checked({"kwargs.x": put})


def test_a_value_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidPlan, match="nested too deeply"):
        edits.checked({"kwargs.x": endless})


@pytest.mark.parametrize(
    "value",
    [
        MASKED,
        [MASKED],
        {"deep": [{"er": (1, MASKED)}]},
        repr(MASKED),
        {"•••": 1},
        mask({"password": "hunter2"}),
        mask(["amqp://ops:hunter2@rabbit/"]),
    ],
)
def test_a_masked_secret_is_never_a_new_value(value: Any) -> None:
    with pytest.raises(InvalidPlan, match="stands for a secret"):
        edits.checked({"kwargs.x": value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("args", {}), ("args", None), ("kwargs", []), ("task_name", ""), ("task_name", 1),
        ("func_name", "send_email"), ("func_name", None), ("attempts", True), ("attempts", -1),
        ("attempts", 1.5), ("max_retries", "3"), ("retry_delay", -0.5), ("retry_delay", None),
        ("args", REMOVE), ("kwargs", REMOVE), ("task_name", REMOVE), ("func_name", REMOVE),
        ("attempts", REMOVE), ("expires_at", "tomorrow"), ("expires_at", 7), ("expires_at", pd.NaT),
    ],
)  # fmt: skip
def test_what_a_peer_would_choke_on_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidPlan, match=f"^{field} (cannot|must) be"):
        edits.checked({field: value})


def test_fields_take_values_of_their_types() -> None:
    fields = {
        "args": [1],
        "kwargs": {},
        "task_name": "a",
        "func_name": "m.n:f",
        "attempts": 0,
        "max_retries": REMOVE,
        "retry_delay": 1.5,
        "expires_at": "2026-12-01T08:00:00+00:00",
    }
    assert edits.checked(fields) == fields


@pytest.mark.parametrize(
    "value",
    ["2026-12-01T09:00:00+01:00", "2026-12-01 08:00", pd.Timestamp("2026-12-01T08:00Z"),
     datetime(2026, 12, 1, 8, tzinfo=UTC)],
)  # fmt: skip
def test_a_time_is_one_in_utc(value: Any) -> None:
    assert edits.checked({"expires_at": value}) == {"expires_at": "2026-12-01T08:00:00+00:00"}


def test_checked_edits_belong_to_nobody_else() -> None:
    given_list = [1]
    checked = edits.checked({"kwargs.ids": given_list, "args": (np.int64(2), np.float64(0.5))})
    given_list.append(2)
    assert checked == {"kwargs.ids": [1], "args": [2, 0.5]}
    assert [type(item) for item in checked["args"]] == [int, float]


@pytest.mark.parametrize("value", [None, [("kwargs.to", "x")], "kwargs.to", {0: "x"}])
def test_edits_that_are_no_dict_of_paths_are_refused(value: Any) -> None:
    with pytest.raises(InvalidPlan, match="a dict of paths"):
        edits.checked(value)


@given(st.dictionaries(NAMES.map("kwargs.{}".format), ARGUMENTS | st.just(REMOVE), max_size=4))
@MANY
def test_edits_survive_a_file(changes: dict[str, Any]) -> None:
    stored = json.loads(json.dumps(edits.to_json(changes)))
    assert edits.from_json(stored) == changes


def test_no_edits_are_kept_as_nothing() -> None:
    assert edits.to_json({}) == {}
    assert edits.from_json({}) == {}


def test_a_masked_secret_in_a_file_is_refused() -> None:
    with pytest.raises(InvalidPlan, match="stands for a secret"):
        edits.from_json({"set": {"kwargs.token": "•••"}})


# --- before and after ------------------------------------------------------------------


def test_before_and_after_are_shown_without_secrets() -> None:
    row = {
        "args": [1],
        "kwargs": mask({"to": "a@b", "token": "t", "login": {"password": "p"}, "auth": {"a": "b"}}),
        "headers": {"type": "task"},
        "task_name": "send",
        "attempts": 2,
        "max_retries": pd.NA,
    }
    changes = {
        "args.0": 2,
        "args.1": 3,
        "kwargs.to": "x",
        "kwargs.cc": "y",
        "kwargs.token": "new",
        "kwargs.login.password": REMOVE,
        "kwargs.auth.a": "new",
        "kwargs.url": "http://u:hunter2@host",
        "headers.type": REMOVE,
        "attempts": 0,
        "max_retries": 1,
        "func_name": "m:f",
    }
    assert edits.before_after(row, changes) == [
        ("args.0", 1, 2),
        ("args.1", NOT_THERE, 3),
        ("kwargs.to", "a@b", "x"),
        ("kwargs.cc", NOT_THERE, "y"),
        ("kwargs.token", MASKED, MASKED),
        ("kwargs.login.password", MASKED, NOT_THERE),
        ("kwargs.auth.a", MASKED, MASKED),
        ("kwargs.url", NOT_THERE, "http://u:•••@host"),
        ("headers.type", "task", NOT_THERE),
        ("attempts", 2, 0),
        ("max_retries", NOT_KNOWN, 1),
        ("func_name", NOT_KNOWN, "m:f"),
    ]


@pytest.mark.parametrize("lost", [None, pd.NA, math.nan])
def test_of_a_body_that_was_not_read_nothing_is_known(lost: Any) -> None:
    assert edits.before_after({"kwargs": lost}, {"kwargs.to": 1}) == [("kwargs.to", NOT_KNOWN, 1)]


def test_marks_are_shown_in_words() -> None:
    assert repr([NOT_THERE, NOT_KNOWN]) == "[(not there), (not known)]"


# --- arguments and their function ------------------------------------------------------


def f0() -> None: ...
def f1(to: str, subject: str = "") -> None: ...
def f2(a: int, /, b: int, *, c: int, d: int = 0) -> None: ...
def f3(a: int, /, *rest: int, c: int = 0) -> None: ...
def f4(a: int, /, b: int = 0, **more: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (f1, ["x"], {}, None),
        (f1, [], {"too": "x"}, "missing argument 'to'; unexpected argument 'too'"),
        (f1, ["x"], {"to": "y"}, "argument 'to' given twice"),
        (f1, [1, 2, 3], {}, "3 positional arguments instead of 2"),
        (f2, [1], {}, "missing argument 'b'; missing argument 'c'"),
        (f2, [], {"a": 1, "b": 1, "c": 1}, "missing argument 'a'; unexpected argument 'a'"),
        (f4, [1], {"a": 1}, None),
    ],
)
def test_arguments_that_do_not_fit_are_said_in_words(
    function: Callable[..., None], args: list[Any], kwargs: dict[str, Any], expected: str | None
) -> None:
    assert misfit(inspect.signature(function), args, kwargs) == expected


@given(
    st.sampled_from([f0, f1, f2, f3, f4]),
    st.lists(st.just(0), max_size=4),
    st.dictionaries(st.sampled_from("a b c d to subject rest more".split()), st.just(0)),  # noqa: SIM905
)
@MANY
def test_arguments_fit_exactly_if_python_can_bind_them(
    function: Callable[..., None], args: list[Any], kwargs: dict[str, Any]
) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        assert misfit(signature, args, kwargs)
    else:
        assert misfit(signature, args, kwargs) is None
