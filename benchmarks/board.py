"""Watch the live board in JupyterLab and Chromium, offline: ``python -m benchmarks.board``.

For 30 minutes, or ``--minutes 2``: 20 topics and 20 workers, an hour of which is known
beforehand, one look a second. Exits with 1 when a bound is not met.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from tests.browser.lab import (
    Lab,
    Outside,
    launch_chromium,
    open_empty,
    printed,
    run_code,
    running_lab,
)
from tests.browser.lab import errors as errors_of

_CLUSTER: Final = """import gc, os, resource, threading, time
import tasktools as tt
from tests.browser.crowd import Crowd
crowd = Crowd(20, 20)
crowd.live_through(3600)
crowd.start()
print("made")"""
_BOARD: Final = """board = tt.widgets.dashboard(crowd.cluster)
board"""
# What the crowd itself costs is not the board's: it works in a thread of its own.
_COST: Final = """(sum(time.clock_gettime(time.pthread_getcpuclockid(t.ident))
  for t in threading.enumerate() if t.name == 'crowd'), time.process_time(), time.time())"""
_MEMORY: Final = """(gc.collect(), int(next(line for line in open('/proc/self/status')
  if line.startswith('VmRSS')).split()[1]) * 1024)[1]"""
_THREADS: Final = """[t.name for t in threading.enumerate()
  if t.name in ('tasktools-board', 'tasktools-findings')]"""
# The pauses between frames, and how old the newest point is each time that one is drawn.
_WATCH: Final = """() => {
  const seen = window.seen = {frames: [], ages: []};
  let last = performance.now(), newest = null;
  const frame = now => {
    seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  setInterval(() => {
    const {newest: at} = document.querySelector('.tb-status').dataset;
    seen.ages.push(Date.now() / 1000 - Number(at));
  }, 250);
}"""
_TAKE: Final = """() => {
  const {frames, ages} = window.seen;
  window.seen.frames = [], window.seen.ages = [];
  return {frames, ages};
}"""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured value, and its bound."""

    name: str
    value: float
    most: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it is within its bound."""
        return self.value <= self.most


class Watcher:
    """A page with the board, watched from outside."""

    def __init__(self, browser: Browser, page: Page, lab: Lab) -> None:
        self.page = page
        self.browser = browser.new_browser_cdp_session()
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        open_empty(page, lab, "board.ipynb")
        run_code(page, _CLUSTER).get_by_text("made", exact=True).wait_for(timeout=120_000)
        began = time.monotonic()
        run_code(page, _BOARD)
        page.locator(".tasktools-board[data-drawn]").wait_for()
        self.first = time.monotonic() - began

    def ask(self, expression: str) -> Any:
        """Return what the kernel says."""
        return ast.literal_eval(printed(self.page, expression))

    def heap(self) -> float:
        """Return the bytes that the page's scripts hold."""
        self.cdp.send("HeapProfiler.collectGarbage")
        return float(self.cdp.send("Runtime.getHeapUsage")["usedSize"])

    def memory(self) -> float:
        """Return the bytes that the processes of this browser have for themselves.

        Not those of files, which are shared with other browsers on the machine: their share grows
        when another one ends.
        """
        self.heap()  # garbage is no growth
        processes = self.browser.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(_share(int(process["id"])) for process in processes)


def _share(pid: int) -> float:
    """Return the bytes of a process that are of no file; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    sizes = dict(line.split(":", 1) for line in lines[1:])
    return 1024 * sum(float(sizes[kind].split()[0]) for kind in ("Pss_Anon", "Pss_Shmem"))


def watch(minutes: float) -> Iterator[Measure]:
    """Yield what was measured in so many *minutes*."""
    with (
        tempfile.TemporaryDirectory() as home,
        running_lab(Path(home) / "lab") as lab,
        sync_playwright() as playwright,
    ):
        browser = launch_chromium(playwright)
        page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        page.set_default_timeout(60_000)
        outside = Outside()
        with outside.watching(page):
            yield from _watched(Watcher(browser, page, lab), minutes)
        yield Measure("requests that leave the machine", len(outside.urls), 0, "")
        yield Measure("errors on the page", len(errors_of(page)), 0, "")
        browser.close()


def _watched(watcher: Watcher, minutes: float) -> Iterator[Measure]:
    page = watcher.page
    yield Measure("from the cell to the first points", watcher.first, 2.0, "s")
    page.wait_for_timeout(20_000)  # what grows only once has grown
    heap, memory, kernel = watcher.heap(), watcher.memory(), watcher.ask(_MEMORY)
    before = watcher.ask(_COST)
    page.evaluate(_WATCH)
    thirds, memories = [], []
    for _ in range(3):
        page.wait_for_timeout(minutes * 20_000)
        thirds.append(page.evaluate(_TAKE))
        memories.append(watcher.memory())
    after = watcher.ask(_COST)
    crowd, mine, seconds = (b - a for a, b in zip(before, after, strict=True))
    first, last = (statistics.median(third["ages"]) for third in (thirds[0], thirds[-1]))
    frames = sorted(frame for third in thirds for frame in third["frames"])
    yield Measure("age of the newest point, median of the first third", first, 1.5, "s")
    yield Measure("... and of the last", last, 1.5, "s")
    yield Measure("by how much it grew", last - first, 0.2, "s")
    yield Measure("pause between frames, 95th percentile", _at(frames, 0.95), 250, "ms")
    yield Measure("... and 99.9th", _at(frames, 0.999), 1000, "ms")
    yield Measure("CPU of the kernel", 100 * (mine - crowd) / seconds, 5, "%")
    yield Measure("growth of the kernel", (watcher.ask(_MEMORY) - kernel) / 1e6, 50, "MB")
    yield Measure("growth of the page's heap", (watcher.heap() - heap) / 1e6, 100, "MB")
    for third, now in zip(("first", "second", "last"), memories, strict=True):
        name = f"growth of the browser, all its processes, by the end of the {third} third"
        yield Measure(name, (now - memory) / 1e6, 100, "MB")
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    page.wait_for_timeout(2000)  # two intervals
    yield Measure(
        "threads 2 intervals after the output was closed", len(watcher.ask(_THREADS)), 0, ""
    )


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))]


def main() -> int:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=30.0)
    missed = 0
    for measure in watch(options.parse_args().minutes):
        verdict = "ok  " if measure.met else "MISS"
        missed += not measure.met
        value = f"{measure.value:.2f} {measure.unit}".strip()
        print(f"{verdict} {measure.name}: {value} (at most {measure.most:g})", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
