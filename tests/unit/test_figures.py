"""Figures of frames over time: nothing missing is drawn, nothing drawn is markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktools import figures
from tasktools.core.frames import capacity_schemas as capacity
from tasktools.core.frames import diagnosis_schemas as diagnosis
from tasktools.core.frames import history_schemas as history
from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_of_columns
from tasktools.core.frames.schema import Schema
from tasktools.figures import figure_parts
from tasktools.figures.palette import COLOURS, DASHES, OTHER, styles
from tasktools.figures.series import thinned

START: Final = pd.Timestamp("2026-11-24T08:00Z")
HOSTILE: Final = "<script>alert(1)</script> &lt; %{y}"

Figure = Callable[..., Any]
EVERY: Final[dict[Figure, Schema]] = {
    figures.queue_depth: history.QUEUE_DEPTH,
    figures.dead_letters: history.QUEUE_DEPTH,
    figures.throughput: history.THROUGHPUT,
    figures.utilisation: history.UTILISATION,
    figures.waiting_time: history.WAITING_TIME,
    figures.service_time: history.SERVICE_TIME,
    figures.failures: history.FAILURES,
    figures.timeline: diagnosis.TIMELINE,
    figures.by_hour: capacity.HOURS,
}
each = pytest.mark.parametrize("figure", EVERY, ids=lambda figure: figure.__name__)

_VALUES: Final = {
    **dict.fromkeys(("count", "bytes"), 3),
    **dict.fromkeys(("ratio", "share", "rate"), 0.5),
    "flag": True,
    "span": 2.0,
}


def moments(*seconds: float) -> list[pd.Timestamp]:
    return [START + pd.Timedelta(seconds=each) for each in seconds]


def frame_of(schema: Schema, **columns: Sequence[Any]) -> pd.DataFrame:
    """Return a frame of *schema*; what is not among *columns* is missing."""
    length = len(next(iter(columns.values())))
    rows = [columns.get(column.name, [None] * length) for column in schema.columns]
    return frame_of_columns(schema, rows)


def one_row(schema: Schema, name: str = "a name") -> pd.DataFrame:
    """Return a frame of one row, in which nothing is missing."""
    values = {**_VALUES, **dict.fromkeys(("name", "id", "text"), name), "time": START}
    return frame_of(schema, **{column.name: [values.get(column.kind)] for column in schema.columns})


def depths(topics: Mapping[str, Sequence[float | None]], every: float = 5.0) -> pd.DataFrame:
    """Return a frame of queue_depth(): for each topic how many were queued, every so often."""
    rows = [
        (topic, START + pd.Timedelta(seconds=every * n), queued)
        for topic, values in topics.items()
        for n, queued in enumerate(values)
    ]
    topic, at, queued = zip(*rows, strict=True)
    return frame_of(history.QUEUE_DEPTH, topic=topic, at=at, queued=queued)


def loads(names: Sequence[str], at: Sequence[pd.Timestamp], value: float = 0.5) -> pd.DataFrame:
    """Return a frame of utilisation(), each of *names* as busy as the other."""
    return frame_of(
        history.UTILISATION,
        name=[name for name in names for _ in at],
        at=list(at) * len(names),
        utilisation=[value] * (len(names) * len(at)),
    )


def drawn(figure: Any) -> dict[str, list[float]]:
    """Return what the lines of *figure* show, by their names."""
    return {line.name: list(line.y) for line in figure.data if line.showlegend is not False}


def missing(values: Sequence[float]) -> list[bool]:
    return [bool(np.isnan(value)) for value in values]


def title(figure: Any) -> str:
    assert figure.layout.title.xref == "container", "names of rows would push it to the right"
    return f"{figure.layout.title.text}\n{figure.layout.title.subtitle.text}"


# --- frames -------------------------------------------------------------------------


@each
def test_it_draws_the_frame_it_is_named_after(figure: Figure) -> None:
    frame = one_row(EVERY[figure])
    made = figure(frame)
    assert len(made.data) > 0
    axis = made.layout.xaxis
    assert axis.title.text == "time (UTC)" or axis.ticktext[0] == "Mon 0:00 UTC"
    assert made.layout.yaxis.title.text
    pd.testing.assert_frame_equal(frame, one_row(EVERY[figure]))


@each
def test_another_frame_is_refused_and_both_are_named(figure: Figure) -> None:
    with pytest.raises(ValueError, match=r"^This is a frame of workers\(\); nothing was drawn"):
        figure(one_row(schemas.WORKERS))
    with pytest.raises(ValueError, match=rf"Give the frame of {EVERY[figure].name}\(\)"):
        figure(pd.DataFrame({"a": [1]}))


@each
def test_a_frame_without_rows_is_a_figure_that_says_so(figure: Figure) -> None:
    made = figure(one_row(EVERY[figure]).iloc[:0])
    assert len(made.data) == 0
    assert [note.text for note in made.layout.annotations] == ["nothing in this time"]


def test_a_frame_in_which_all_is_missing_is_a_figure_that_says_so() -> None:
    made = figures.queue_depth(depths({"emails": [None, None]}), threshold=3)
    assert [note.text for note in made.layout.annotations] == ["nothing in this time"]


def test_some_of_its_columns_are_enough() -> None:
    frame = depths({"emails": [1, 2]})[["at", "topic", "queued"]]
    assert drawn(figures.queue_depth(frame)) == {"emails": [1, 2]}


# --- gaps ---------------------------------------------------------------------------


def test_what_is_missing_is_a_gap_and_not_0() -> None:
    made = figures.queue_depth(depths({"emails": [4, None, 6, 7], "images": [1, 2, 3, 4]}))
    (line,) = (line for line in made.data if line.name == "emails")
    assert missing(line.y) == [False, True, False, False]
    assert line.connectgaps is False


def test_a_time_in_which_nothing_was_sampled_is_a_gap() -> None:
    at = moments(*range(0, 50, 5), *range(200, 250, 5))
    frame = frame_of(history.QUEUE_DEPTH, topic=["emails"] * len(at), at=at, queued=[1.0] * len(at))
    (line,) = figures.queue_depth(frame).data
    assert missing(line.y) == [False] * 10 + [True] + [False] * 10


def test_old_samples_that_are_coarser_are_no_gap() -> None:
    at = moments(*range(0, 1800, 60), *range(1800, 2000, 5))
    frame = frame_of(history.QUEUE_DEPTH, topic=["emails"] * len(at), at=at, queued=[1.0] * len(at))
    (line,) = figures.queue_depth(frame).data
    assert missing(line.y) == [False] * len(at)


def test_an_interval_in_which_no_task_ended_is_a_gap() -> None:
    frame = frame_of(
        history.SERVICE_TIME,
        topic=["emails"] * 4,
        at=moments(0, 30, 90, 120),
        count=[1] * 4,
        p50=[1.0] * 4,
        p95=[2.0] * 4,
    )
    made = figures.service_time(frame)
    (median,) = drawn(made).values()
    assert missing(median) == [False, False, True, False, False]
    band = made.data[0]
    assert [y is None for y in band.y] == [*[False] * 4, True, *[False] * 4, True]


def test_a_value_between_gaps_is_a_dot() -> None:
    (line,) = figures.queue_depth(depths({"emails": [4, 5, None, 6, None, 7, 8]})).data
    assert line.mode == "lines+markers"
    assert [size > 0 for size in line.marker.size] == [False] * 3 + [True] + [False] * 3


# --- many ---------------------------------------------------------------------------


def test_of_twelve_topics_the_eight_busiest_are_shown_and_the_others_added_up() -> None:
    topics = {f"topic-{n:02}": [n, 2.0 * n] for n in range(1, 13)}
    lines = drawn(figures.queue_depth(depths(topics)))
    assert list(lines) == [f"topic-{n:02}" for n in range(12, 4, -1)] + ["other (4 topics)"]
    assert lines["other (4 topics)"] == [10, 20]


def test_others_of_which_nothing_is_known_are_a_gap_and_not_0() -> None:
    topics = {f"topic-{n}": [9, 9] for n in range(8)}
    few: dict[str, list[float | None]] = {"a": [1, None], "b": [1, None]}
    lines = drawn(figures.queue_depth(depths({**topics, **few})))
    assert lines["other (2 topics)"][0] == 2
    assert missing(lines["other (2 topics)"]) == [False, True]


def test_a_long_line_has_at_most_400_points_and_its_extremes() -> None:
    values = np.sin(np.arange(20_000) / 500)
    values[[7_777, 12_345]] = 50, -50
    (line,) = figures.queue_depth(depths({"emails": values.tolist()})).data
    assert len(line.x) <= 400
    assert {line.y.max(), line.y.min()} == {50, -50}
    assert line.x[line.y.argmax()] == (START + pd.Timedelta(seconds=5 * 7_777)).tz_localize(None)


@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(float("nan"))), max_size=3000))
def test_what_is_kept_has_the_extremes_and_the_gaps_of_all(values: list[float]) -> None:
    every = np.array(values, dtype=float)
    drawn = every[thinned(every)]
    assert len(drawn) <= 400
    assert np.isnan(drawn).any() == np.isnan(every).any()
    known = every[~np.isnan(every)]
    if len(known):
        assert (np.nanmin(drawn), np.nanmax(drawn)) == (known.min(), known.max())


def test_two_hundred_workers_are_a_heat_map_in_which_a_gap_is_empty() -> None:
    at = moments(*range(0, 500, 5), *range(1000, 1500, 5))
    names = [f"worker-{n:03}" for n in range(200)]
    made = figures.utilisation(loads(names, at))
    (heat,) = made.data
    assert list(heat.y) == names
    assert heat.z.shape[1] <= 200
    empty = np.isnan(heat.z).all(axis=0)
    assert 60 < empty.sum() < 70  # a third of the time
    assert np.nanmin(heat.z) == np.nanmax(heat.z) == 0.5
    assert len(made.layout.yaxis.tickvals) <= 50
    assert made.layout.height > 1000


def test_samples_that_come_a_bit_early_or_late_leave_no_hole_in_a_heat_map() -> None:
    at = moments(*(5 * n + (-1) ** n * 0.01 for n in range(100)))
    (heat,) = figures.utilisation(loads([f"worker-{n}" for n in range(9)], at)).data
    assert heat.z.shape == (9, 100)
    assert not np.isnan(heat.z).any()


def test_few_workers_are_lines() -> None:
    lines = drawn(figures.utilisation(loads(["a", "b"], moments(0, 5)), threshold=0.9))
    assert lines == {"a": [0.5, 0.5], "b": [0.5, 0.5]}


# --- how long -----------------------------------------------------------------------


def test_waiting_times_are_estimates_where_no_message_was_recorded() -> None:
    frame = frame_of(
        history.WAITING_TIME, topic=["emails"] * 2, at=moments(0, 30), estimate=[600.0, 1200.0]
    )
    made = figures.waiting_time(frame, threshold="5min")
    assert drawn(made) == {"emails": [10, 20]}
    assert made.layout.yaxis.title.text == "waiting time (min)"
    assert made.layout.shapes[0].y0 == 5
    assert "estimated by Little's law" in title(made)


def test_waiting_times_are_estimates_where_events_do_not_tell_short_ones() -> None:
    made = figures.waiting_time(
        frame_of(history.WAITING_TIME, topic=["emails"], at=moments(0), count=[3], estimate=[0.4])
    )
    assert "waits are too short to be measured by events" in f"{made.to_dict()}"
    assert "no messages" not in f"{made.to_dict()}"


def test_waiting_times_that_were_measured_are_not_estimates() -> None:
    made = figures.waiting_time(one_row(history.WAITING_TIME))
    assert drawn(made) == {"a name": [2]}
    assert "estimated" not in title(made)
    assert made.layout.yaxis.title.text == "waiting time (s)"


@pytest.mark.parametrize(
    ("took", "unit"), [(0.02, "ms"), (2.0, "s"), (290.0, "s"), (310.0, "min"), (20_000.0, "h")]
)
def test_the_unit_goes_by_the_longest(took: float, unit: str) -> None:
    frame = frame_of(
        history.SERVICE_TIME, topic=["a"], at=moments(0), count=[1], p50=[took / 2], p95=[took]
    )
    assert figures.service_time(frame).layout.yaxis.title.text == f"service time ({unit})"


def test_topics_whose_times_are_left_out_are_counted() -> None:
    frame = frame_of(
        history.SERVICE_TIME,
        topic=[f"topic-{n}" for n in range(9)],
        at=moments(0) * 9,
        count=range(1, 10),
        p50=[1.0] * 9,
        p95=[2.0] * 9,
    )
    made = figures.service_time(frame)
    assert "8 of 9 topics, the busiest" in title(made)
    assert "topic-0" not in drawn(made)


# --- failures -----------------------------------------------------------------------


def failed(kinds: Sequence[str | None], every: float = 10.0) -> pd.DataFrame:
    return frame_of(
        history.FAILURES,
        failed_at=moments(*(every * n for n in range(len(kinds)))),
        fingerprint=kinds,
        topic=["emails"] * len(kinds),
    )


def test_failures_add_up_by_kind_and_one_that_is_not_known_says_so() -> None:
    made = figures.failures(failed(["Timeout"] * 30 + [None] * 10))
    assert {bar.name: sum(bar.y) for bar in made.data} == {"Timeout": 30, "not known": 10}
    assert made.layout.yaxis.title.text == "failures in 10 s"
    assert made.layout.barmode == "stack"


def test_failures_of_many_kinds_are_added_up_and_of_a_long_time_in_longer_intervals() -> None:
    kinds = [f"E{n}" for n in range(12) for _ in range(n + 1)]
    made = figures.failures(failed(kinds, every=600))
    assert sum(sum(bar.y) for bar in made.data) == len(kinds)
    assert made.data[-1].name == "other (4 kinds)"
    assert max(len(bar.x) for bar in made.data) <= 61


def test_failures_are_counted_by_any_column() -> None:
    assert [bar.name for bar in figures.failures(failed(["a", "b"]), by="topic").data] == ["emails"]


# --- words --------------------------------------------------------------------------


@each
def test_a_name_with_markup_is_text(figure: Figure) -> None:
    shown = str(figure(one_row(EVERY[figure], HOSTILE)).to_dict())
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;lt; %&#123;y}" in shown
    assert "<script" not in shown


def test_of_two_long_names_both_ends_are_shown() -> None:
    names = [f"orders.{'x' * 60}.{end}" for end in ("europe", "asia")]
    lines = drawn(figures.queue_depth(depths({name: [1, 2] for name in names})))
    assert len(lines) == 2
    assert all(len(name) <= 41 and name.startswith("orders.") for name in lines)


def test_the_title_says_of_which_cluster_when_and_what_is_missing() -> None:
    frame = depths({"emails": [1] * 30}, every=60)
    frame.attrs = {
        "cluster": "<Cluster amqp://ops:s3cret@rabbit/prod>",
        "notes": ["2 gaps; gaps() tells when, and why", "<b>bold</b>"],
        "demo": "DEMO",
    }
    made = figures.queue_depth(frame)
    assert "Queue depth · DEMO" in title(made)
    assert "2026-11-24 08:00 to 08:29 UTC" in title(made)
    assert "2 gaps; gaps() tells when" in title(made)
    assert "&lt;b&gt;" in title(made)
    assert "s3cret" not in made.to_json()


def test_of_many_notes_the_rest_is_counted() -> None:
    frame = depths({"emails": [1, 2]})
    frame.attrs = {"notes": [f"note {n}" for n in range(9)]}
    assert "7 more notes" in title(figures.queue_depth(frame))


def test_times_of_another_zone_are_shown_in_utc() -> None:
    frame = depths({"emails": [1, 2]})
    frame["at"] = frame["at"].dt.tz_convert("Asia/Tokyo")
    made = figures.queue_depth(frame)
    assert made.data[0].x[0] == np.datetime64("2026-11-24T08:00")
    assert "08:00 to 08:00 UTC" in title(made)


# --- looks --------------------------------------------------------------------------


@each
def test_light_and_dark_differ_and_another_theme_is_refused(figure: Figure) -> None:
    frame = one_row(EVERY[figure])
    light, dark = (figure(frame, theme=theme).layout for theme in ("light", "dark"))
    assert light.paper_bgcolor != dark.paper_bgcolor
    assert light.font.color != dark.font.color
    with pytest.raises(ValueError, match="'blue'; it is light or dark"):
        figure(frame, theme="blue")


def test_a_figure_begins_where_something_is_known() -> None:
    at = moments(0, 30, 60, 90)
    rates = [None, 1.0, None, 2.0]
    made = figures.throughput(frame_of(history.THROUGHPUT, topic=["emails"] * 4, at=at, rate=rates))
    assert list(pd.to_datetime(made.data[0].x, utc=True)) == list(pd.to_datetime(at[1:], utc=True))


def test_a_threshold_is_a_line_across() -> None:
    made = figures.queue_depth(depths({"emails": [1, 2]}), threshold=100)
    (limit,) = made.layout.shapes
    assert (limit.y0, limit.y1, limit.xref) == (100, 100, "x domain")


def test_a_topic_has_the_same_style_in_every_figure() -> None:
    topics = ("emails", "orders", "reports")
    at = moments(0) * 3
    drawn = [
        figures.queue_depth(depths({topic: [1, 2] for topic in topics})),
        figures.throughput(frame_of(history.THROUGHPUT, topic=topics, at=at, rate=[3, 1, 2])),
        figures.utilisation(loads(topics, moments(0))),
        figures.waiting_time(
            frame_of(history.WAITING_TIME, topic=topics, at=at, estimate=[2, 3, 1])
        ),
    ]
    looks = {topic: tuple(style) for topic, style in styles(topics).items()}
    drawn_looks = [
        {line.name: (line.line.color, line.line.dash) for line in each.data} for each in drawn
    ]
    assert drawn_looks == [looks] * 4


def test_a_topic_has_its_style_whatever_else_is_busy() -> None:
    names = [f"topic-{n:02}" for n in range(20)]
    rising = figures.queue_depth(depths({name: [n, n] for n, name in enumerate(names)}))
    falling = figures.queue_depth(depths({name: [-n, -n] for n, name in enumerate(names)}))
    for line in (*rising.data[:-1], *falling.data[:-1]):
        assert (line.line.color, line.line.dash) == styles(names)[line.name]


@given(st.sets(st.text(max_size=30), max_size=60))
def test_names_have_styles_of_their_own_as_long_as_there_are_some(names: set[str]) -> None:
    style_of = styles(names)
    assert style_of == styles(sorted(names, reverse=True))
    assert len({style.colour for style in style_of.values()}) == min(len(names), len(COLOURS))
    assert len(set(style_of.values())) == min(len(names), len(COLOURS) * len(DASHES))


_SEEN: Final = {  # Machado, Oliveira and Fernandes 2009, severity 1; of linear RGB
    "as it is": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
_LMS: Final = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
_OKLAB: Final = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]


def linear(colour: str) -> Any:
    values = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("seen", _SEEN)
def test_two_colours_can_be_told_apart_also_by_the_colour_blind(seen: str) -> None:
    def oklab(colour: str) -> Any:
        light = np.clip(np.array(_SEEN[seen]) @ linear(colour), 0, 1)
        return np.array(_OKLAB) @ np.cbrt(np.array(_LMS) @ light)

    for first, second in combinations([*COLOURS, OTHER], 2):
        assert np.linalg.norm(oklab(first) - oklab(second)) > 0.08, (first, second)


@pytest.mark.parametrize("colour", [*COLOURS, OTHER])
def test_a_colour_stands_out_on_white_and_on_black(colour: str) -> None:
    luminance = linear(colour) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) > 2.1
    assert (luminance + 0.05) / 0.0556 > 2.9


def test_a_page_of_it_needs_nothing_from_outside() -> None:
    figure_parts = figures.queue_depth(depths({"emails": [1, 2]})).to_html()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", figure_parts)


def test_a_name_in_a_figure_is_neither_a_formula_nor_disguised() -> None:
    """Issue 11, secrets: hovers and legends are of strangers as well."""
    assert figure_parts.escaped("a$x^2$\u202eb") == "a&#36;x^2&#36;\\u202eb"
