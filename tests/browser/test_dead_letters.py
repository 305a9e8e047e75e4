"""The dead-letter widget as an operator uses it: tasks fail, and are repaired and replayed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import (
    Lab,
    Outside,
    errors,
    open_empty,
    printed,
    run_code,
    screenshot,
    use_theme,
)

SCRIPT: Final = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
LIGHT: Final = "JupyterLab Light"
DARK: Final = "JupyterLab Dark"

_FAIL: Final = f"""import os, tempfile
os.environ["TASKTOOLS_LEDGER"] = os.path.join(tempfile.mkdtemp(), "ledger.db")
import tasktools as tt
cluster = tt.connect("memory://")
registry, sent = tt.TaskRegistry(), []

@registry.task(name="send")
def send(to, password=""):
    if "@" not in to:
        raise ValueError(f"{{to}} is no address")
    if to.endswith("nowhere.example"):
        raise TimeoutError("smtp.nowhere.example did not answer within 30 s")
    sent.append(to)

cluster.broker.ensure_topic("emails")
for n in range(40):
    to = f"user{{n}}.example.com" if n % 4 else f"user{{n}}@nowhere.example"
    cluster.publish("emails", "send", kwargs={{"to": to, "password": "s3cret"}})
cluster.publish("emails", "send", kwargs={{"to": {SCRIPT!r}, "password": "s3cret"}})
runner = tt.TaskRunner(broker=cluster.broker, topics=["emails"], registry=registry)
runner.start()
widget = tt.widgets.dead_letters(cluster)
widget"""

expect.set_options(timeout=60_000)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Letters:
    """The widget on the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.all = page.locator(".tasktools-dead-letters").last
        self.all.wait_for()

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.all.get_by_role("button", name=name, exact=True)

    def group(self, name: str) -> Locator:
        return (
            self.all.get_by_role("group", name="Groups").get_by_role("button").filter(has_text=name)
        )

    def row(self, text: str) -> Locator:
        return self.all.locator(".tasktools-table .tt-body [role=row]").filter(has_text=text)

    def says(self, text: str | re.Pattern[str]) -> Locator:
        return self.all.get_by_role("status").filter(has_text=text)

    def fill(self, label: str, text: str) -> None:
        self.all.get_by_label(label, exact=True).fill(text)


def picture(page: Page, name: str, fallback: Path) -> Path:
    """Take a picture of the notebook from its top."""
    page.locator(".jp-WindowedPanel-outer").first.evaluate("outer => { outer.scrollTop = 0 }")
    return screenshot(page, name, fallback)


def test_failed_tasks_are_looked_at_repaired_replayed_and_accounted_for(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "dead_letters.ipynb")
    run_code(page, _FAIL)
    letters = Letters(page)
    expect(letters.all.get_by_label("Topic")).to_contain_text("emails")
    expect(letters.all).to_contain_text("A look is harmless")
    letters.button("Look").click()
    expect(letters.says("41 messages in emails.dead.")).to_be_visible()
    letters.group("user<n>.example.com").click()
    expect(letters.all).to_contain_text("30 shown of 41 rows")
    letters.row("user1.example.com").first.click()
    letters.button("Show the whole message").click()
    expect(letters.all.locator(".tt-detail")).to_contain_text("raise ValueError")
    picture(page, "dead_letters_looked", tmp_path)
    letters.button("Select all 30").click()
    letters.button("Add an edit").click()
    letters.fill("Edit", "kwargs.to")
    letters.fill("becomes", "team@example.com")
    letters.button("Make the plan").click()
    expect(letters.all.locator(".tt-plan")).to_contain_text("replay 30 messages")
    letters.fill("Reason", "INC-7: addresses without a host")
    letters.button("Run the plan …").click()
    light = picture(page, "dead_letters_light", tmp_path)
    use_theme(page, DARK)
    dark = picture(page, "dead_letters_dark", tmp_path)
    use_theme(page, LIGHT)
    letters.button("Replay 30 messages to emails").click()
    expect(letters.says("Run 1: 30 replayed.")).to_be_visible()
    expect(letters.says("30 succeeded")).to_be_visible()
    expect(letters.says("11 messages in emails.dead.")).to_be_visible()
    picture(page, "dead_letters_done", tmp_path)
    assert printed(page, "sent == ['team@example.com'] * 30, widget.state.problem") == "True"
    assert errors(page) == []
    assert outside.urls == []
    assert light.read_bytes() != dark.read_bytes()
