"""The figure of a timeline: lanes, what is in them, and gaps through all of them."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import pytest

from tasktools import figures
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import TIMELINE

START: Final = pd.Timestamp("2026-11-24T08:00Z")


def at(minute: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minute)


def row(
    kind: str,
    event: str,
    begin: float,
    end: float | None = None,
    *,
    lasts: bool = False,
    subject: str = "emails",
    severity: str | None = None,
    **details: Any,
) -> tuple[Any, ...]:
    until = None if end is None else at(end)
    sentence = f"{subject} {event}"
    return (
        *(at(begin), until, lasts, kind, "topic", subject, event, sentence),
        *(severity, "samples", details),
    )


def draw(*rows: tuple[Any, ...], theme: Any = "light", minutes: float = 60) -> Any:
    frame = frame_from(TIMELINE, rows, window={"since": at(0), "until": at(minutes)})
    return figures.timeline(frame, theme=theme)


def lanes(figure: Any) -> list[str]:
    return list(figure.layout.yaxis.ticktext)


def bars(figure: Any) -> list[tuple[str, str, float, float]]:
    """Return style, lane, and begin and end (min) of the bars."""
    names = lanes(figure)
    return [
        (bar.name, names[y], _minute(base), _minute(base + pd.Timedelta(milliseconds=x)))
        for bar in figure.data
        if bar.type == "bar"
        for base, x, y in zip(bar.base, bar.x, bar.y, strict=True)
    ]


def _minute(time: Any) -> float:
    return round((pd.Timestamp(time).tz_localize("UTC") - START).total_seconds() / 60, 2)


def test_of_a_beginning_that_nobody_knows_only_the_end_takes_room() -> None:
    gap = row("gap", "all", 0, 50, subject="cluster")
    late = draw(gap, row("topic", "stopped", 52, 60, severity="critical"))
    assert [_minute(edge) for edge in late.layout.xaxis.range] == [49, 60]
    known = draw(gap, row("mark", "mark", 20, subject="cluster"))  # which no recording tells
    assert [_minute(edge) for edge in known.layout.xaxis.range] == [0, 60]
    lasting = draw(row("gap", "all", 0, lasts=True, subject="cluster"))
    assert [_minute(edge) for edge in lasting.layout.xaxis.range] == [0, 60]


def test_each_topic_kind_of_failure_silent_worker_and_lock_has_a_lane_of_its_own() -> None:
    figure = draw(
        row("lock", "held", 1, 20, subject="nightly", severity="suspect"),
        row("worker", "came", 2, subject="w1"),
        row("worker", "gone", 5, lasts=True, subject="w2", severity="warning"),
        row("failures", "failing", 5, 9, severity="warning", fingerprint="Timeout", count=7),
        row("topic", "clear", 0, 5),
        row("topic", "stopped", 5, 12, severity="critical"),
        row("settings", "changed", 4),
        row("mark", "mark", 4, subject="cluster"),
        row("gap", "topics", 30, 31, subject="cluster"),
    )
    assert lanes(figure) == [
        *("marks", "operators", "emails", "emails: Timeout", "workers", "w2"),
        *("lock nightly", "recording"),
    ]
    assert bars(figure) == [
        ("critical", "emails", 5, 12),
        ("warning", "w2", 5, 60),
        ("warning", "emails: Timeout", 5, 9),
        ("suspect", "lock nightly", 1, 20),
        ("no trouble", "emails", 0, 5),
        ("not known", "recording", 30, 31),
    ]
    labels = [text for bar in figure.data if bar.type == "bar" for text in bar.text]
    assert labels == ["stopped", "gone ▸", "7 failing", "held", "clear", ""]


def test_a_gap_of_everything_is_hatched_through_all_lanes_on_top_of_what_is_there() -> None:
    figure = draw(
        row("gap", "all", 20, 30, subject="cluster"),
        row("topic", "stopped", 10, 40, severity="critical"),
        row("gap", "samples", 50, 52, subject="cluster"),
    )
    (hatch,) = (trace for trace in figure.data if trace.name == "nothing recorded")
    assert hatch is figure.data[-1]
    assert [_minute(x) for x in hatch.x] == [20, 30, 30, 20]
    assert sorted(set(hatch.y)) == [-0.5, 1.5]
    assert hatch.fillpattern.shape == "/"
    labels = [text for bar in figure.data if bar.name == "not known" for text in bar.text]
    assert labels == ["not recorded", ""]  # the other is too short for a label


def test_what_is_not_known_is_hatched_and_not_of_the_colour_of_calm() -> None:
    figure = draw(row("topic", "cannot tell", 0, 30), row("topic", "steady", 30, 60))
    unknown, calm = (
        next(trace for trace in figure.data if trace.name == name)
        for name in ("not known", "no trouble")
    )
    assert unknown.marker.pattern.shape == "/"
    assert not calm.marker.pattern.shape
    assert unknown.marker.color != calm.marker.color


def test_bars_end_where_the_timeline_ends_and_a_moment_can_still_be_seen() -> None:
    figure = draw(
        row("topic", "stopped", -30, 90, severity="critical"),
        row("failures", "failing", 10, 10, severity="warning", fingerprint="E"),
    )
    assert bars(figure)[0] == ("critical", "emails", 0, 60)
    assert bars(figure)[1][2:] == (10, 10.18)
    assert [pd.Timestamp(x) for x in figure.layout.xaxis.range] == [
        at(0).tz_localize(None),
        at(60).tz_localize(None),
    ]


def test_marks_have_their_text_and_a_line_across() -> None:
    rows = [list(row("mark", "mark", minute, subject="cluster")) for minute in (10, 55)]
    rows[0][7], rows[1][7] = "deploy 1.4", "x" * 60
    figure = draw(*map(tuple, rows))
    (marks,) = figure.data
    assert marks.text[0].strip() == "deploy 1.4"
    assert len(marks.text[1].strip()) == 29
    assert list(marks.textposition) == ["middle right", "middle left"]
    assert len(figure.layout.shapes) == 2
    many = draw(*(row("mark", "mark", minute, subject="cluster") for minute in range(20)))
    assert many.data[0].mode == "markers"
    assert len(many.layout.shapes) == 12


def test_of_more_than_eight_of_a_kind_those_with_the_worst_trouble_are_shown() -> None:
    topics = [
        row("topic", "falling behind", 0, n + 1, subject=f"t{n:02}", severity="warning")
        for n in range(11)
    ]
    worst = row("topic", "stopped", 0, 1, subject="worst", severity="critical")
    figure = draw(*topics, worst)
    assert lanes(figure) == ["worst", *(f"t{n:02}" for n in range(10, 3, -1))]
    assert "8 of 12 topics, those with the worst trouble" in figure.layout.title.subtitle.text
    assert {bar[1] for bar in bars(figure)} == set(lanes(figure))


def test_the_hover_says_when_and_what_and_none_of_it_is_markup() -> None:
    hostile = list(row("topic", "stopped", 5, 12, severity="critical"))
    hostile[7] = "<img src=x onerror=alert(1)> %{y} " + "long " * 40
    figure = draw(tuple(hostile), row("worker", "gone", 6, lasts=True, subject="<b>w"))
    first, second = (hover for bar in figure.data for hover in bar.customdata)
    assert first.startswith("<b>08:05:00 to 08:12:00 UTC</b><br>&lt;img src=x")
    assert "%{y}" not in first
    assert first.count("<br>") >= 3
    assert second.startswith("<b>08:06:00 on, and lasts UTC</b>")
    assert lanes(figure)[1] == "&lt;b&gt;w"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_is_as_tall_as_it_has_lanes(theme: Any) -> None:
    few = draw(row("topic", "stopped", 5, 12, severity="critical"), theme=theme)
    workers = (row("worker", "gone", 1, 2, subject=f"w{n}", severity="warning") for n in range(8))
    assert draw(*workers, theme=theme).layout.height - few.layout.height == 4 * 30
