"""The moving picture of the README: an incident of the demo is found and mended, in JupyterLab.

``python -m tests.browser.film docs/incident.gif`` makes it anew, from the product as it is.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser.lab import Part, launch_chromium, open_empty, run_code, running_lab

_SIZE: Final = (1280, 720)
_COLOURS: Final = 96
_MAX_BYTES: Final = 2_000_000
_OPEN: Final = """import tasktools as tt
cluster = tt.connect("demo://?incident=bad_deploy")
widget = tt.widgets.incident(cluster)
widget"""
_ENDED: Final = re.compile("Of the replayed tasks: (?!.*(queued|running)).*succeeded")
_RING: Final = """element => {
  const ring = document.createElement('div'), box = element.getBoundingClientRect();
  ring.id = 'ring';
  ring.style.cssText = `position: fixed; z-index: 99999; pointer-events: none; border-radius: 6px;
    border: 3px solid #d6336c; left: ${box.left - 6}px; top: ${box.top - 6}px;
    width: ${box.width + 6}px; height: ${box.height + 6}px`;
  document.body.append(ring);
}"""


@dataclass
class Film:
    """The pictures of *page* so far, and for how long each is shown."""

    page: Page
    pictures: list[Image.Image] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def show(self, seconds: float) -> None:
        """Show the page as it is now for *seconds*."""
        picture = Image.open(io.BytesIO(self.page.screenshot(animations="disabled")))
        self.pictures.append(picture.convert("RGB"))
        self.seconds.append(seconds)

    def click(self, target: Locator) -> None:
        """Show what will be clicked on, and click on it."""
        target.scroll_into_view_if_needed()
        target.evaluate(_RING)
        self.show(1.2)
        self.page.evaluate("document.getElementById('ring').remove()")
        target.click()

    def top(self, part: Locator) -> None:
        """Scroll until *part* begins at the top of the page."""
        part.evaluate("element => element.scrollIntoView({block: 'start'})")

    def save(self, file: Path) -> None:
        """Write the film as a GIF, with the colours of its most colourful picture for all."""
        most_colourful = max(self.pictures, key=lambda each: len(each.getcolors(2**24) or ()))
        palette = most_colourful.quantize(_COLOURS, dither=Image.Dither.NONE)
        first, *rest = (
            each.quantize(palette=palette, dither=Image.Dither.NONE) for each in self.pictures
        )
        durations = [round(1000 * seconds) for seconds in self.seconds]
        first.save(file, save_all=True, append_images=rest, duration=durations, loop=0)


def act(page: Page, film: Film) -> None:
    """Find the incident, and mend it."""
    run_code(page, _OPEN)
    incident = Part(page, page.locator(".tasktools-incident").last)
    cause = incident.all.locator(".ti-head").first
    expect(cause).to_contain_text("The dead letters of 'orders' grew")
    film.top(page.locator(".jp-Cell").last)
    film.show(3)
    film.click(cause)
    expect(incident.all.locator(".ti-detail")).to_contain_text("tt.failure_groups")
    film.show(3)
    film.click(incident.button("Dead letters of its topic"))
    letters = Part(page, page.locator(".tasktools-dead-letters").last)
    expect(letters.button("Look")).to_be_enabled()
    film.top(letters.all)
    film.click(letters.button("Look"))
    groups = letters.all.get_by_role("group", name="Groups")
    broken = groups.get_by_role("button").filter(has_text="missing <n> required argument").first
    expect(broken).to_be_visible()
    film.top(letters.all)
    film.show(2)
    film.click(broken)
    expect(letters.all.get_by_role("status").filter(has_text="shown of").first).to_be_visible()
    film.click(letters.all.get_by_role("button", name="Select all"))
    expect(letters.all).to_contain_text("messages selected")
    film.click(letters.button("Add an edit"))
    letters.fill("Edit", "kwargs.currency")
    letters.fill("becomes", '"EUR"')
    film.show(1.5)
    film.click(letters.button("Make the plan"))
    expect(letters.all.locator(".tt-plan")).to_contain_text("replay")
    letters.fill("Reason", "INC-42: the new release needs a currency")
    film.top(letters.all.get_by_text("Add an edit"))
    film.show(4)
    film.click(letters.button("Run the plan …"))
    sure = letters.all.get_by_role("button", name=re.compile("Replay .* messages to orders"))
    expect(sure).to_be_enabled()
    film.click(sure)
    expect(letters.status(_ENDED)).to_be_visible()
    letters.status(_ENDED).scroll_into_view_if_needed()
    film.show(6)


def main() -> None:
    """Make the film, and write it to the file that is named."""
    file = Path(sys.argv[1])
    expect.set_options(timeout=120_000)
    with tempfile.TemporaryDirectory() as home:
        os.environ["TASKTOOLS_LEDGER"] = f"{home}/ledger.db"
        with running_lab(Path(home)) as lab, sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            page = browser.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]})
            open_empty(page, lab, "incident.ipynb")
            film = Film(page)
            act(page, film)
            browser.close()
    film.save(file)
    if file.stat().st_size > _MAX_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size:,} bytes, more than {_MAX_BYTES:,}")


if __name__ == "__main__":
    main()
