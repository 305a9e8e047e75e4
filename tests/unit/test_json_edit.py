"""A value of a JSON text is changed, and all the rest stays as it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.tasks.json_edit import Change, Misplaced, changed

MANY = settings(max_examples=300, deadline=None, derandomize=True)
SPACE = st.sampled_from(["", " ", "\n\t"])
LEAVES = st.sampled_from(
    ["1", "1.0", "-0", "1e400", "0.10", "12345678901234567890123", "9" * 5_000, "NaN", "-Infinity",
     "true", "null", '"ä"', '"\\u00e4"', '"\\ud800"', '"a\\/b"', '"{[,:]}\\""', "{}", "[ ]"]
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "ä", "", "a.b", 'quo"ted', "0"])


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(inner, max_size=4))
    return "[" + ",".join(draw(SPACE) + item + draw(SPACE) for item in items) + "]"


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(KEYS, max_size=4, unique=True))
    items = (f"{draw(SPACE)}{json.dumps(k)}{draw(SPACE)}:{draw(SPACE)}{draw(inner)}" for k in keys)
    return "{" + ",".join(items) + draw(SPACE) + "}"


TEXTS: st.SearchStrategy[str] = st.recursive(
    LEAVES, lambda inner: arrays(inner) | objects(inner), max_leaves=12
).filter(lambda text: text[0] in "[{")


def exact(text: str) -> Any:
    """Read *text* so that everything counts: how numbers are written, the order of keys."""
    return json.loads(
        text,
        parse_int=lambda number: ("number", number),
        parse_float=lambda number: ("number", number),
        parse_constant=lambda number: ("number", number),
        object_pairs_hook=lambda pairs: {"pairs": pairs},
    )


def paths_in(value: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    items = value["pairs"] if isinstance(value, dict) else value
    if not isinstance(items, list):
        return [above]
    pairs = items if isinstance(value, dict) else enumerate(items)
    paths = [p for key, item in pairs for p in paths_in(item, (*above, str(key)))]
    return [above, *paths]


def replaced(value: Any, path: Sequence[str], new: list[Any]) -> Any:
    """Return *value* with what is at *path* replaced by the items *new*: one, or none."""
    key, *rest = path
    pairs = value["pairs"] if isinstance(value, dict) else list(enumerate(value))
    done = []
    for name, item in pairs:
        if str(name) != key:
            done.append((name, item))
        elif rest:
            done.append((name, replaced(item, rest, new)))
        else:
            done += [(name, new_path) for new_path in new]
    return {"pairs": done} if isinstance(value, dict) else [item for _, item in done]


def nest(path: Sequence[str], change: Change) -> dict[str, Change]:
    key, *rest = path
    return {key: nest(rest, change) if rest else change}


@given(TEXTS, st.data())
@MANY
def test_nothing_changes_but_the_place_that_is_named(text: str, data: st.DataObject) -> None:
    before = exact(text)
    paths = paths_in(before)[1:]
    if not paths:
        assert exact(changed(text, {})) == before
        return
    path = data.draw(st.sampled_from(paths))
    assert exact(changed(text, nest(path, '"new"'))) == replaced(before, path, ["new"])
    assert exact(changed(text, nest(path, None))) == replaced(before, path, [])


@given(TEXTS)
@MANY
def test_what_is_beside_the_change_is_copied_as_it_is_written(text: str) -> None:
    assert changed(f'{{"kept": {text}, "a": 1}}', {"a": "2"}) == f'{{"kept": {text}, "a": 2}}'
    assert changed(f"[{text}, 1]", {"1": None}) == f"[{text}]"


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ('{"a": 1}', {"b": "2"}, '{"a": 1, "b": 2}'),
        ("{}", {"ä": '"x"'}, '{"ä": "x"}'),
        ("[]", {"0": "1"}, "[1]"),
        ("[1]", {"1": "2"}, "[1, 2]"),
        ("[1, 2, 3]", {"0": None, "2": None}, "[2]"),
        ("[1, 2, 3]", {"0": None, "1": "5", "3": "4"}, "[5, 3, 4]"),
        ('{"a": {"b": [1]}}', {"a": {"b": {"0": "3"}, "c": "4"}}, '{"a": {"b": [3], "c": 4}}'),
        (' {"a" : 1 , "b":2}\n', {"b": "3"}, '{"a" : 1, "b":3}'),
        ('{"x": 1, "x": 2, "a": 1}', {"a": "2"}, '{"x": 1, "x": 2, "a": 2}'),
    ],
)  # fmt: skip
def test_several_changes_all_mean_the_text_as_it_was(
    text: str, changes: dict[str, Change], expected: str
) -> None:
    assert changed(text, changes) == expected


@pytest.mark.parametrize(
    ("text", "changes", "path", "why"),
    [
        ('{"a": 1}', {"b": None}, ("b",), "is not there"),
        ('{"a": 1}', {"b": {"c": "1"}}, ("b",), "is not there"),
        ('{"a": 1}', {"a": {"c": "1"}}, ("a",), "is neither an object nor an array"),
        ('{"a": "[]"}', {"a": {"0": "1"}}, ("a",), "is neither an object nor an array"),
        ('{"a": [1]}', {"a": {"2": "1"}}, ("a", "2"), "is not there"),
        ('{"a": [1]}', {"a": {"01": "1"}}, ("a", "01"), "is not there"),
        ('{"a": [1]}', {"a": {"-1": "1"}}, ("a", "-1"), "is not there"),
        ('{"a": [1]}', {"a": {"x": "1"}}, ("a", "x"), "is not there"),
        ('{"a": 1, "\\u0061": 2}', {"a": "1"}, ("a",), "is there more than once"),
        ("7", {"a": "1"}, (), "is neither an object nor an array"),
    ],
)
def test_a_change_without_a_place_is_refused(
    text: str, changes: dict[str, Change], path: tuple[str, ...], why: str
) -> None:
    with pytest.raises(Misplaced, match=why) as refused:
        changed(text, changes)
    assert refused.value.path == path


@pytest.mark.parametrize(
    "text",
    ["{", "[1", "[1,]", "[1 2]", '{"a":1,}', '{"a" 1}', "{a: 1}", '{"a": 1]', '{"a": 1} x', "[,1]",
     "{1: 2}", '["a]', "[tru]", '["\n"]'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        changed(text, {"a" if text[0] == "{" else "0": "1"})
