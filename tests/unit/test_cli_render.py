"""Frames as tables and JSON: nothing is lost, nothing is obeyed."""

import json
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from tasktools.cli import render
from tasktools.core.clock import moment
from tasktools.core.frames import build, schemas
from tasktools.core.frames.capacity_schemas import DRAIN_FORECAST
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.schemas import ACTIVE_TASKS, TOPICS, WORKERS
from tasktools.core.redaction import MASKED


def frame_of(schema: Schema, *rows: dict[str, Any]) -> pd.DataFrame:
    return build.frame_from(schema, [[row.get(name) for name in schema.names] for row in rows])


def drawn(frame: pd.DataFrame, schema: Schema, width: int | None = None) -> str:
    console = Console(width=width or 20_000, color_system=None)
    with console.capture() as captured:
        console.print(render.table(frame, schema, width=width)[0])
    return captured.get()


def in_colour(frame: pd.DataFrame, schema: Schema) -> str:
    console = Console(width=200, force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(render.table(frame, schema, width=200)[0])
    return captured.get()


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert render.harmless("a\x1b[31mb\n\u202ec\x9bd\ud800") == r"a\x1b[31mb\n\u202ec\x9bd\ud800"
    assert render.harmless("Grüße 你好") == "Grüße 你好"


def test_names_are_neither_markup_nor_orders_to_the_terminal() -> None:
    row = {"topic": "[red]x[/red]\x1b[2J", "task_name": "[/]", "state": "queued"}
    text = drawn(frame_of(ACTIVE_TASKS, row), ACTIVE_TASKS)

    assert r"[red]x[/red]\x1b[2J" in text
    assert "[/]" in text
    assert "\x1b" not in text


def test_a_pipe_gets_every_column_in_one_line_a_row() -> None:
    rows = [
        {"topic": f"topic-{number}" * 10, "queued": number, "concurrency_limit": 2}
        for number in range(3)
    ]
    header, *lines = drawn(frame_of(TOPICS, *rows), TOPICS).strip().split("\n")

    assert header.split() == list(TOPICS.main)
    assert [line.split()[:2] for line in lines] == [
        [f"topic-{number}" * 10, str(number)] for number in range(3)
    ]
    assert "…" not in "".join(lines)


def test_what_is_missing_is_a_dash_and_never_a_zero() -> None:
    line = drawn(frame_of(TOPICS, {"topic": "emails", "queued": 0}), TOPICS).split("\n")[1]

    assert line.split() == ["emails", "0", *["-"] * (len(TOPICS.main) - 2)]


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("level", 10.0, "10.0"),
        ("net", -0.02, "-0.02/s"),
        ("arrivals", 0.004, "0.004/s"),
        ("completions", 0.0, "0.0/s"),
        ("not_within", 0.25, "25%"),
    ],
)
def test_numbers_have_their_unit_and_a_small_one_is_not_none(
    column: str, value: float, text: str
) -> None:
    frame = frame_of(DRAIN_FORECAST, {"topic": "emails", column: value})
    assert text in drawn(frame, DRAIN_FORECAST).split("\n")[1].split()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_terminal_does_without_columns_rather_than_cutting_values(width: int) -> None:
    row = {
        "worker_id": "mail-1-11011-f2a74de4",
        "state": "alive",
        "running": 1,
        "capacity": 4,
        "topics": [f"topic-{number}" for number in range(20)],
        "silence": 1.0,
    }
    frame = frame_of(WORKERS, row)
    text, left_out = drawn(frame, WORKERS, width), render.table(frame, WORKERS, width=width)[1]

    assert "…" not in text
    assert max(map(len, text.split("\n"))) <= width
    assert "mail-1-11011-f2a74de4" in text
    assert all(name.split("_")[0] not in text for name in left_out)
    assert ("topic-19" in text) == ("topics" not in left_out)


def test_in_a_narrow_terminal_what_alarms_stays() -> None:
    """`failed` and `unacked` went before rates and types."""
    row = {
        "topic": "newsletters",
        "queued": 12_345,
        "unacked": 120,
        "running": 12,
        "dead_letter": 3,
        "consumers": 4,
        "subscribers": 4,
        "publish_rate": 1.5,
        "ack_rate": 1.5,
        "succeeded": 12_345,
        "failed": 17,
        "queue_type": "classic",
        "dead_lettering": True,
        "exists": True,
        "dialect": "fastpluggy",
    }
    text, left_out = (
        drawn(frame_of(TOPICS, row), TOPICS, 80),
        render.table(frame_of(TOPICS, row), TOPICS, width=80)[1],
    )
    assert max(map(len, text.split("\n"))) <= 80
    assert {"failed", "unacked"}.isdisjoint(left_out)
    assert left_out[0] == "concurrency_limit"  # nothing is known of it
    for alarm in ({"exists": False}, {"dead_lettering": False}, {"concurrency_limit": 0}):
        frame = frame_of(TOPICS, row | alarm)
        assert alarm.keys().isdisjoint(render.table(frame, TOPICS, width=80)[1])


