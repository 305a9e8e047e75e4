"""Each notebook in each front end, light and dark: pictures, and a table of what went wrong.

``python -m tests.browser.front_ends FOLDER [PATTERN]`` opens every copy on the demo, runs it,
scrolls through it and uses its main widget; a pattern (``03``, ``voila dark``) chooses some.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final, Protocol

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tasktools.testing import eventually
from tasktools.testing.node import free_ports
from tests.browser.accessibility import violations
from tests.browser.lab import (
    DARK,
    LIGHT,
    Lab,
    Part,
    errors,
    launch_chromium,
    leave_notebooks,
    load_notebook,
    run_all,
    running_lab,
    use_theme,
)
from tests.browser.server import running_server
from tests.jupyter import NOTEBOOKS

_SIZE: Final = (1280, 720)
_STEP: Final = 600  # pixels from a picture to the next
_MAX_HEIGHT: Final = 15_000  # pixels of a page that axe-core judges
_THEMES: Final = {"light": LIGHT, "dark": DARK}
_FOREIGN: Final = {  # errors of the front ends themselves, and what they cost
    "fontawesome": "icons that Voilà asks the network for: no page needs them",
    "setData is not a function": "plotly's renderer under Voilà: the figures are drawn",
    "The getter for the shared module": "extensions that Voilà cannot load: none is ours",
    "(reading 'schema')": "JupyterLab's shortcuts, which Notebook 7 loads late: nothing is lost",
}
_MAX_LOADS: Final = 3
_SCROLLER: Final = """() => {
  const room = each => each.scrollHeight - each.clientHeight;
  const isMoved = each => {
    each.scrollTop = 1;
    return each.scrollTop > 0;
  };
  const all = [...document.querySelectorAll('*')].filter(each => room(each) > 0);
  all.sort((one, other) => room(other) - room(one));
  window.scroller = all.find(isMoved) ?? document.documentElement;
  return window.scroller.scrollHeight;
}"""
_OUTPUTS: Final = ".jp-OutputArea-output:visible:not(.jp-OutputArea-output *)"
_CUT_OFF: Final = """() => [...document.querySelectorAll('.tasktools-frame')].flatMap(frame => {
  const right = frame.getBoundingClientRect().right + 1;
  return [...frame.querySelectorAll('td, th')]
    .filter(cell => cell.getBoundingClientRect().right > right).map(cell => cell.innerText);
})"""
_SCROLL: Final = "top => { window.scroller.scrollTop = top; return window.scroller.scrollTop; }"


class FrontEnd(Protocol):
    """A program that shows notebooks."""

    @property
    def name(self) -> str:
        """Return what it is called in the table."""

    def run(self, page: Page, notebook: str, theme: str) -> None:
        """Show *notebook* in *theme*, and return once all of its cells have run."""

    def leave(self, page: Page) -> None:
        """End the kernel of the notebook."""


@dataclass(frozen=True)
class Laboratory:
    """JupyterLab, or Notebook 7, which is made of its parts."""

    name: str
    lab: Lab
    folder: str

    def run(self, page: Page, notebook: str, theme: str) -> None:
        load_notebook(page, self.lab.base, notebook, self.folder)
        use_theme(page, _THEMES[theme])
        run_all(page)

    def leave(self, page: Page) -> None:
        leave_notebooks(page)


@dataclass(frozen=True)
class Voila:
    """Voilà over a folder of notebooks, which shows outputs only."""

    name: str
    base: str

    def run(self, page: Page, notebook: str, theme: str) -> None:
        lost = page.get_by_text("Error displaying widget: model not found")
        for _ in range(_MAX_LOADS):  # see `open_board` in test_voila.py
            page.goto(f"{self.base}/voila/render/{notebook}?theme={theme}", timeout=180_000)
            expect(page.locator("#rendered_cells")).to_be_visible()
            page.wait_for_timeout(3000)  # it draws its widgets, or has lost one
            if not lost.count():
                return

    def leave(self, page: Page) -> None:
        page.goto("about:blank")


@contextlib.contextmanager
def running_front_ends(home: Path) -> Iterator[list[FrontEnd]]:
    """Start all three, on copies of the notebooks without their end, which closes the widgets."""
    with contextlib.ExitStack() as stack:
        shown: list[FrontEnd] = []
        for name, program, folder in (
            ("lab", "jupyterlab", "doc/tree"),
            ("notebook7", "notebook", "notebooks"),
        ):
            (home / name).mkdir()
            lab = stack.enter_context(running_lab(home / name, program))
            _leave_out_the_end(lab.root)
            shown.append(Laboratory(name, lab, folder))
        (home / "voila").mkdir()
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "voila", str(home / "lab" / "notebooks"), "--no-browser"]
        command += [f"--port={port}", "--Voila.ip=127.0.0.1", "--Voila.port_retries=0"]
        base = f"http://127.0.0.1:{port}"
        stack.enter_context(
            running_server(command, home / "voila", f"{base}/voila/static/voila.js")
        )
        yield [*shown, Voila("voila", base)]


def _leave_out_the_end(folder: Path) -> None:
    for file in folder.glob("*.ipynb"):
        notebook = json.loads(file.read_text(encoding="utf-8"))
        is_end = ["## The end" in "".join(cell["source"]) for cell in notebook["cells"]]
        if any(is_end):
            del notebook["cells"][is_end.index(True) :]
            file.write_text(json.dumps(notebook), encoding="utf-8")


def _open_a_link(page: Page) -> None:
    page.get_by_role("link", name="Dead letters").first.click()
    eventually(lambda: _is_open(page.context.pages, "/topics/"))
    opened = page.context.pages[-1]
    opened.wait_for_load_state()
    opened.wait_for_timeout(5000)  # Voilà draws its outputs one by one


def _is_open(pages: list[Page], path: str) -> bool:
    pages[0].wait_for_timeout(200)  # playwright hears of new pages only while it is asked
    return any(path in each.url for each in pages)


def _read(page: Page) -> None:
    assert page.locator(".tasktools-frame").count()
    assert not page.evaluate(_CUT_OFF), "cells of a frame are cut off"


def _publish(page: Page) -> None:
    form = Part(page, page.locator(".tasktools-publish").first)
    form.fill("Topic", "emails")
    form.fill("Task", "shop.emails:send_email")
    form.fill("to", "me@example.com")
    form.button("Publish").click()
    row = form.all.locator("table.tt-table tbody tr").filter(has_text="emails")
    expect(row).to_contain_text("succeeded")


def _replay(page: Page) -> None:
    letters = Part(page, page.locator(".tasktools-dead-letters").last)
    topics = letters.all.get_by_label("Topic", exact=True)
    topics.select_option(topics.locator("option").filter(has_text="orders").inner_text())
    groups = letters.all.get_by_role("group", name="Groups").get_by_role("button")
    letters.button("Look").click()  # perhaps before its cost is known
    groups.first.click()
    expect(letters.all).to_contain_text(re.compile(r"\d shown of \d"))  # else all are selected
    letters.all.get_by_role("button", name=re.compile("Select all")).click()
    letters.button("Make the plan").click()
    expect(letters.all.locator(".tt-plan")).to_contain_text("replay")


def _watch(page: Page) -> None:
    page.locator(".tasktools-board").first.scroll_into_view_if_needed()
    board = page.locator(".tasktools-board[data-drawn]").first
    queued = board.locator("[data-chart=queued]")
    line = queued.get_by_role("button", name="emails")
    line.click()
    expect(line).to_have_attribute("aria-pressed", "false")
    board.get_by_role("searchbox", name="Topics").fill("orders")
    expect(board.get_by_role("table", name="Topics").locator("tbody tr")).to_have_count(1)


def _investigate(page: Page) -> None:
    incident = Part(page, page.locator(".tasktools-incident").last)
    second = incident.all.locator(".ti-head").nth(1)
    second.click()
    expect(second).to_have_attribute("aria-expanded", "true")  # the buttons below it move then
    incident.button("Dead letters of its topic").click()
    expect(page.locator(".tasktools-dead-letters").last).to_be_visible()


def _plan_capacity(page: Page) -> None:
    capacity = Part(page, page.locator(".tasktools-capacity").last)
    traffic = capacity.all.locator(".widget-slider").filter(has_text="Traffic")
    traffic.locator(".noUi-handle").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(capacity.all.locator(".tt-figure .g-gtitle").last).to_contain_text("traffic × 1.15")


_USES: Final[dict[str, Callable[[Page], None]]] = {
    "00_home": _open_a_link,
    "01_quickstart": _read,
    "02_publish": _publish,
    "03_dead_letters": _replay,
    "04_task_replay": _read,
    "05_live_dashboard": _watch,
    "06_incident_investigation": _investigate,
    "07_capacity_planning": _plan_capacity,
}


@dataclass
class Visit:
    """The problems of a notebook in a front end and a theme."""

    name: str
    problems: dict[str, list[str]] = field(
        default_factory=lambda: {"cells": [], "page": [], "console": [], "axe": [], "use": []}
    )
    is_over: bool = False  # what is said of a kernel that is ended is no problem

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._note("page", error.stack or str(error)))
        page.on("console", self._note_message)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note("console", f"{message.text} ({message.location.get('url')})")

    def _note(self, kind: str, text: str) -> None:
        if not self.is_over and not any(words in text for words in _FOREIGN):
            self.problems[kind].append(text[:1000])

    def judge(self, page: Page) -> None:
        """Note what axe-core finds in the outputs, on a page that is high enough for all."""
        height = min(page.evaluate(_SCROLLER) + 240, _MAX_HEIGHT)
        page.set_viewport_size({"width": _SIZE[0], "height": height})
        page.wait_for_timeout(500)  # Jupyter lays itself out anew
        for output in page.locator(_OUTPUTS).all():
            self.problems["axe"] += violations(output)[0]
        page.set_viewport_size({"width": _SIZE[0], "height": _SIZE[1]})

    @property
    def line(self) -> str:
        counts = " | ".join(str(len(all_of_kind)) for all_of_kind in self.problems.values())
        return f"| {self.name} | {counts} |"


def visit(browser: Browser, front_end: FrontEnd, notebook: str, theme: str, folder: Path) -> Visit:
    """Run *notebook*, use it, and keep pictures of all of it in *folder*."""
    seen = Visit(f"{notebook} | {front_end.name} | {theme}")
    context = browser.new_context(viewport={"width": _SIZE[0], "height": _SIZE[1]})
    context.set_default_timeout(60_000)
    page = context.new_page()
    seen.watch(page)
    stem = f"{notebook[:2]}-{front_end.name}-{theme}"

    def keep(name: str) -> None:
        (folder / f"{stem}-{name}.png").write_bytes(context.pages[-1].screenshot())

    try:
        front_end.run(page, f"{notebook}.ipynb", theme)
        _keep_all_of_it(page, keep)
        seen.problems["cells"] += errors(page)
        seen.judge(page)
        _USES[notebook](page)
        page.wait_for_timeout(500)
        keep("used")
        page.mouse.wheel(0, _STEP)
        page.wait_for_timeout(300)
        keep("used-below")
        seen.judge(context.pages[-1])
        seen.is_over = True
        front_end.leave(page)
    except Exception as error:  # noqa: BLE001 - it is in the table, with a picture
        seen.problems["use"].append(str(error))
        keep("failed")
    context.close()
    return seen


def _keep_all_of_it(page: Page, keep: Callable[[str], None]) -> None:
    for number, top in enumerate(range(0, page.evaluate(_SCROLLER), _STEP)):
        reached = page.evaluate(_SCROLL, top)
        page.wait_for_timeout(200)
        keep(f"{number:02}")
        if reached < top:
            break


def main() -> None:
    """Visit those that are chosen, and write pictures and `table.md` into the folder."""
    folder, pattern = Path(sys.argv[1]), re.compile("".join(sys.argv[2:3]))
    folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=60_000)
    lines = ["| notebook | front end | theme | cells | page | console | axe | use |"]
    lines += ["|" + " --- |" * 8]
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(_USES)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
        running_front_ends(Path(home)) as front_ends,
        sync_playwright() as playwright,
    ):
        browser = launch_chromium(playwright)
        for notebook, front_end, theme in product(_USES, front_ends, _THEMES):
            if not pattern.search(f"{notebook} {front_end.name} {theme}"):
                continue
            seen = visit(browser, front_end, notebook, theme, folder)
            print(seen.line, flush=True)
            lines.append(seen.line)
            lines += [
                f"<!-- {kind}: {text} -->"
                for kind, all_of_kind in seen.problems.items()
                for text in dict.fromkeys(all_of_kind)
            ]
            (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main()
