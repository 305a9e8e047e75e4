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
from tests.browser.lab import Outside

NAMES: Final = [
    '<a href="javascript:pwned=1">link</a>',
    "<b>bold</b> &amp; %{y}",
    "<img src=x onerror=window.pwned=1>",
]

pytestmark = pytest.mark.slow


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
