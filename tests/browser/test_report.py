"""A report as somebody gets it who has only the file: offline, by keys, on paper, in the dark."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import tasktools as tt
from tests import incident

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    incident.record_incident(folder / "ops.db")
    with tt.connect(f"sqlite:///{folder / 'ops.db'}") as history:
        return tt.report(history, folder / "incident.html", since="25min")


@pytest.fixture
def sheet(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened from its file with the network off; nothing may be asked or complained."""
    asked: list[str] = []
    complaints: list[str] = []
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, offline=True, accept_downloads=True
    )
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert asked == [report.as_uri()]
    assert complaints == []


def shot(page: Page, name: str, fallback: Path) -> None:
    """Take a picture of what is in sight into `TASKTOOLS_SCREENSHOTS`, or *fallback*."""
    folder = Path(os.environ.get("TASKTOOLS_SCREENSHOTS") or fallback)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(page.screenshot())


def in_sight(page: Page, text: str) -> bool:
    """Whether *text* is on the first screen, without scrolling."""
    box = page.get_by_text(text).first.bounding_box()
    return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= 720


def test_the_cause_is_on_the_first_screen_and_nothing_in_it_runs(
    sheet: Page, tmp_path: Path
) -> None:
    assert sheet.evaluate("scrollY") == 0
    assert in_sight(sheet, "2 workers of 'emails' have ended nothing")
    assert in_sight(sheet, "cluster.active_tasks('emails', queued=False)")
    assert sheet.get_by_text(incident.SCRIPT).count() > 0
    assert sheet.title() == "Incident report 2027-01-15 08:30 UTC"
    shot(sheet, "report", tmp_path)


def test_the_policy_lets_no_other_script_run(sheet: Page, report: Path, tmp_path: Path) -> None:
    """Were there a script in it by some mistake, the browser would not run it."""
    wrong = tmp_path / "wrong.html"
    text = report.read_text(encoding="utf-8")
    wrong.write_text(text.replace("<main>", f"<main>{incident.SCRIPT}"), encoding="utf-8")
    other = sheet.context.new_page()
    other.goto(wrong.as_uri())
    assert other.title() != "pwned"
    other.close()


def test_values_at_a_time_are_read_off_by_pointer_and_by_keys(sheet: Page) -> None:
    chart = sheet.locator("figure.chart", has_text="Queue depth").first
    svg, emails = chart.locator("> svg"), chart.locator("li", has_text="emails").locator("output")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box is not None
    sheet.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    expect(emails).to_have_text("0")
    sheet.mouse.move(5, 5)
    expect(emails).to_have_text("")
    svg.focus()
    sheet.keyboard.press("ArrowLeft")  # the end
    expect(emails).to_have_text("352")
    other = sheet.locator("figure.chart", has_text="Utilisation of the cluster").locator("output")
    expect(other).to_have_text("50%")


def test_it_can_be_read_by_keys_alone(sheet: Page) -> None:
    sheet.keyboard.press("Tab")
    expect(sheet.get_by_role("link", name="Skip to the cause")).to_be_focused()
    folded = sheet.locator("details.checks summary").first
    folded.focus()
    sheet.keyboard.press("Enter")
    expect(sheet.locator("details.checks").first).to_have_attribute("open", "")
    for name in ("Cause", "Figures", "Data"):
        expect(sheet.get_by_role("region", name=name, exact=True)).to_have_count(1)


def test_frames_are_saved_as_csv_and_checked_against_their_sha256(sheet: Page) -> None:
    row = sheet.locator("tr.frame", has=sheet.get_by_role("rowheader", name="queue_depth"))
    with sheet.expect_download() as saving:
        row.get_by_role("button", name="csv").click()
    contents = Path(saving.value.path()).read_bytes()
    assert saving.value.suggested_filename == "queue_depth.csv"
    assert hashlib.sha256(contents).hexdigest() == row.get_attribute("data-sha256")
    assert {line["topic"] for line in csv.DictReader(io.StringIO(contents.decode()))} == {
        *("emails", "images", "reports")
    }
    sheet.get_by_role("button", name="Check the SHA-256").click()
    expect(sheet.locator("#checked")).to_contain_text("frames are as written")
    sheet.evaluate("document.querySelector('tr.frame').dataset.sha256 = 'wrong'")
    sheet.get_by_role("button", name="Check the SHA-256").click()
    expect(sheet.locator("#checked")).to_contain_text("Not as written: findings")


def background(page: Page) -> Any:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_it_has_a_dark_theme_and_on_paper_it_is_light_and_open(sheet: Page, tmp_path: Path) -> None:
    light = background(sheet)
    sheet.emulate_media(color_scheme="dark")
    assert background(sheet) != light
    shot(sheet, "report_dark", tmp_path)
    sheet.emulate_media(color_scheme="light", media="print")
    assert background(sheet) == light
    expect(sheet.locator("details.checks li").first).to_be_visible()
    expect(sheet.get_by_role("navigation")).to_be_hidden()
    wide = sheet.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert sheet.pdf(format="A4").startswith(b"%PDF")
