"""A JupyterLab of the tests' own, and what they do in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    Locator,
    Page,
    Playwright,
    Request,
    ViewportSize,
    WebSocket,
    sync_playwright,
)

from tasktools.testing.node import free_ports
from tests.browser.server import running_server
from tests.jupyter import NOTEBOOKS, REPOSITORY

CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

SCRIPT: Final = "<script>window.pwned=1</script>"
IMAGE: Final = "<img src=x onerror=window.pwned=1>"
_VIEWPORT: Final = ViewportSize(width=1280, height=900)
LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"

_NO_OUTSIDE: Final = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
_LOCAL: Final = ("127.0.0.1", None, "")  # None: data: and blob:, which are in the page itself
_SETTINGS: Final = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are in the page, not only those in sight.
    "notebook-extension/tracker": {"windowingMode": "none"},
}

# The indicator of the notebook says "idle" before the kernel listens: ask the kernel itself.
_READY: Final = """async path => {
  const until = async (what, check) => {
    for (const end = Date.now() + 60000; !(await check());) {
      if (Date.now() > end) throw new Error(`after 60 s still waiting for ${what}`);
      await new Promise(done => setTimeout(done, 50));
    }
  };
  const widget = () => window.jupyterapp?.shell.currentWidget;
  const kernel = () => widget().sessionContext.session?.kernel;
  await until('the notebook', () => widget()?.sessionContext &&
    widget().context.path === path && widget().context.isReady);
  await until('a kernel', () => kernel()?.connectionStatus === 'connected');
  await kernel().info;
  await until('the kernel to be idle', () => kernel().status === 'idle');
}"""
_OPEN: Final = """async path => {
  await window.jupyterapp.commands.execute('docmanager:open', {path});
}"""
_LEAVE: Final = """async () => {
  const {serviceManager, shell} = window.jupyterapp;
  for (const widget of [...shell.widgets('main')]) widget.dispose();
  await serviceManager.sessions.shutdownAll();
  delete window.control;
  delete window.pwned;
}"""
_RUN_ALL: Final = """async () => {
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
  return window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount);
}"""
_RUN_CODE: Final = """async source => {
  const {commands, shell} = window.jupyterapp, notebook = shell.currentWidget.content;
  notebook.activeCellIndex = notebook.widgets.length - 1;
  await commands.execute('notebook:insert-cell-below');
  notebook.activeCell.model.sharedModel.setSource(source);
  await commands.execute('notebook:run-cell');
  return notebook.activeCellIndex;
}"""
_USE_THEME: Final = """async theme => {
  await window.jupyterapp.commands.execute('apputils:change-theme', {theme});
}"""
_RUN_SCRIPT: Final = "from IPython.display import HTML\nHTML('<script>window.control=1</script>')"
_EMPTY: Final = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
_HEIGHT: Final = """() => {
  const all = window.jupyterapp.shell.currentWidget.content.widgets.map(cell => cell.node);
  return all.at(-1).getBoundingClientRect().bottom - all[0].getBoundingClientRect().top;
}"""


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that is running; its notebooks are copies."""

    base: str
    root: Path


