"""The quick start as a newcomer sees it: opened in JupyterLab, in a browser, and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

from tests.browser.lab import Lab, Outside, errors, open_notebook, run_all, run_code, screenshot

NOTEBOOK: Final = "01_quickstart.ipynb"
MARKUP: Final = "<script>window.pwned=1</script>"
IMAGE: Final = "<img src=x onerror=window.pwned=1>"

_EMPTY: Final = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
_CONTROL: Final = "from IPython.display import HTML\nHTML('<script>window.control=1</script>')"
_HOSTILE: Final = f"""import tasktools as tt
hostile = tt.connect("memory://")
hostile.publish("{IMAGE}", "shop:send", kwargs={{"to": "{MARKUP}"}}, create=True)
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
    (lab.root / "empty.ipynb").write_text(json.dumps(_EMPTY), encoding="utf-8")
    open_notebook(page, lab.base, "empty.ipynb")

    # In this page a script of an output does run: else the test would prove nothing.
    run_code(page, _CONTROL)
    page.wait_for_function("window.control === 1")

    shown = run_code(page, _HOSTILE).locator("table.dataframe")
    shown.wait_for()
    page.wait_for_timeout(1000)  # time for a script, or for an image that cannot be loaded
    screenshot(page, "markup_in_a_message", tmp_path)

    assert errors(page) == []
    assert MARKUP in shown.inner_text()
    assert IMAGE in shown.inner_text()
    assert shown.locator("script, img").count() == 0
    assert page.evaluate("window.pwned") is None
    assert outside.urls == []
