"""The dead-letter widget as an operator uses it: tasks fail, and are repaired and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

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

MARKUP: Final = f"{SCRIPT}{IMAGE}"

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
cluster.publish("emails", "send", kwargs={{"to": {MARKUP!r}, "password": "s3cret"}})
runner = tt.TaskRunner(broker=cluster.broker, topics=["emails"], registry=registry)
runner.start()
widget = tt.widgets.dead_letters(cluster)
widget"""
_DEMO: Final = """import os, tempfile
os.environ["TASKTOOLS_LEDGER"] = os.path.join(tempfile.mkdtemp(), "ledger.db")
import tasktools as tt
cluster = tt.connect("demo://?speed=3")
widget = tt.widgets.dead_letters(cluster, "orders")
widget"""

pytestmark = pytest.mark.slow


class Letters(Part):
    """The widget on the page."""

    def __init__(self, page: Page) -> None:
        super().__init__(page, page.locator(".tasktools-dead-letters").last)

    def group(self, name: str) -> Locator:
        return (
            self.all.get_by_role("group", name="Groups").get_by_role("button").filter(has_text=name)
        )

    def row(self, text: str) -> Locator:
        return self.all.locator(".tasktools-table .tt-body [role=row]").filter(has_text=text)

    @property
    def detail(self) -> Locator:
        return self.all.locator(".tt-detail")

    @property
    def plan(self) -> Locator:
        return self.all.locator(".tt-plan")

    def selected(self) -> list[str]:
        """The keys of the rows in sight that are selected."""
        keys: list[str] = self.all.locator(
            ".tasktools-table .tt-body [aria-selected=true]"
        ).evaluate_all("rows => rows.map(row => row.dataset.key)")
        return keys


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

    # What a look costs is said before it.
    expect(letters.all.get_by_label("Topic")).to_contain_text("emails  ·  41 dead")
    expect(letters.all).to_contain_text("A look is harmless")
    letters.button("Look").click()
    expect(letters.status("41 messages in emails.dead.")).to_be_visible()

    # A group, and of it those that match; the others stay as they are.
    letters.group("user<n>.example.com").click()
    expect(letters.all).to_contain_text("30 shown of 41 rows")
    letters.filter("user1")
    letters.button("Select all 9").click()
    expect(letters.all).to_contain_text("9 messages selected")
    letters.row("user1.example.com").click()
    expect(letters.detail).to_contain_text("user1.example.com is no address")
    picture(page, "dead_letters_selected", tmp_path)

    # A plan with an edit; what changes afterwards makes it stale.
    letters.button("Add an edit").click()
    letters.fill("Edit", "kwargs.password")
    letters.fill("becomes", "•••")
    expect(letters.status("it holds •••, which stands for a secret")).to_be_visible()
    letters.fill("Edit", "kwargs.to")
    letters.fill("becomes", "team@example.com")
    letters.button("Make the plan").click()
    expect(letters.plan).to_contain_text("replay 9 messages of emails.dead to emails")
    expect(letters.plan).to_contain_text("'user1.example.com' (1), ")
    expect(letters.plan).to_contain_text("and 4 other values → 'team@example.com'")
    expect(letters.button("Run the plan …")).to_be_disabled()
    letters.fill("Reason", "INC-7: addresses without a host")
    letters.all.get_by_role("button", name="Select none").click()
    expect(letters.status("has changed since this plan was made")).to_be_visible()
    letters.button("Select all 9").click()
    letters.button("Run the plan …").click()
    light = picture(page, "dead_letters_light", tmp_path)
    assert_accessible(letters.all)
    use_theme(page, DARK)
    dark = picture(page, "dead_letters_dark", tmp_path)
    assert_accessible(letters.all)
    use_theme(page, LIGHT)

    # The second click, and what came of it; the filter stays.
    letters.button("Replay 9 messages to emails").click()
    expect(letters.status("Run 1: 9 replayed.")).to_be_visible()
    expect(letters.status("9 succeeded")).to_be_visible()
    expect(letters.status("32 messages in emails.dead.")).to_be_visible()
    expect(letters.all).to_contain_text("No row matches.")
    picture(page, "dead_letters_replayed", tmp_path)
    assert_accessible(letters.all)

    assert printed(page, "sorted(sent) == ['team@example.com'] * 9") == "True"
    assert printed(page, "tt.ledger()[['reason', 'done']].values.tolist()") == (
        "[['INC-7: addresses without a host', 9]]"
    )
    assert printed(page, "[widget.state.problem, widget.state.table.problem]") == "['', '']"
    assert errors(page) == []
    assert outside.urls == []
    assert light.read_bytes() != dark.read_bytes()