@contextlib.contextmanager
def running_lab(home: Path, program: str = "jupyterlab") -> Iterator[Lab]:
    """Start a JupyterLab, or the `notebook` that is made of its parts, with everything of its own
    in *home*, and stop it by its process."""
    root, settings = home / "notebooks", home / "settings"
    shutil.copytree(NOTEBOOKS, root, ignore=shutil.ignore_patterns("topics"))
    for name, values in _SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", program, "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={root}", "--expose-app-in-browser", "--allow-root"]
    command += ["--LabApp.extension_manager=readonly", "--LabApp.news_url=None"]
    base = f"http://127.0.0.1:{port}"
    extensions = home / "share" / "labextensions"  # where the wheel puts its own
    shutil.copytree(REPOSITORY / "tasktools/board/labextension", extensions / "tasktools")
    folders = {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTER_PATH": str(extensions.parent)}
    with running_server(command, home, f"{base}/api/status", **folders):
        yield Lab(base, root)


def launch_chromium(playwright: Playwright) -> Browser:
    """Start the system's Chromium, for which no name but the loopback exists."""
    executable = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if executable is None:
        raise AssertionError(
            "No Chromium is installed; the notebooks were not looked at. Install the package "
            "chromium (apt-get install chromium, brew install chromium), or Google Chrome."
        )
    return playwright.chromium.launch(
        executable_path=executable, args=["--no-sandbox", _NO_OUTSIDE]
    )


@dataclass
class Outside:
    """The requests of a page that would have left the machine."""

    urls: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def watching(self, page: Page) -> Iterator[None]:
        page.on("request", self._note)
        page.on("websocket", self._note)
        try:
            yield
        finally:
            page.remove_listener("request", self._note)
            page.remove_listener("websocket", self._note)

    def _note(self, asked: Request | WebSocket) -> None:
        if urlsplit(asked.url).hostname not in _LOCAL:
            self.urls.append(asked.url)


class Chromium:
    """A Chromium with pages that know nothing of each other, of which JupyterLab has one."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.browser = launch_chromium(self._stack.enter_context(sync_playwright()))
        self._stack.callback(self.browser.close)
        self._lab_page: Page | None = None

    def new_page(self) -> Page:
        """Return a page without cookies or storage of another."""
        context = self.browser.new_context(viewport=_VIEWPORT)
        context.set_default_timeout(60_000)
        return context.new_page()

    def lab_page(self) -> Page:
        """Return the page in which JupyterLab stays loaded, as large as a new one."""
        if self._lab_page is None:
            self._lab_page = self.new_page()
        self._lab_page.set_viewport_size(_VIEWPORT)
        return self._lab_page

    def close_page(self, page: Page) -> None:
        """Close *page* with its cookies and storage."""
        if page is self._lab_page:
            self._lab_page = None
        page.context.close()

    def close(self) -> None:
        self._stack.close()


class Part:
    """A widget on the page, found by its role and its labels."""

    def __init__(self, page: Page, where: Locator) -> None:
        self.page, self.all = page, where
        self.all.wait_for()

    def fill(self, label: str, text: str) -> None:
        self.all.get_by_label(label, exact=True).fill(text)

    def filter(self, text: str) -> None:
        self.all.get_by_role("searchbox", name="Filter").fill(text)

    def heading(self, title: str) -> Locator:
        return self.all.get_by_role("columnheader").get_by_role("button", name=title)

    def sorted(self, way: str) -> Locator:
        return self.all.locator(f"[aria-sort={way}]")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.all.get_by_role("button", name=name, exact=True)

    def status(self, text: str | re.Pattern[str]) -> Locator:
        return self.all.get_by_role("status").filter(has_text=text)


def open_notebook(page: Page, base: str, name: str) -> None:
    """Open the notebook *name* on a kernel that is ready, in the light theme: all tests share a
    JupyterLab, which keeps the theme that the one before has chosen."""
    if page.evaluate("window.jupyterapp === undefined"):
        load_notebook(page, base, name)
    else:
        page.evaluate(_OPEN, name)
        page.evaluate(_READY, name)
    if page.evaluate("document.body.dataset.jpThemeName") != LIGHT:
        use_theme(page, LIGHT)


def load_notebook(page: Page, base: str, name: str, folder: str = "doc/tree") -> None:
    """Load JupyterLab (anew) with the notebook *name*, on a kernel that is ready."""
    page.goto(f"{base}/{folder}/{name}", wait_until="domcontentloaded")
    page.evaluate(_READY, name)


def leave_notebooks(page: Page) -> None:
    """Close all notebooks, saved or not, and end their kernels, with a demo that goes on for as
    long as the others are tested; nothing of them is left in the page."""
    page.evaluate(_LEAVE)


def open_empty(page: Page, lab: Lab, name: str) -> None:
    """Open a new notebook called *name*, without cells, on a kernel that is ready."""
    (lab.root / name).write_text(json.dumps(_EMPTY), encoding="utf-8")
    open_notebook(page, lab.base, name)


def use_theme(page: Page, name: str) -> None:
    """Show everything in the theme *name*, "JupyterLab Light" or "JupyterLab Dark"."""
    page.evaluate(_USE_THEME, name)
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)
    page.wait_for_timeout(500)  # figures and tables draw themselves anew


def run_all(page: Page) -> list[int | None]:
    """Run all cells and return the execution counts of the code cells."""
    counts: list[int | None] = page.evaluate(_RUN_ALL)
    return counts


def run_code(page: Page, source: str) -> Locator:
    """Run *source* in a new cell at the end and return that cell."""
    index = page.evaluate(_RUN_CODE, source)
    return cells(page).nth(index)


def cells(page: Page) -> Locator:
    """Return all cells of the notebook, in order."""
    return page.locator(".jp-Notebook .jp-Cell")


def printed(page: Page, expression: str) -> str:
    """Return what the kernel prints for *expression*, by running it in a new cell."""
    cell = run_code(page, f"print({expression})")
    output = cell.locator(".jp-OutputArea-output pre").first
    output.wait_for()
    return output.inner_text().strip()


def errors(page: Page) -> list[str]:
    """Return what the notebook shows as errors: tracebacks, and anything on stderr."""
    kinds = ("error", "stderr")
    shown = ", ".join(f'[data-mime-type="application/vnd.jupyter.{kind}"]' for kind in kinds)
    return page.locator(f".jp-OutputArea-output:is({shown})").all_inner_texts()


def run_a_script(page: Page) -> None:
    """Show that in this page a script of an output does run: else a test would prove nothing."""
    run_code(page, _RUN_SCRIPT)
    page.wait_for_function("window.control === 1")


def assert_markup_is_text(page: Page, shown: Locator, outside: Outside) -> None:
    """Give `SCRIPT` and `IMAGE` the time to run, and check that neither of them is in *shown* as
    anything but text."""
    page.wait_for_timeout(1000)
    assert shown.locator("script, img").count() == 0
    assert page.evaluate("window.pwned") is None
    assert errors(page) == []
    assert outside.urls == []


def screenshot(page: Page, name: str, fallback: Path) -> Path:
    """Take a picture of the whole notebook into `TASKTOOLS_SCREENSHOTS`, or *fallback*."""
    folder = Path(os.environ.get("TASKTOOLS_SCREENSHOTS") or fallback)
    folder.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size or {"width": 1280, "height": 800}
    page.set_viewport_size({"width": size["width"], "height": round(page.evaluate(_HEIGHT)) + 160})
    page.wait_for_timeout(300)  # JupyterLab lays itself out anew
    file = folder / f"{name}.png"
    file.write_bytes(page.screenshot())  # with a path, playwright leaves a thread behind
    return file
