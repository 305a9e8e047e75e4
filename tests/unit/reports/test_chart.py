"""Figures as SVG: nothing missing is drawn, names are text, and values can be read off."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from importlib import resources
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from tasktools import figures
from tasktools.core.frames import history_schemas as history
from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.reports.axes import LEFT, RIGHT, WIDTH, TimeAxis, ValueAxis
from tasktools.reports.chart import chart
from tasktools.reports.drawing import Backdrop
from tasktools.reports.timeline_chart import timeline_chart
from tests.unit.test_figures import HOSTILE, START, depths, frame_of, loads, moments

END = START + pd.Timedelta(minutes=10)
AXIS = TimeAxis(START, END)
BACKDROP = Backdrop(AXIS)


def drawn(figure: Any, backdrop: Backdrop = BACKDROP, **options: Any) -> ET.Element:
    """Return the chart, which is well-formed XML, too."""
    return ET.fromstring(chart(figure, "A title", backdrop, **options))  # noqa: S314 - our own


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in root.iter() if name in (each.get("class") or "").split()]


# --- lines ------------------------------------------------------------------------------


def test_what_is_missing_is_a_gap_in_the_line_and_no_value() -> None:
    frame = depths({"emails": [4, 5, None, 6, 7]})
    (series,) = of_class(drawn(figures.queue_depth(frame)), "series")
    (path,) = series.iter("path")
    assert re.findall("[ML]", path.get("d") or "") == ["M", "L", "M", "L"]
    assert (series.get("data-v") or "").split("|") == ["4", "5", "", "6", "7"]


def test_a_value_between_gaps_is_a_dot() -> None:
    root = drawn(figures.queue_depth(depths({"emails": [4, 5, None, 6, None, 7, 8]})))
    assert len(list(root.iter("circle"))) == 1


def test_values_are_at_their_height_and_times_at_their_place() -> None:
    frame = frame_of(
        history.QUEUE_DEPTH, topic=["emails"] * 2, at=moments(0, 600), queued=[0.0, 100.0]
    )
    (series,) = of_class(drawn(figures.queue_depth(frame)), "series")
    (path,) = series.iter("path")
    assert path.get("d") == f"M{LEFT:.1f} 190.0L{WIDTH - RIGHT:.1f} 0.0"


def test_names_are_text_and_not_markup() -> None:
    root = drawn(figures.queue_depth(depths({HOSTILE: [1, 2]})))
    (item,) = root.iter("li")
    assert "".join(item.itertext()).strip() == HOSTILE
    assert not list(root.iter("script"))


def test_nothing_in_this_time_is_said() -> None:
    root = drawn(figures.queue_depth(frame_of(history.QUEUE_DEPTH, topic=[], at=[], queued=[])))
    assert "Nothing in this time." in "".join(root.itertext())


def test_remarks_are_those_of_the_figure_alone() -> None:
    frame = depths({"emails": [1, 2]})
    frame.attrs |= {"cluster": "<Cluster demo://>", "notes": ["a note of the frame"]}
    text = "".join(drawn(figures.queue_depth(frame)).itertext())
    assert "a note of the frame" not in text
    frame = frame_of(history.SERVICE_TIME, topic=["a"], at=[START], count=[1], p50=[1.0], p95=[2.0])
    text = "".join(drawn(figures.service_time(frame)).itertext())
    assert "the median, and a band up to the 95th percentile" in text


def test_a_gap_and_the_split_are_in_every_chart() -> None:
    gap = (START + pd.Timedelta(minutes=5), START + pd.Timedelta(minutes=6))
    backdrop = Backdrop(AXIS, [gap], START + pd.Timedelta(minutes=8))
    for figure in (
        figures.queue_depth(depths({"emails": [1, 2]})),
        figures.utilisation(loads([f"worker-{n}" for n in range(9)], moments(0, 5, 10))),
    ):
        (shade,) = of_class(drawn(figure, backdrop), "gap")
        assert float(shade.get("width") or 0) == pytest.approx((WIDTH - LEFT - RIGHT) / 10, abs=0.1)
        assert len(of_class(drawn(figure, backdrop), "split")) == 1


# --- bars -------------------------------------------------------------------------------


def test_bars_stand_on_each_other() -> None:
    frame = frame_of(
        history.FAILURES,
        failed_at=moments(*[1] * 3, *[1] * 2),
        fingerprint=["a"] * 3 + ["b"] * 2,
    )
    first, second = of_class(drawn(figures.failures(frame)), "series")
    (low,), (high,) = list(first.iter("rect")), list(second.iter("rect"))
    bottom = float(high.get("y") or 0) + float(high.get("height") or 0)
    assert bottom == pytest.approx(float(low.get("y") or 0), abs=0.2)
    assert (first.get("data-v"), second.get("data-v")) == ("3", "2")


# --- heat maps --------------------------------------------------------------------------


def pixels(image: ET.Element) -> np.ndarray[Any, Any]:
    """Return the levels of a picture."""
    coded = (image.get("href") or "").removeprefix("data:image/png;base64,")
    data = base64.b64decode(coded)
    width, height = struct.unpack(">II", data[16:24])
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    rows = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + length]), np.uint8)
    return rows.reshape(height, width + 1)[:, 1:]


def test_a_heat_map_is_a_picture_for_each_theme_whose_missing_values_are_not_drawn() -> None:
    frame = loads([f"worker-{n}" for n in range(20)], moments(*range(0, 100, 5)))
    frame.loc[frame["name"] == "worker-3", "utilisation"] = 1.0
    frame.loc[frame["at"] == START, "utilisation"] = pd.NA
    figure = figures.utilisation(frame)
    root = drawn(figure, dark=figures.utilisation(frame, theme="dark"))
    light, dark = root.iter("image")
    assert ("light" in (light.get("class") or ""), "dark" in (dark.get("class") or "")) == (
        True,
    ) * 2
    assert light.get("href") != dark.get("href")
    levels = levels_at(light, AXIS, *range(100))
    assert levels.shape == (20, 100)
    assert (levels[:, :5] == 0).all()
    names = list(figure.data[0].y)
    assert (levels[names.index("worker-3"), 5:] == 101).all()
    assert set(levels[names.index("worker-4"), 5:].tolist()) == {51}


def levels_at(image: ET.Element, axis: TimeAxis, *seconds: float) -> np.ndarray[Any, Any]:
    """Return the levels that a picture shows a moment after the places of *seconds* on *axis*."""
    levels = pixels(image)
    x, width = (float(image.get(name) or 0) for name in ("x", "width"))
    places = np.array([axis.place(moment) for moment in moments(*seconds)]) + 1
    return levels[:, ((places - x) / width * levels.shape[1]).astype(int)]


def test_cells_of_a_heat_map_are_at_their_times_where_the_axis_begins_later() -> None:
    """The samples of a window before a recording began are missing, and off the axis."""
    frame = loads([f"worker-{n}" for n in range(9)], moments(*range(0, 3600, 30)))
    frame["utilisation"] = frame["utilisation"].mask(frame["at"] < moments(3300)[0])
    frame.loc[frame["at"] == moments(3480)[0], "utilisation"] = 1.0
    axis = TimeAxis(moments(3310)[0], moments(3610)[0])
    root = drawn(figures.utilisation(frame), Backdrop(axis))
    image = next(root.iter("image"))
    assert float(image.get("x") or 0) == LEFT
    end = float(image.get("x") or 0) + float(image.get("width") or 0)
    assert end == pytest.approx(axis.place(moments(3600)[0]), abs=0.1)
    shown = levels_at(image, axis, 3310, 3325, 3450, 3475, 3480, 3505, 3510, 3590)
    assert shown[0].tolist() == [51, 51, 51, 51, 101, 101, 51, 51]
    labels = {label.text: float(label.get("x") or 0) for label in of_class(root, "time")}
    assert labels["08:58"] == pytest.approx(axis.place(moments(3480)[0]), abs=0.1)


def test_names_of_rows_that_are_too_long_show_both_ends_and_are_whole_at_the_pointer() -> None:
    names = ["mail-1-11011-f2a74de4", *(f"a-very-long-name-of-a-worker-{n}" for n in range(8))]
    root = drawn(figures.utilisation(loads(names, moments(0, 5))))
    assert [title.text for title in root.iter("title")] == sorted(names)
    assert [title.tail for title in root.iter("title")][-1] == "mail-1…f2a74de4"
    assert len({title.tail for title in root.iter("title")}) == len(names)


# --- the timeline -----------------------------------------------------------------------


def lanes(*rows: tuple[Any, ...]) -> ET.Element:
    """Return the chart of a timeline; rows are (second, until, kind, subject, event, severity)."""
    begin, until, kind, subject, event, severity = zip(*rows, strict=True)
    frame = frame_of(
        TIMELINE,
        at=moments(*begin),
        until=[None if each is None else moments(each)[0] for each in until],
        lasts=[False] * len(rows),
        kind=kind,
        subject_kind=["topic"] * len(rows),
        subject=subject,
        event=event,
        sentence=[f"{name}: {what}" for name, what in zip(subject, event, strict=True)],
        severity=severity,
        source=["events"] * len(rows),
        details=[{}] * len(rows),
    )
    frame.attrs["window"] = {"since": START, "until": END}
    return ET.fromstring(timeline_chart(figures.timeline(frame), "Timeline", BACKDROP))  # noqa: S314


def test_a_span_is_a_bar_in_the_lane_of_its_subject_with_its_time() -> None:
    root = lanes((60, 360, "topic", HOSTILE, "stopped", "critical"))
    (lane,) = of_class(root, "lane")  # plotly's name for it is cut in the middle
    assert re.fullmatch(r"<script>alert\(1\).*….*script> &lt; %\{y\}", lane.text or "")
    bar = next(bar for bar in of_class(root, "bar") if bar.get("x"))
    assert bar.get("class") == "bar critical"
    assert float(bar.get("width") or 0) == pytest.approx((WIDTH - LEFT - RIGHT) / 2, abs=0.1)
    (title,) = root.iter("title")
    assert title.text == f"08:01:00 to 08:06:00 UTC {HOSTILE}: stopped"
    assert [label.text for label in of_class(root, "label")] == ["stopped"]


def test_a_label_that_does_not_fit_is_left_out_and_a_late_mark_is_written_to_its_left() -> None:
    root = lanes(
        (60, 61, "topic", "emails", "falling behind", "warning"),
        (30, None, "mark", "ann", "mark", None),
        (595, None, "mark", "bob", "mark", None),
    )
    assert of_class(root, "label") == []
    early, late = (sign for sign in of_class(root, "sign") if sign.get("x"))
    texts = ["".join(sign.itertext()) for sign in (early, late)]
    assert texts[0].endswith("★ ann: mark")
    assert texts[1].endswith("bob: mark ★")
    assert "late" in (late.get("class") or "")


# --- axes -------------------------------------------------------------------------------


def test_the_readout_of_the_page_is_on_the_same_axis() -> None:
    script = resources.files("tasktools.reports").joinpath("report.js").read_text(encoding="utf-8")
    assert f"WIDTH = {WIDTH}, LEFT = {LEFT}, RIGHT = {RIGHT}," in script


@pytest.mark.parametrize(
    ("highest", "whole", "labels"),
    [
        (0, True, ["0", "1"]),
        (3, True, ["0", "1", "2", "3"]),
        (352, True, ["0", "100", "200", "300", "400"]),
        (0.4, False, ["0", "0.1", "0.2", "0.3", "0.4"]),
        (123_456, True, ["0", "50,000", "100,000", "150,000"]),
    ],
)
def test_values_are_labelled_in_round_steps(
    highest: float, *, whole: bool, labels: list[str]
) -> None:
    axis = ValueAxis(highest, 100, "", whole=whole)
    assert [words for _, words in axis.labels()] == labels
    assert axis.place(axis.top) == 0


@pytest.mark.parametrize(
    ("minutes", "first", "count"),
    [(5, "08:00", 6), (120, "08:00", 9), (60 * 30, "08:00 · 24 Nov", 8)],
)
def test_times_are_labelled_in_round_steps(minutes: int, first: str, count: int) -> None:
    labels = [words for _, words in TimeAxis(START, START + pd.Timedelta(minutes=minutes)).labels()]
    assert (labels[0], len(labels)) == (first, count)
