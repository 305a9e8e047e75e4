"""The quick start as a newcomer sees it: opened in JupyterLab, in a browser, and run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import (
    DARK,
    IMAGE,
    LIGHT,
    SCRIPT,
    Lab,
    Outside,
    assert_markup_is_text,
    cells,
    errors,
    open_empty,
    open_notebook,
    run_a_script,
    run_all,
    run_code,
    screenshot,
    use_theme,
)

NOTEBOOK: Final = "01_quickstart.ipynb"

_HOSTILE: Final = f"""import tasktools as tt
hostile = tt.connect("memory://")
hostile.publish("{IMAGE}", "shop:send", kwargs={{"to": "{SCRIPT}"}}, create=True)
hostile.active_tasks()[["topic", "task_name", "kwargs"]]"""

pytestmark = pytest.mark.slow


def test_the_quick_start_runs_top_to_bottom_and_shows_the_demo_cluster(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_notebook(page, lab.base, NOTEBOOK)
    screenshot(page, "quickstart_opened", tmp_path)

    counts = run_all(page)
    workers = page.locator(".jp-OutputArea-output table.dataframe:has(th:text-is('worker_id'))")
    workers.first.wait_for()
    picture = screenshot(page, "quickstart_run", tmp_path)

    assert counts == list(range(1, len(counts) + 1))
    assert errors(page) == []
    assert workers.first.locator("tbody tr").count() == 10
    assert "alive" in workers.first.inner_text()
    assert page.locator(".jp-OutputArea-output", has_text="DEMO").count()
    assert outside.urls == []
    assert picture.stat().st_size > 10_000


def test_markup_in_a_message_is_shown_as_text_and_never_runs(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "empty.ipynb")
    run_a_script(page)

    shown = run_code(page, _HOSTILE).locator("table.dataframe")
    shown.wait_for()
    assert_markup_is_text(page, shown, outside)
    screenshot(page, "markup_in_a_message", tmp_path)
    assert SCRIPT in shown.inner_text()
    assert IMAGE in shown.inner_text()


_TYPESET: Final = "from IPython.display import HTML\nHTML(r'<p id=control>$\\alpha^2$</p>')"
_FORMULAS: Final = r"""import tasktools as tt
odd = tt.connect("memory://")
odd.publish(r"pay$\alpha^2$", r"shop:\(x^2\)", kwargs={"a\u202eb": "$y_1$"}, create=True)
odd.active_tasks()[["topic", "task_name", "kwargs"]]"""


def test_names_in_a_frame_are_neither_typeset_nor_disguised(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    """Issue 11, secrets: `$…$` in names was typeset by MathJax, bidi overrides disguised names."""
    open_empty(page, lab, "formulas.ipynb")
    shown = run_code(page, _FORMULAS).locator("table.dataframe")
    shown.wait_for()

    # In this page formulas are typeset: else the test would prove nothing.
    run_code(page, _TYPESET)
    page.locator("#control mjx-container").wait_for()
    screenshot(page, "formulas_in_names", tmp_path)

    assert shown.locator("mjx-container").count() == 0
    assert r"pay$\alpha^2$" in shown.inner_text()
    assert r'{"a\u202eb": "$y_1$"}' in shown.inner_text()
    odd_names = "odd.peek(odd.topics()['topic'][0])['task_name'].tolist()"
    assert r"x^2" in run_code(page, odd_names).inner_text()  # a name from a frame works


_FRAMES: Final = """import tasktools as tt
from IPython.display import display
shop = tt.connect("demo://")
display(shop.workers(), shop.topics(), shop.active_tasks(), shop.dead_letters("orders"))
display(tt.diagnose(shop), tt.timeline(shop), shop.dead_letters("orders").head(1))"""
_OUTSIDE: Final = """() => [...document.querySelectorAll('.tasktools-frame')].map(frame => {
  const right = frame.getBoundingClientRect().right + 1;
  return [...frame.querySelectorAll('td, th')].filter(
    cell => cell.getBoundingClientRect().right > right).map(cell => cell.innerText);
})"""
_CONTRAST: Final = """cell => {
  const seen = color => color.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
    c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4
  ).reduce((sum, c, place) => sum + c * [.2126, .7152, .0722][place], 0);
  let under = [255, 255, 255];
  const layers = [];
  for (let node = cell; node; node = node.parentElement) layers.unshift(node);
  const over = ([r, g, b, a = 1]) => {
    under = [r, g, b].map((c, n) => c * a + under[n] * (1 - a));
  };
  layers.forEach(node => over(seen(getComputedStyle(node).backgroundColor)));
  const back = light(under);
  over(seen(getComputedStyle(cell).color));
  const [high, low] = [light(under), back].sort((a, b) => b - a);
  return (high + .05) / (low + .05);
}"""


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_frames_fit_on_the_screen_and_can_be_read(
    lab: Lab, page: Page, tmp_path: Path, theme: str
) -> None:
    """Of 17 columns 12 were shown, and the alarming ones were off screen."""
    page.set_viewport_size({"width": 1280, "height": 800})
    open_empty(page, lab, f"frames_{theme[-4:].strip()}.ipynb")
    use_theme(page, theme)
    output = run_code(page, _FRAMES)
    frames = output.locator(".tasktools-frame")
    frames.nth(6).wait_for()
    for details in output.locator("details").all():
        details.locator("summary").click()
    screenshot(page, f"frames_{theme[-4:].strip().lower()}", tmp_path)

    assert errors(page) == []
    assert page.evaluate(_OUTSIDE) == [[]] * 7
    late = frames.first.locator("td.tt-warning", has_text="late")
    dead = frames.nth(1).locator("tr.tt-warning td.tt-warning").first
    for cell in (late, dead, frames.first.locator("tbody td").last):
        assert cell.is_visible()
        assert cell.evaluate(_CONTRAST) > 4.5
    assert frames.first.locator("tbody tr").first.inner_text().startswith("▲")
    assert frames.nth(3).locator("td[title]").count() > 10


def test_the_home_hands_its_topic_to_the_notebook_that_it_opens(page: Page, lab: Lab) -> None:
    open_notebook(page, lab.base, "00_home.ipynb")
    run_all(page)
    assert errors(page) == []
    shown = cells(page).filter(has_text="notebook_links")
    orders = shown.locator(".jp-OutputArea-output").filter(has_text="orders")
    orders.get_by_role("link", name="Dead letters").click()
    path = "topics/orders/03_dead_letters.ipynb"
    page.wait_for_function(
        "path => jupyterapp.shell.currentWidget.context?.path === path", arg=path
    )
    added = cells(page).filter(has_text="topic = 'orders'")
    expect(added).to_contain_text("default = 'demo://?incident=bad_deploy'")
