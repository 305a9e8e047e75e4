"""The incident widget as an operator uses it: from what is wrong to the plan that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.accessibility import assert_accessible
from tests.browser.lab import (
    DARK,
    LIGHT,
    SCRIPT,
    Lab,
    Outside,
    Part,
    assert_markup_is_text,
    errors,
    open_empty,
    printed,
    run_a_script,
    run_code,
    screenshot,
    use_theme,
)

_INCIDENT: Final = """import os, tempfile
os.environ["TASKTOOLS_LEDGER"] = os.path.join(tempfile.mkdtemp(), "ledger.db")
import tasktools as tt
cluster = tt.connect("demo://?incident=bad_deploy")
widget = tt.widgets.incident(cluster)
widget"""
_MARKUP: Final = f"""import tasktools as tt
cluster = tt.connect("memory://")
cluster.create_topic({SCRIPT!r})
for n in range(30):
    cluster.publish({SCRIPT!r}, "send", kwargs={{"n": n}})
widget = tt.widgets.incident(cluster)
widget"""

pytestmark = pytest.mark.slow


class Incident(Part):
    """The widget on the page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, page.locator(".tasktools-incident").last)

    def finding(self, text: str) -> Locator:
        """The line of a finding."""
        return self.all.locator(".ti-head").filter(has_text=text)


def test_the_cause_is_found_explained_and_its_dead_letters_are_planned(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "incident.ipynb")
    run_code(page, _INCIDENT)
    incident = Incident(page)

    # The cause is the first thing that is read.
    first = incident.all.locator(".ti-head").first
    expect(first).to_contain_text("The dead letters of 'orders' grew")
    expect(first).to_contain_text("critical")
    expect(incident.status("ruled out")).to_be_visible()
    screenshot(page, "incident", tmp_path)

    # By keyboard: the next line, and back; Enter unfolds it.
    first.focus()
    page.keyboard.press("ArrowDown")
    expect(first).not_to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-expanded", "true")
    detail = incident.all.locator(".ti-detail")
    expect(detail).to_contain_text("tt.failure_groups(cluster.dead_letters('orders'))")
    expect(incident.all).to_contain_text("Topic orders")

    # What the failed tasks have in common.
    incident.button("What failed tasks have in common").click()
    expect(incident.all.get_by_text("failed tasks have in common (")).to_be_visible()

    # Its dead letters, and a plan of them.
    incident.button("Dead letters of its topic").click()
    letters = Part(page, page.locator(".tasktools-dead-letters").last)
    expect(letters.button("Look")).to_be_enabled()
    letters.button("Look").click()
    expect(letters.all.locator(".tasktools-table .tt-body [role=row]").first).to_be_visible()
    screenshot(page, "incident-opened", tmp_path)
    assert_accessible(incident.all)

    # What cannot be told, and what was ruled out, is folded, and there; below it the timeline.
    incident.all.locator(".ti-folded summary").filter(has_text="ruled out").click()
    expect(incident.all.locator(".ti-folded[open] li").first).to_be_visible()
    expect(incident.all.locator(".tt-timeline .js-plotly-plot").first).to_be_visible()
    use_theme(page, DARK)
    paper = incident.all.locator(".tt-timeline .main-svg").first
    expect(paper).to_have_css("background-color", "rgb(17, 17, 17)")
    screenshot(page, "incident-dark", tmp_path)
    assert_accessible(incident.all)
    use_theme(page, LIGHT)
    assert printed(page, "widget.state.problem") == ""
    assert outside.urls == []
    assert errors(page) == []


def test_names_with_markup_are_text(lab: Lab, page: Page, outside: Outside, tmp_path: Path) -> None:
    open_empty(page, lab, "incident_markup.ipynb")
    run_a_script(page)
    run_code(page, _MARKUP)
    incident = Incident(page)
    line = incident.finding("<script>").first
    expect(line).to_be_visible(timeout=60_000)
    line.click()
    expect(incident.all).to_contain_text("Its state")
    screenshot(page, "incident-markup", tmp_path)
    assert_markup_is_text(page, incident.all.locator(":scope > :not(.tt-timeline)"), outside)
