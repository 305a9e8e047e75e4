"""A figure as somebody gets it who has only the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tasktools import figures
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.core.frames.history_schemas import UTILISATION
from tasktools.figures.page_theme import STYLE
from tests.browser.lab import Outside

NAMES: Final = [
    '<a href="javascript:pwned=1">link</a>',
    "<b>bold</b> &amp; %{y}",
    "<img src=x onerror=window.pwned=1>",
]

_ON_A_DARK_PAGE: Final = f"<body data-jp-theme-light=false style='background: #111'>{STYLE}"
_CONTRASTS: Final = """plot => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(each => each / 255)
      .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const contrast = (one, other) =>
    (Math.max(light(one), light(other)) + 0.05) / (Math.min(light(one), light(other)) + 0.05);
  const paper = getComputedStyle(plot.querySelector('.main-svg')).backgroundColor;
  const ground = text => {
    const bar = text.classList.contains('bartext') && text.parentElement.querySelector('path');
    const fill = bar ? getComputedStyle(bar).fill : paper;
    const name = fill.startsWith("url") && fill.match(/#[^")]+/)[0];
    const pattern = name && plot.querySelector(`${name} rect`);
    return pattern ? getComputedStyle(pattern).fill : fill;
  };
  return [...plot.querySelectorAll('text')].filter(text => text.textContent.trim())
    .map(text => [text.textContent, paper, contrast(getComputedStyle(text).fill, ground(text))]);
}"""

pytestmark = pytest.mark.slow


def frame_of_happenings() -> pd.DataFrame:
    """Return a timeline with a bar of each colour and a gap."""
    at = pd.Timestamp("2026-11-24T08:00Z")
    hour = pd.Timedelta(hours=1)
    rows: list[tuple[Any, ...]] = [
        (at, at + hour, False, "topic", "topic", f"t{n}", "stopped", f"t{n}", severity, "ours", {})
        for n, severity in enumerate(("critical", "warning", "suspect", None))
    ]
    gap: tuple[Any, ...] = ("gap", "cluster", "cluster", "all", "nothing was recorded", None)
    rows.append((at + 2 * hour, at + 3 * hour, False, *gap, "recorder", {}))
    mark: tuple[Any, ...] = ("mark", "cluster", "cluster", "mark", "deploy 1.4", None, "ledger", {})
    rows.append((at + hour, None, None, *mark))
    window = {"since": at, "until": at + 4 * hour}
    return frame_from(TIMELINE, rows, window=window)


def test_a_report_works_offline_and_names_in_it_are_only_text(
    page: Page, outside: Outside, tmp_path: Path
) -> None:
    at = pd.date_range("2026-11-24T08:00", periods=60, freq="10s", tz="UTC", unit="us")
    frame = pd.DataFrame(
        {
            "topic": pd.array(np.repeat(NAMES, len(at)), dtype="string"),
            "at": pd.concat([at.to_series()] * len(NAMES), ignore_index=True),
            "queued": np.tile(np.arange(len(at), dtype=float), len(NAMES)),
        }
    )
    report = tmp_path / "report.html"
    figures.queue_depth(frame, threshold=40).write_html(report)
    page.goto(report.as_uri())
    plot = page.locator(".js-plotly-plot")
    expect(plot.locator(".legendtext")).to_have_text(NAMES)
    plot.locator(".nsewdrag").first.hover()
    hover = plot.locator(".hoverlayer .legendtext")
    expect(hover).to_have_count(len(NAMES))
    assert [text.rsplit(" : ", 1)[0] for text in hover.all_text_contents()] == NAMES
    assert plot.locator(".legend a, .legend img, .hoverlayer a, .hoverlayer img").count() == 0
    assert page.evaluate("window.pwned") is None
    assert outside.urls == []


def test_a_timeline_fits_on_a_screen_and_says_on_hover_what_happened(
    page: Page, outside: Outside, tmp_path: Path
) -> None:
    """Issue 13, item 4: sentences on it are of strangers, as names are."""
    at = pd.Timestamp("2026-11-24T08:00Z")
    hour = pd.Timedelta(hours=1)
    rows: list[tuple[Any, ...]] = [
        (at, at + hour, False, "topic", "topic", name, "stopped", name, "critical", "samples", {})
        for name in NAMES
    ]
    gap: tuple[Any, ...] = ("gap", "cluster", "cluster", "all", "nothing was recorded", None)
    rows.append((at + 2 * hour, at + 3 * hour, False, *gap, "recorder", {}))
    report = tmp_path / "timeline.html"
    window = {"since": at, "until": at + 4 * hour}
    figures.timeline(frame_from(TIMELINE, rows, window=window)).write_html(report)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(report.as_uri())
    plot = page.locator(".js-plotly-plot")
    expect(plot.locator(".yaxislayer-above .ytick, .yaxislayer-below .ytick")).to_have_text(
        [NAMES[0].replace("pt:", "…"), *NAMES[1:], "recording"]
    )
    bar = plot.locator(".barlayer .point path").nth(1)
    bar.hover(force=True)
    hover = plot.locator(".hoverlayer .hovertext .nums")
    expect(hover).to_have_text(f"08:00:00 to 09:00:00 UTC{NAMES[1]}")
    assert plot.locator(".hoverlayer a, .hoverlayer img, .ytick a, .ytick img").count() == 0
    box = plot.bounding_box()
    assert box is not None
    assert box["height"] <= 720
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.evaluate("window.pwned") is None
    assert outside.urls == []


def test_a_figure_is_dark_on_a_dark_page_and_all_of_it_can_be_read(
    page: Page, outside: Outside, tmp_path: Path
) -> None:
    """Issue 15: figures were white in dark notebooks."""
    at = pd.date_range("2026-11-24T08:00", periods=60, freq="10s", tz="UTC", unit="us")
    topic = pd.array(["emails"] * len(at), dtype="string")
    depths = pd.DataFrame({"topic": topic, "at": at, "queued": np.arange(len(at), dtype=float)})
    many = [f"worker {n}" for n in range(12)]
    loads = frame_from(UTILISATION, [(name, time, 1, 2, 0.5) for time in at[:9] for name in many])
    drawn = [
        figures.queue_depth(depths, threshold=40),
        figures.queue_depth(depths.iloc[:0]),
        figures.utilisation(loads),
        figures.timeline(frame_of_happenings()),
    ]
    page_of_all = tmp_path / "dark.html"
    parts = [each.to_html(full_html=False, include_plotlyjs=n == 0) for n, each in enumerate(drawn)]
    page_of_all.write_text(_ON_A_DARK_PAGE + "".join(parts), encoding="utf-8")
    page.goto(page_of_all.as_uri())
    plots = page.locator(".js-plotly-plot")
    expect(plots.last.locator(".bartext").first).to_be_attached()
    plots.first.locator(".nsewdrag").first.hover()
    expect(plots.first.locator(".hoverlayer .legendtext")).to_have_count(1)
    for plot in plots.all():
        texts = plot.evaluate(_CONTRASTS)
        assert texts
        assert {paper for _, paper, _ in texts} == {"rgb(17, 17, 17)"}
        assert [each for each in texts if each[2] < 4.5] == []
    assert outside.urls == []