def test_when_nothing_more_can_go_values_are_folded() -> None:
    text = drawn(frame_of(WORKERS, {"worker_id": "abcdefgh" * 4, "state": "gone"}), WORKERS, 40)

    assert "".join(c for c in text if c in "abcdefgh").count("abcdefgh") >= 3
    assert max(map(len, text.split("\n"))) <= 40


def test_states_are_coloured_and_readable_without_colour() -> None:
    frame = frame_of(WORKERS, {"worker_id": "w", "state": "gone"}, {"state": "alive"})

    assert "\x1b[1;31mgone" in in_colour(frame, WORKERS)
    assert "\x1b[32malive" in in_colour(frame, WORKERS)
    assert "gone" in drawn(frame, WORKERS)


def test_a_queue_that_loses_what_is_rejected_is_red() -> None:
    frame = frame_of(TOPICS, {"topic": "a", "dead_lettering": False, "exists": True})

    assert "\x1b[1;31mno" in in_colour(frame, TOPICS)


def test_arguments_are_shown_masked_and_a_huge_one_says_how_much_is_missing() -> None:
    rows: list[dict[str, Any]] = [
        {"state": "queued", "args": [1], "kwargs": {"to": "a@b", "password": MASKED}},
        {"state": "queued", "args": [], "kwargs": {"blob": "x" * 1_000_000}},
        {"state": "queued", "args": [], "kwargs": {}},
        {"state": "running"},
        {"state": "queued", "problem": "the body is not JSON"},
    ]
    frame = frame_of(ACTIVE_TASKS, *rows)
    lines = drawn(frame, ACTIVE_TASKS).split("\n")[1:]

    assert '[1] {"to": "a@b", "password": "•••"}' in lines[0]
    assert "[+999,712 characters]" in lines[1]
    assert lines[2].rstrip().endswith("none")
    assert lines[3].rstrip().endswith("-")
    assert "problem: the body is not JSON" in lines[4]


def test_the_wrong_clock_has_a_sign_and_a_right_one_is_zero() -> None:
    rows: list[dict[str, Any]] = [
        {"worker_id": "a", "clock_offset": 7200.0},
        {"worker_id": "b", "clock_offset": -0.4},
    ]
    first, second = drawn(frame_of(WORKERS, *rows), WORKERS).strip().split("\n")[1:]

    assert "+2 h" in first
    assert " 0 s " in second


def test_json_has_iso_times_seconds_nulls_and_masks() -> None:
    row = {
        "task_id": "t",
        "published_at": moment(1_800_000_000.5),
        "age": 1.5,
        "args": [float("nan"), float("inf"), b"\xff", moment(0)],
        "kwargs": {"token": MASKED, "deep": {"x": [None]}},
    }
    frame = frame_of(ACTIVE_TASKS, row)
    frame.attrs |= {"notes": ["n"], "looks": [{"queue": "q"}], "sources": {"events": {"ok": True}}}

    document = json.loads(render.document(frame))
    shown = document["rows"][0]

    assert list(shown) == list(ACTIVE_TASKS.names)
    assert shown["published_at"] == "2027-01-15T08:00:00.500000+00:00"
    assert shown["age"] == 1.5
    assert shown["attempts"] is None
    assert shown["args"] == [None, "inf", r"\xff", "1970-01-01T00:00:00+00:00"]
    assert shown["kwargs"] == {"token": "•••", "deep": {"x": [None]}}
    assert (document["notes"], document["looks"]) == (["n"], [{"queue": "q"}])
    assert document["sources"] == {"events": {"ok": True}}
    assert document["demo"] is False


def test_json_is_ascii_so_that_no_value_can_do_anything_to_a_terminal() -> None:
    frame = frame_of(TOPICS, {"topic": "\x1b[2J\x9b\x7f\u202e"})

    assert render.document(frame).isascii()
    assert render.document(frame).replace("\n", "").isprintable()


@pytest.mark.parametrize("schema", schemas.SCHEMAS, ids=lambda schema: schema.name)
def test_every_frame_can_be_shown_when_it_is_empty(schema: Schema) -> None:
    frame = frame_of(schema)

    assert drawn(frame, schema).strip()
    assert json.loads(render.document(frame))["rows"] == []


def test_looks_that_cost_something_are_told_once_for_all_queues() -> None:
    frame = frame_of(ACTIVE_TASKS)
    costly = {"cost": "reorders", "why": "a consumer is active", "refused": False}
    frame.attrs["notes"] = ["look: refused\x1b"]
    frame.attrs["looks"] = [
        {"queue": "a", **costly},
        {"queue": "b", **costly},
        {"queue": "c", "cost": "harmless", "why": "", "refused": False},
        {"queue": "d", "cost": None, "why": "", "refused": True},
    ]

    assert render.remarks(frame) == [
        r"look: refused\x1b",
        "looking at a, b reorders: a consumer is active",
    ]
