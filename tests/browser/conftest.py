"""One JupyterLab for the session, a Chromium for each module, a page and a kernel for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.lab import Lab, Outside, launch_chromium, running_lab

expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium. It ends with the module: until then asyncio takes playwright's loop for a running
    one, and a widget in a later test of this process would wait for it for ever."""
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture
def outside() -> Outside:
    """The requests of the page that would have left the machine."""
    return Outside()


@pytest.fixture
def page(browser: Browser, outside: Outside) -> Iterator[Page]:
    """A page without cookies or storage of another test; it leaves no kernel behind, with a demo
    that goes on for as long as the others are tested."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    page = context.new_page()
    outside.watch(page)
    try:
        yield page
        page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
    finally:
        context.close()
