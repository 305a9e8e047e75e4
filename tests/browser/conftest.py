"""One JupyterLab and one Chromium for the tests of this folder, and a kernel for each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.lab import Chromium, Lab, Outside, leave_notebooks, running_lab

expect.set_options(timeout=60_000)

_CHROMIUM: Final = pytest.StashKey[Chromium]()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def chromium(pytestconfig: pytest.Config) -> Chromium:
    """A Chromium, which ends after the last test of this folder."""
    if _CHROMIUM not in pytestconfig.stash:
        pytestconfig.stash[_CHROMIUM] = Chromium()
    return pytestconfig.stash[_CHROMIUM]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """End Chromium before a test of another folder: until then asyncio takes playwright's loop for
    a running one, and a widget in a later test of this process would wait for it for ever."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path.parent != item.path.parent:
            with contextlib.suppress(KeyError):
                item.config.stash[_CHROMIUM].close()
                del item.config.stash[_CHROMIUM]


@pytest.fixture
def browser(chromium: Chromium) -> Browser:
    return chromium.browser


@pytest.fixture
def outside() -> Outside:
    """The requests of the page that would have left the machine."""
    return Outside()


@pytest.fixture
def page(chromium: Chromium, outside: Outside, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page without anything of another test, and a kernel that goes with the test.

    JupyterLab stays loaded in its page, which takes 3.5 s of processor time, and the next test
    opens its notebook there. After a test that failed it is loaded anew.
    """
    in_lab = "lab" in request.fixturenames
    page = chromium.lab_page() if in_lab else chromium.new_page()
    failed = request.session.testsfailed
    with outside.watching(page):
        yield page
    if in_lab and request.session.testsfailed == failed:
        leave_notebooks(page)
    else:
        chromium.close_page(page)
