"""A figure as somebody gets it who has only the file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tasktools.widgets import figures
from tests.browser.lab import Outside

NAMES: Final = [
    '<a href="javascript:pwned=1">link</a>',
    "<b>bold</b> &amp; %{y}",
    "<img src=x onerror=window.pwned=1>",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


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
