"""The live board as a page of its own: notebook 05 under Voilà, without JupyterLab."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tasktools.testing import eventually
from tasktools.testing.node import free_ports
from tests.browser.accessibility import violations
from tests.browser.lab import Outside
from tests.browser.server import running_server
from tests.jupyter import NOTEBOOKS

NOTEBOOK: Final = NOTEBOOKS / "05_live_dashboard.ipynb"
FIGURES: Final = 6

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    """The address of the page of notebook 00, in a folder of its own."""
    for name in ("00_home.ipynb", "03_dead_letters.ipynb"):
        shutil.copy(NOTEBOOKS / name, tmp_path)
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "voila", str(tmp_path), "--no-browser", f"--port={port}"]
    command += ["--Voila.ip=127.0.0.1", "--Voila.port_retries=0"]
    with running_server(command, tmp_path, f"{base}/voila/static/voila.js"):
        yield f"{base}/voila/render/00_home.ipynb"


@pytest.fixture
def voila(tmp_path: Path) -> Iterator[str]:
    """The address of the page; each visit has a kernel of its own."""
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "voila", str(NOTEBOOK), "--no-browser", f"--port={port}"]
    command += ["--Voila.ip=127.0.0.1", "--Voila.port_retries=0", "--theme=dark"]
    with running_server(command, tmp_path, f"{base}/voila/static/voila.js"):
        yield base


def open_board(page: Page, address: str) -> Locator:
    """Open the page and return the board.

    ipywidgets waits two seconds for its models, looking every tenth of a second, and shows an
    error for good when they come after the last look but before it gives up: then a page that is
    loaded again is right.
    """
    board = page.locator(".tasktools-dashboard")
    lost = page.get_by_text("Error displaying widget: model not found")
    for _ in range(3):
        page.goto(address)
        expect(board.or_(lost).first).to_be_visible(timeout=60_000)
        if not lost.count():
            return board
    raise AssertionError("ipywidgets did not find the board on three pages in a row.")


def pixels(page: Page) -> list[str]:
    """What the canvases of the board show."""
    images: list[str] = page.locator(".tasktools-dashboard canvas").evaluate_all(
        "all => all.map(canvas => canvas.toDataURL())"
    )
    return images


def test_the_board_moves_and_figures_are_shown_without_any_code(
    voila: str, page: Page, outside: Outside, tmp_path: Path
) -> None:
    board = open_board(page, voila)
    expect(board).to_contain_text("DEMO")
    expect(board).to_contain_text("Queue depth")
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    assert page.locator(".js-plotly-plot").count() == FIGURES

    before = pixels(page)
    assert before
    for _ in range(3):  # it goes on, not only once
        eventually(lambda: pixels(page) != before)  # noqa: B023
        before = pixels(page)
    expect(board).to_contain_text(re.compile(r"newest point [0-3]\.\d s old"))

    assert page.get_by_text("tt.connect").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
    # Voilà itself asks for icons, which its pages do without.
    assert [url for url in outside.urls if "fontawesome" not in url] == []


def test_links_to_notebooks_keep_the_theme_that_the_page_was_asked_for(
    home: str, page: Page
) -> None:
    """Issue 15: those in Markdown cells lost it, so that one page was dark and the next light."""
    page.goto(f"{home}?theme=dark", timeout=180_000)
    links = page.locator('a[href*=".ipynb"]')
    for name in ("06_incident_investigation", "05_live_dashboard", "01_quickstart"):
        link = links.and_(page.get_by_role("link", name=name)).first
        expect(link).to_have_attribute("href", re.compile(r"\.ipynb\?theme=dark$"))
    made = page.get_by_role("link", name="Dead letters").first
    expect(made).to_have_attribute("href", re.compile(r"\?theme=dark$"))
    assert violations(made.locator(".."))[0] == []
    page.goto(home, timeout=180_000)
    expect(links.first).to_have_attribute("href", re.compile(r"\.ipynb$"))
