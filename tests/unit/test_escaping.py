"""A name in a frame looks like what it is, and still works as an argument."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.escaping import StrangersText, as_shown, harmless
from tasktools.core.frames import build, schemas
from tasktools.core.frames.schema import DTYPES

DISGUISED = [
    *("emails\u202egpj.exe", "a\u2066b\u2069", "zero\u200bwidth", "soft\u00adhyphen", "nul\x00x"),
    *("\x1b[31mred", "bell\x07", "back\x08", "line\rline", "\ufeffbom", "\ud800", "tag\U000e0041"),
    *("filler\u3164", "braille\u2800", "selector\ufe0f", "joiner\u034f", "nbsp\u00a0", "\u2028"),
]


def _frame(text: str) -> pd.DataFrame:
    values = {"string": text, "object": [text, {text: [text]}], "Int64": 1, "Float64": 0.5}
    row = [values.get(DTYPES[column.kind]) for column in schemas.DEAD_LETTERS.columns]
    return build.frame_from(schemas.DEAD_LETTERS, [row])


def _html(frame: Any) -> str:
    """Return what a notebook shows of *frame*."""
    html: str = frame._repr_html_()
    return html


@pytest.mark.parametrize("text", DISGUISED, ids=ascii)
def test_a_disguised_text_is_written_out_wherever_a_frame_is_shown(text: str) -> None:
    """Issue 11, secrets: bidi overrides disguised names in frames."""
    frame = _frame(text)
    hidden = [c for c in text if harmless(c) != c]
    assert hidden
    with pd.option_context("display.max_columns", None, "display.max_colwidth", None):
        shown = [repr(frame), frame.to_html(), frame.to_string(), _html(frame)]
        shown += [
            repr(frame["topic"]),
            frame[["topic"]].head(1).T.to_html(),
            str(frame["topic"][0]),
        ]
        shown += [repr(frame["kwargs"].to_list()), frame.sort_values("topic").to_string()]
    for shown_text in shown:
        assert not any(c in shown_text for c in hidden), ascii(shown_text)
        assert harmless(hidden[0]) in shown_text


@pytest.mark.parametrize("text", DISGUISED, ids=ascii)
def test_its_value_is_exact(text: str) -> None:
    """Issue 11, secrets: names are needed for acting."""
    frame = _frame(text)
    assert frame["topic"].dtype == "string"
    value = frame["topic"][0]
    assert value == text
    assert hash(value) == hash(text)
    assert (frame["topic"] == text).all()
    assert f"{value}.dead" == f"{text}.dead"
    assert value + "" == text
    assert frame["kwargs"][0] == [text, {text: [text]}]
    assert json.loads(json.dumps(frame["kwargs"][0])) == [text, {text: [text]}]
    for copied in (pickle.loads(pickle.dumps(frame)), copy.deepcopy(frame), frame.copy()):  # noqa: S301
        assert copied["topic"][0] == text
    assert type(pickle.loads(pickle.dumps(value))) is str  # noqa: S301


def test_an_ordinary_text_is_a_plain_string() -> None:
    for text in ("emails", "Grüße 你好", "line\nline\tline", "C:\\Users", "costs $5 or $6"):
        assert type(as_shown(text)) is str


def test_a_traceback_with_a_control_character_keeps_its_lines() -> None:
    assert str(StrangersText("a\n\tb\x1b")) == "a\n\tb\\x1b"


@pytest.mark.parametrize("name", ["jobs\u202e", "a\u200bb"])
def test_a_name_that_was_taken_from_a_frame_works(name: str) -> None:
    """Issue 11, secrets: topics, tasks and keys, as arguments of other calls."""
    with tt.connect("memory://") as cluster:
        cluster.publish(name, name, kwargs={name: name}, create=True)
        topic = cluster.topics()["topic"][0]
        row = cluster.peek(topic).iloc[0]
        message = cluster.message(row["queue"], row["key"])
        assert message is not None
        assert message.task.task_name == name
        cluster.publish(row["topic"], row["task_name"], kwargs=row["kwargs"])
        queued = cluster.active_tasks(topic)
        assert queued["kwargs"].tolist() == [{name: name}] * 2
        cluster.create_topic("target")
        plan = cluster.plan_replay(cluster.peek(topic), "target")
        outcome = cluster.run(plan, reason="test")
        assert outcome["outcome"].tolist() == ["replayed"] * 2
        groups = tt.failure_groups(cluster.peek("target"), by="task_name")
        assert groups["group"].tolist() == [name]


def test_nothing_in_a_frame_is_typeset() -> None:
    """Issue 11, secrets: `$…$` in names was typeset by MathJax."""
    html = _html(_frame(r"a$\frac{1}{2}$b"))
    assert "tex2jax_ignore" in html
    assert "mathjax_ignore" in html
    assert r"a$\frac{1}{2}$b" in html


def test_json_of_other_libraries_has_the_exact_value_or_is_readable() -> None:
    value: Any = StrangersText("a\u202e")
    assert json.loads(json.dumps(value)) == "a\u202e"
    assert msgspec.json.Encoder(enc_hook=str).encode([value]) == b'["a\\\\u202e"]'
