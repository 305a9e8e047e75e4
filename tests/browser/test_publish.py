"""The publish widget as an operator uses it: in JupyterLab, in a browser, with the mouse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tasktools.testing import eventually
from tests.browser.accessibility import assert_accessible
from tests.browser.lab import (
    DARK,
    IMAGE,
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

_OPEN: Final = """import tasktools as tt
from tasktools.demo import signatures
cluster = tt.connect("demo://?speed=3")
widget = tt.widgets.publish(cluster, signatures=signatures)
widget"""
_HOSTILE: Final = f"""import tasktools as tt
from tasktools.testing import task_event
cluster = tt.connect("memory://")
cluster.broker.ensure_topic("{IMAGE}")
cluster.publish("{IMAGE}", "{SCRIPT}")
widget = tt.widgets.publish(cluster)
widget"""
_FAIL: Final = f"""cluster.broker.broadcast(task_event(
    "task_failed", widget.state.outcome["task_id"][0], "{SCRIPT}", error="{IMAGE}"))"""
_NOTE: Final = """form => {
  window.shown = new Set();
  const note = () => form.querySelectorAll('tbody tr, [role=status]').forEach(
    part => window.shown.add(part.textContent));
  new MutationObserver(note).observe(form, {childList: true, characterData: true, subtree: true});
}"""
_WAS_SHOWN: Final = "words => [...window.shown].some(text => new RegExp(words, 's').test(text))"
_THREADS: Final = "[t.name for t in __import__('threading').enumerate() if 'publish' in t.name]"

pytestmark = pytest.mark.slow


class Form(Part):
    """The widget on the page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, page.locator(".tasktools-publish").last)

    def row(self, text: str | re.Pattern[str]) -> Locator:
        return self.all.locator("table.tt-table tbody tr").filter(has_text=text)

    def note_what_is_shown(self) -> None:
        self.all.evaluate(_NOTE)

    def has_shown(self, words: str) -> None:
        """Wait until a row or a status has matched *words*, be it for a moment only."""
        self.page.wait_for_function(_WAS_SHOWN, arg=words)


def test_an_operator_publishes_a_task_and_a_batch_and_sees_them_run_to_their_end(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "publish.ipynb")
    run_code(page, _OPEN)
    form = Form(page)
    expect(form.all).to_contain_text("DEMO")
    expect(form.button("Publish")).to_be_disabled()

    # An unknown topic is refused in words.
    form.fill("Topic", "emials")
    form.fill("Task", "shop.emails:send_email")
    form.fill("to", "me@example.com")
    expect(form.status("There is no topic 'emials'. Did you mean 'emails'?")).to_be_visible()
    expect(form.button("Publish")).to_be_disabled()
    screenshot(page, "publish_refused", tmp_path)

    # One task, to its end.
    form.fill("Topic", "mine")
    form.all.get_by_text("Create the topic", exact=True).click()
    form.note_what_is_shown()  # tasks run for a second or a few
    form.button("Publish").click()
    form.has_shown("confirmed.*running")
    expect(form.row("confirmed").filter(has_text="succeeded")).to_be_visible()
    expect(form.status("1 task: 1 confirmed · 1 succeeded")).to_be_visible()
    screenshot(page, "publish_one", tmp_path)

    # A batch from a file, with the second click.
    form.button("A batch").click()
    with page.expect_file_chooser() as chooser:
        form.all.get_by_role("button", name="File with tasks").click()
    chooser.value.set_files(
        {"name": "mails.csv", "mimeType": "text/csv", "buffer": fifty().encode()}
    )
    expect(form.all).to_contain_text("50 tasks in mails.csv")
    form.button("Publish 50 tasks …").click()
    expect(form.all).to_contain_text("Publish 50 tasks to mine?")
    screenshot(page, "publish_asked", tmp_path)
    form.button("Yes, publish").click()
    expect(form.all).to_contain_text("50 of 50")
    expect(form.status("51 tasks: 51 confirmed")).to_be_visible()
    expect(form.all.locator(".tt-bar")).to_be_visible()
    form.has_shown(r"· [1-9]\d* succeeded, [1-9]")
    light = screenshot(page, "publish_batch_light", tmp_path)
    assert_accessible(form.all)
    use_theme(page, DARK)
    dark = screenshot(page, "publish_batch_dark", tmp_path)
    assert_accessible(form.all)
    use_theme(page, LIGHT)

    expect(form.status("51 confirmed · 51 succeeded")).to_be_visible()
    expect(form.all.locator(".tt-bar span")).to_have_count(1)
    expect(form.all.locator(".tt-bar-key")).to_have_text("51 succeeded")
    assert printed(page, "widget.state.counts, [widget.state.problem]") == (
        "{'succeeded': 51} ['']"
    )
    assert errors(page) == []
    assert outside.urls == []
    assert light.read_bytes() != dark.read_bytes()


def fifty() -> str:
    """Return a file of 50 tasks, which leaves the topic and the task to the form."""
    rows = [json.dumps({"to": f"customer{n}@example.com"}).replace('"', '""') for n in range(50)]
    return "kwargs\n" + "".join(f'"{row}"\n' for row in rows)


def test_markup_in_names_payloads_and_errors_is_shown_as_text_and_never_runs(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "markup.ipynb")
    run_a_script(page)

    run_code(page, _HOSTILE)
    form = Form(page)
    form.fill("Topic", IMAGE)
    form.fill("Task", SCRIPT)
    form.fill("kwargs", json.dumps({"note": SCRIPT}))
    expect(form.button("Publish")).to_be_enabled()
    form.button("Publish").click()
    expect(form.row("confirmed")).to_contain_text(SCRIPT)
    expect(form.row("confirmed")).to_contain_text(IMAGE)
    run_code(page, _FAIL)
    expect(form.row("failed")).to_contain_text(IMAGE)
    form.fill("Topic", f"{IMAGE}{SCRIPT}")
    expect(form.status(f"There is no topic '{IMAGE}{SCRIPT}'")).to_be_visible()
    assert_markup_is_text(page, form.all, outside)
    screenshot(page, "publish_markup", tmp_path)


def command(page: Page, cell: Locator, name: str) -> None:
    """Run a command of JupyterLab on *cell*."""
    cell.locator(".jp-InputArea-editor").click()
    page.evaluate("name => window.jupyterapp.commands.execute(name)", name)


def test_a_widget_that_leaves_the_screen_stops_its_thread_and_one_that_comes_back_goes_on(
    lab: Lab, page: Page
) -> None:
    open_empty(page, lab, "screen.ipynb")
    run_code(page, "first = None")
    shown = run_code(page, f"{_OPEN[:-6]}\nfirst = first or widget\nwidget")
    Form(page)
    assert printed(page, _THREADS) == "['tasktools-publish']"

    # Run again: another widget takes its place on the page.
    command(page, shown, "notebook:run-cell")
    alive = "first.feed.alive, widget.feed.alive, first is widget"
    eventually(lambda: printed(page, alive) == "False True False")

    command(page, shown, "notebook:clear-cell-output")
    expect(page.locator(".tasktools-publish")).to_have_count(0)
    eventually(lambda: printed(page, _THREADS) == "[]")

    run_code(page, "widget")
    Form(page).fill("Topic", "emials")
    expect(Form(page).status("Did you mean 'emails'?")).to_be_visible()

    run_code(page, "widget.close()")
    expect(page.locator(".tasktools-publish")).to_have_count(0)
    eventually(lambda: printed(page, _THREADS) == "[]")
    assert errors(page) == []