def test_a_ramp_stops_at_the_first_task_that_fails_again(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    open_empty(page, lab, "ramp.ipynb")
    run_code(page, _FAIL)
    letters = Letters(page)
    letters.button("Look").click()
    letters.group("TimeoutError").click()
    letters.button("Select all 10").click()
    letters.all.get_by_label("Ramp: 1 first, then up to 10, 100, 1,000, then the rest").check()
    letters.button("Make the plan").click()
    letters.fill("Reason", "does it answer by now?")
    letters.button("Run the plan …").click()
    letters.button("Replay 10 messages to emails").click()
    expect(letters.status("Run 1 was stopped by its ramp: 9 not sent, 1 replayed.")).to_be_visible()
    expect(letters.status("1 failed again")).to_be_visible()
    expect(letters.status("41 messages in emails.dead.")).to_be_visible()
    picture(page, "dead_letters_stopped", tmp_path)
    assert printed(page, "[widget.state.problem, widget.state.table.problem]") == "['', '']"
    assert errors(page) == []


def test_markup_in_messages_is_shown_as_text_and_never_runs(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "markup.ipynb")
    run_a_script(page)
    run_code(page, _FAIL)
    letters = Letters(page)
    letters.button("Look").click()
    letters.group("<script>").click()
    expect(letters.all).to_contain_text("1 shown of 41 rows")
    letters.row(MARKUP).click()
    letters.button("Show the whole message").click()
    expect(letters.detail).to_contain_text("raise ValueError")
    expect(letters.detail).to_contain_text(MARKUP)
    expect(letters.detail).not_to_contain_text("s3cret")
    letters.button("Select all 1").click()
    letters.button("Add an edit").click()
    letters.fill("Edit", MARKUP)
    letters.fill("becomes", MARKUP)
    expect(letters.status("is no path")).to_contain_text(MARKUP)
    letters.fill("Edit", "kwargs.to")
    letters.button("Make the plan").click()
    expect(letters.plan).to_contain_text(f"→ '{MARKUP}'")
    assert_markup_is_text(page, letters.all, outside)
    picture(page, "dead_letters_markup", tmp_path)


def test_what_is_planned_is_what_was_selected_after_filter_sort_and_scroll(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    open_empty(page, lab, "demo_letters.ipynb")
    run_code(page, _DEMO)
    letters = Letters(page)
    expect(letters.all).to_contain_text("DEMO")
    letters.button("Look").click()
    letters.group("CardDeclined").first.click()

    # Each row has its arguments on a second line; which columns there are, one chooses.
    expect(letters.row("was declined").first).to_contain_text('"card_token":"•••"')
    expect(letters.heading("Task id")).to_have_count(0)
    letters.all.get_by_text("Columns", exact=True).click()
    letters.all.get_by_role("checkbox", name="Task id", exact=True).click()
    expect(letters.heading("Task id")).to_be_visible()
    letters.all.get_by_text("Columns", exact=True).click()

    # The next step is in sight, wherever one is.
    expect(letters.button("Make the plan")).to_be_in_viewport()
    letters.heading("Message").click()
    expect(letters.sorted("ascending")).to_be_visible()
    letters.row("was declined").first.locator(".tt-check").click()
    expect(letters.all).to_contain_text("1 message selected")
    last = letters.row("was declined").last
    letters.filter(last.get_by_role("gridcell").filter(has_text="was declined").inner_text())
    expect(letters.row("was declined")).to_have_count(1)
    last.locator(".tt-check").click()
    expect(letters.all).to_contain_text("2 messages selected")
    chosen = set(letters.selected())
    letters.filter("")
    letters.all.get_by_label("Group by").select_option("Task")
    letters.button("Discard").click()
    letters.fill("Archive", "")
    letters.button("Make the plan").click()
    expect(letters.plan).to_contain_text("NOT kept: they are gone for good")
    letters.fill("Reason", "as agreed")
    letters.button("Run the plan …").click()
    expect(letters.button("Discard 2 messages for good")).to_be_visible()
    picture(page, "dead_letters_discard", tmp_path)
    letters.button("Discard 2 messages for good").click()
    expect(letters.status("Run 1: 2 discarded.")).to_be_visible()
    discarded = printed(page, "*widget.state.outcome['key']").split()
    assert chosen <= set(discarded)
    assert len(discarded) == 2
    assert errors(page) == []
