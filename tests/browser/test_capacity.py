"""The notebook of capacity planning, and its widget, as an operator uses them, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.lab import (
    DARK,
    LIGHT,
    Lab,
    Outside,
    Part,
    errors,
    open_notebook,
    printed,
    run_all,
    run_code,
    screenshot,
    use_theme,
)

NOTEBOOK: Final = "07_capacity_planning.ipynb"
LIGHT_PAPER, DARK_PAPER = "rgb(255, 255, 255)", "rgb(17, 17, 17)"
_DARK_WIDGET: Final = """dark_cluster = tt.connect(f"sqlite:///{week}")
dark = tt.widgets.capacity(dark_cluster, "newsletters", price="$2")
dark"""

pytestmark = pytest.mark.slow


class Capacity(Part):
    """The widget on the page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, page.locator(".tasktools-capacity").last)
        self.figure = self.all.locator(".tt-figure")

    @property
    def title(self) -> Locator:
        """The title of the figure, with what it was computed for."""
        return self.figure.locator(".g-gtitle").last

    def move(self, label: str, key: str, times: int = 1) -> None:
        """Move the slider *label* by *key*."""
        row = self.all.locator(".widget-slider").filter(has_text=label)
        handle = row.locator(".noUi-handle")
        handle.focus()
        expect(handle).to_have_attribute("data-lm-suppress-shortcuts", "")
        for _ in range(times):
            self.page.keyboard.press(key)


def test_the_plan_of_a_week_and_what_if(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    notebook = json.loads((lab.root / NOTEBOOK).read_text(encoding="utf-8"))
    notebook["cells"] = notebook["cells"][:-2]  # which close the widget
    (lab.root / "capacity.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page.set_viewport_size({"width": 1280, "height": 720})
    open_notebook(page, lab.base, "capacity.ipynb")
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    page.on("console", note)
    assert None not in run_all(page)

    # As it was recorded: the answer, how sure it is, what it costs, and the figure.
    capacity = Capacity(page)
    expect(capacity.status("Enough for orders: with 3 workers (6 slots)")).to_be_visible()
    expect(capacity.status("that is known to ±1")).to_be_visible()
    expect(capacity.all).to_contain_text("3 workers × 168 h × 0.12 € = 60.48 €")
    expect(capacity.all).to_contain_text("in gaps: recorders fail under load")
    expect(capacity.title).to_contain_text("DEMO")

    # By keyboard, more traffic and fewer workers: the figure says what it was computed for.
    capacity.move("Traffic", "ArrowRight", 3)
    expect(capacity.title).to_contain_text("orders, 6 slots, traffic × 1.15")
    capacity.move("Workers", "ArrowLeft", 2)
    expect(capacity.title).to_contain_text("orders, 2 slots, traffic × 1.15")
    expect(capacity.status("NOT enough for orders: with 1 worker (2 slots)")).to_be_visible()
    expect(capacity.status("times as many")).to_be_visible()
    assert printed(page, "state.workers, round(state.traffic, 2), state.why_not") == "1 1.15"

    # All of it is in sight at once, in light and dark.
    capacity.all.evaluate("part => part.scrollIntoView({block: 'start'})")
    figure = capacity.figure.bounding_box()
    assert figure is not None
    assert figure["y"] + figure["height"] < 720
    (tmp_path / "capacity-window.png").write_bytes(page.screenshot())
    screenshot(page, "capacity", tmp_path)
    assert_accessible(capacity.all)
    page.set_viewport_size({"width": 1280, "height": 720})
    use_theme(page, DARK)
    run_code(page, _DARK_WIDGET)
    dark = Capacity(page)
    expect(dark.status("NOT enough for newsletters")).to_be_visible()
    drawn = dark.figure.locator(".js-plotly-plot")
    expect(drawn).to_be_visible()
    in_a_cell = page.locator(".js-plotly-plot:not(.tasktools-capacity *)")
    for figure_in_dark in (in_a_cell.first, drawn):
        expect(figure_in_dark.locator(".main-svg").first).to_have_css(
            "background-color", DARK_PAPER
        )
    screenshot(page, "capacity-dark", tmp_path)
    assert_accessible(dark.all)
    use_theme(page, LIGHT)
    for in_light in (in_a_cell.first, drawn):
        expect(in_light.locator(".main-svg").first).to_have_css("background-color", LIGHT_PAPER)
    assert printed(page, "dark.close()") == "None"
    assert errors(page) == []
    assert outside.urls == []
    assert complaints == []
