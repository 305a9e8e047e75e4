"""The table as an operator uses it: 100,000 rows in JupyterLab, with the mouse and the keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import (
    IMAGE,
    SCRIPT,
    Lab,
    Outside,
    Part,
    assert_markup_is_text,
    cells,
    errors,
    open_empty,
    printed,
    run_a_script,
    run_code,
    screenshot,
    use_theme,
)
from tests.timing import within

MARKUP: Final = f"{SCRIPT}{IMAGE}"
SOON: Final = 1.0
"""Seconds within which the first rows, and 25,000 selected ones, are on screen."""

_MANY: Final = """from tests.browser.many_rows import dead_letters, state_of
from tasktools.widgets.table import TableWidget
state = state_of(100_000)
print("made")"""
_FEW: Final = """from tests.browser.many_rows import dead_letters, state_of
from tasktools.widgets.table import TableWidget
state = state_of(200)
widget = TableWidget(state, label="Dead letters", lines=8)
widget"""
_SHOW: Final = "widget = TableWidget(state, label='Dead letters')\nwidget"
_NOTE: Final = """alert => {
  window.told = [];
  new MutationObserver(() => window.told.push(alert.textContent)).observe(
    alert, {childList: true});
}"""
_HOSTILE: Final = f"""frame = dead_letters(5)
frame["error"] = {MARKUP!r}
frame["task_name"] = "\\ud800\\u202eevil"
frame["kwargs"] = [{{{MARKUP!r}: {MARKUP!r}}}] * 5
state.show(frame)"""

pytestmark = pytest.mark.slow


class Table(Part):
    """The table on the page."""

    def __init__(self, page: Page, number: int = 0) -> None:
        super().__init__(page, page.locator(".tasktools-table").nth(number))
        self.grid = self.all.get_by_role("grid")
        self.rows = self.all.locator(".tt-body [role=row]")
        self.rows.first.wait_for()

    def says(self, text: str) -> Locator:
        return self.all.get_by_role("status").get_by_text(text, exact=True)

    def row(self, place: int) -> Locator:
        """The row at *place* in the list of shown rows."""
        return self.all.locator(f".tt-body [role=row][aria-rowindex='{place + 2}']")

    def scroll_to(self, place: int) -> None:
        self.grid.evaluate("(grid, place) => { grid.scrollTop = place * 26 }", place)
        self.row(place + 3).wait_for()

    def keys(self, condition: str = "") -> list[str]:
        """The keys of the rows that are drawn, from top to bottom."""
        places: list[tuple[int, str]] = self.all.locator(
            f".tt-body [role=row]{condition}"
        ).evaluate_all("rows => rows.map(row => [+row.ariaRowIndex, row.dataset.key])")
        return [key for _place, key in sorted(places)]

    @property
    def selected(self) -> list[str]:
        return self.keys("[aria-selected=true]")


def in_python(page: Page, expression: str) -> list[str]:
    values: list[str] = json.loads(printed(page, f"__import__('json').dumps(list({expression}))"))
    return values


def test_100_000_rows_are_shown_filtered_sorted_and_selected_within_a_second(
    lab: Lab, page: Page, outside: Outside
) -> None:
    open_empty(page, lab, "speed.ipynb")
    run_code(page, _MANY).get_by_text("made", exact=True).wait_for()
    with within(SOON, "first rows of 100,000"):
        run_code(page, _SHOW)
        table = Table(page)
    expect(table.says("100,000 rows")).to_be_visible()
    with within(SOON, "first filter"):
        table.filter("timeout SEND_email")
        table.button("Select all 8,334").wait_for()
    with within(SOON, "next filter"):
        table.filter("timeout")
        table.button("Select all 25,000").wait_for()
    with within(SOON, "25,000 selected"):
        table.button("Select all 25,000").click()
        table.says("25,000 selected").wait_for()
    with within(SOON, "sorted"):
        table.heading("Died").click()
        table.sorted("ascending").wait_for()
    with within(SOON, "scrolled to the middle"):
        table.scroll_to(12_000)

    selected = "dead_letters(100_000).set_index('key').error_type[list(state.selected)]"
    assert printed(page, f"len(state.selected), set({selected})") == "25000 {'Timeout'}"
    assert errors(page) == []
    assert outside.urls == []


def test_what_an_operator_selects_is_what_is_seen_after_filter_sort_and_scroll(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    open_empty(page, lab, "select.ipynb")
    run_code(page, _MANY)
    run_code(page, _SHOW)
    table = Table(page)
    table.filter("timeout")
    expect(table.says("25,000 shown of 100,000 rows")).to_be_visible()
    table.heading("Died").click()
    expect(table.sorted("ascending")).to_be_visible()
    table.scroll_to(12_000)
    table.row(12_003).locator(".tt-check").click()
    table.row(12_009).click(modifiers=["Shift"])
    table.row(12_006).click(modifiers=["Control"])
    table.row(12_012).click()
    expect(table.says("6 selected")).to_be_visible()
    expect(table.row(12_012)).to_have_class(re.compile("tt-current"))
    expect(table.heading("Died")).to_be_in_viewport()
    light = screenshot(page, "table_light", tmp_path)
    use_theme(page, "JupyterLab Dark")
    dark = screenshot(page, "table_dark", tmp_path)
    use_theme(page, "JupyterLab Light")
    assert light.read_bytes() != dark.read_bytes()
    seen = table.selected
    assert len(seen) == 6
    assert sorted(in_python(page, "state.selected")) == sorted(seen)
    assert in_python(page, "[r.key for r in state.page(12_003, 12_010).rows if r.selected]") == seen
    assert in_python(page, "[state.current]") == table.keys(".tt-current")

    # Still those, when others are shown, and when they are back.
    table.filter("keyerror")
    expect(table.says("6 of them hidden")).to_be_visible()
    assert table.selected == []
    screenshot(page, "table_hidden", tmp_path)
    table.filter("")
    expect(table.says("100,000 rows")).to_be_visible()
    table.heading("Died").click()
    expect(table.sorted("descending")).to_be_visible()
    assert sorted(in_python(page, "state.selected")) == sorted(seen)
    table.filter("timeout")
    expect(table.says("25,000 shown of 100,000 rows")).to_be_visible()
    table.scroll_to(24_999 - 12_009)
    assert table.selected == seen[::-1]
    assert errors(page) == []


def test_the_keys_move_select_and_never_reach_the_notebook(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    open_empty(page, lab, "keys.ipynb")
    run_code(page, _FEW)
    table = Table(page)
    before = cells(page).count()
    table.row(1).click()
    table.grid.focus()
    for key in ("ArrowDown", "Space", "b", "d", "d", "x", "Shift+ArrowDown", "Shift+ArrowDown"):
        page.keyboard.press(key)
    expect(table.says("3 selected")).to_be_visible()
    assert in_python(page, "state.selected") == table.selected == table.keys()[2:5]

    page.keyboard.press("Control+a")
    # What was printed has taken the focus: the keys are the notebook's again.
    table.grid.focus()
    page.keyboard.press("Control+a")
    expect(table.says("200 selected")).to_be_visible()
    page.keyboard.press("End")
    expect(table.row(199)).to_be_in_viewport()
    assert in_python(page, "[state.current]") == table.keys(".tt-current") == table.keys()[-1:]
    screenshot(page, "table_keys", tmp_path)
    assert cells(page).count() == before + 2  # the two that printed
    assert errors(page) == []


def test_two_views_scroll_by_themselves_and_an_answer_that_comes_late_is_not_drawn(
    lab: Lab, page: Page
) -> None:
    open_empty(page, lab, "views.ipynb")
    run_code(page, _FEW)
    first = Table(page)
    run_code(page, "widget")
    second = Table(page, 1)
    second.scroll_to(100)
    second.row(103).locator(".tt-check").click()
    expect(first.says("1 selected")).to_be_visible()
    assert first.keys()[0] == in_python(page, "[row.key for row in state.page(0, 1).rows]")[0]
    first.scroll_to(100)
    assert first.selected == second.selected == in_python(page, "state.selected")

    # An answer about the list before, when the filter's is on screen.
    first.all.locator("[role=alert]").evaluate(_NOTE)
    run_code(page, f"from dataclasses import asdict\nlate = {answer(first, 'late')}")
    run_code(page, "state.filter = 'keyerror'")
    expect(first.says("50 shown of 200 rows")).to_be_visible()
    run_code(page, "widget.send(late)")
    # One about the list that is shown now is drawn: else this would prove nothing.
    run_code(page, f"widget.send({answer(first, 'now')})")
    expect(first.all.get_by_role("alert")).to_have_text("now")
    assert first.keys() == in_python(page, "[row.key for row in state.page(0, 50).rows]")
    assert page.evaluate("window.told") == ["now"]

    run_code(page, "widget.close()")
    expect(page.locator(".tasktools-table")).to_have_count(0)
    assert errors(page) == []


def answer(table: Table, problem: str) -> str:
    """Return Python for an answer to the view that is *table*, with *problem* as a mark."""
    view = table.rows.first.evaluate("row => row.id.replace(/-\\d+$/, '')")
    return (
        f"{{**asdict(state.page(0, 50)), 'view': {view!r}, 'answers': 'look',"
        f" 'problem': {problem!r}}}"
    )


def test_markup_in_rows_is_shown_as_text_and_never_runs(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "rows.ipynb")
    run_a_script(page)
    run_code(page, _FEW)
    table = Table(page)
    run_code(page, _HOSTILE)
    expect(table.says("5 rows")).to_be_visible()
    expect(table.row(0)).to_contain_text(MARKUP)
    expect(table.row(0)).to_contain_text(r"\ud800\u202eevil")
    table.filter(MARKUP)
    expect(table.rows).to_have_count(5)
    assert_markup_is_text(page, table.all, outside)
    screenshot(page, "table_markup", tmp_path)
