"""The quick start as a newcomer sees it: opened in JupyterLab, in a browser, and run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

from tests.browser.lab import (
    IMAGE,
    SCRIPT,
    Lab,
    Outside,
    assert_markup_is_text,
    errors,
    open_empty,
    open_notebook,
    run_a_script,
    run_all,
    run_code,
    screenshot,
)

NOTEBOOK: Final = "01_quickstart.ipynb"

_HOSTILE: Final = f"""import tasktools as tt
hostile = tt.connect("memory://")
hostile.publish("{IMAGE}", "shop:send", kwargs={{"to": "{SCRIPT}"}}, create=True)
hostile.active_tasks()[["topic", "task_name", "kwargs"]]"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


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
    assert workers.first.locator("tbody tr").count() == 8
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
