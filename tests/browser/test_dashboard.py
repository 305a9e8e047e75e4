"""The live board as an operator uses it, in JupyterLab."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Error, FloatRect, Locator, Page, expect

from tasktools.testing import eventually
from tests.browser.accessibility import assert_accessible
from tests.browser.crowd import MARKUP
from tests.browser.lab import (
    Chromium,
    Lab,
    Outside,
    cells,
    errors,
    leave_notebooks,
    load_notebook,
    open_empty,
    printed,
    run_code,
    screenshot,
    use_theme,
)

_DEMO: Final = """import tasktools as tt
cluster = tt.connect("demo://?incident=bad_deploy")
board = tt.widgets.dashboard(cluster, window="1m", thresholds={"queued": 40, "oldest": "5m"})
board"""
_OUT_OF_SIGHT: Final = f"""from IPython.display import HTML, display
display(HTML("<div style='height: 2000px'>a long output</div>"))
{_DEMO}"""
_DRAINING: Final = """import tasktools as tt
from pathlib import Path
from tests.capacity.recordings import record
file = Path("draining.db").absolute()
queue = [(at, 4000 - 2.0 * at, 50, 50, 8) for at in range(0, 1200, 5)]
record(file, "exports", queue)
cluster = tt.connect(f"sqlite:///{file}")
board = tt.widgets.dashboard(cluster, window="1h")
board"""
_CROWD: Final = """import tasktools as tt
from tests.browser.crowd import Crowd
crowd = Crowd(60, 200)
crowd.live_through(300)
crowd.start()
board = tt.widgets.dashboard(crowd.cluster, window="5m")
board"""
_SAVED: Final = """async () => {
  await window.jupyterapp.commands.execute('docmanager:save');
  return window.jupyterapp.shell.currentWidget.context.model.dirty;
}"""
_INK: Final = """async picture => {
  const image = new Image();
  image.src = `data:image/png;base64,${picture}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext('2d');
  pen.drawImage(image, 0, 0);
  const pixels = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer);
  return [image.width, image.height, new Set(pixels).size];
}"""

pytestmark = pytest.mark.slow


class Board:
    """The board on the page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.all = page.locator(".tasktools-board")
        page.locator(".tasktools-board[data-drawn]").wait_for()

    def chart(self, name: str) -> Locator:
        return self.all.locator(f"[data-chart={name}]")

    def keys(self, chart: str) -> list[str]:
        return self.chart(chart).locator(".tb-name").all_inner_texts()

    def rows(self) -> Locator:
        return self.all.get_by_role("table", name="Topics").locator("tbody tr")

    def newest(self) -> float:
        return float(self.all.locator(".tb-status").get_attribute("data-newest") or 0)

    def moves(self) -> None:
        """Wait until a newer point is drawn."""
        self.page.wait_for_function(
            "before => document.querySelector('.tb-status').dataset.newest > before",
            arg=self.newest(),
        )

    def plot(self, chart: str) -> FloatRect:
        box = self.chart(chart).locator(".u-over").bounding_box()
        assert box is not None
        return box

    def drag(self, chart: str, since: float, until: float) -> None:
        """Draw over *chart*, from one part of its width to another."""
        box = self.plot(chart)
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + since * box["width"], y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + until * box["width"], y, steps=4)
        self.page.mouse.up()


def state(page: Page, expression: str) -> str:
    return printed(page, f"board.state.{expression}")


def test_an_operator_watches_the_demo(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "board.ipynb")
    run_code(page, _DEMO)
    board = Board(page)
    expect(board.all.locator(".tb-demo")).to_have_text("DEMO")
    for _ in range(3):
        board.moves()
    names = ["emails", "exports", "images", "newsletters", "orders", "reports"]
    assert board.keys("queued") == board.keys("throughput") == names
    expect(board.all.locator("[data-tile=queued]")).to_contain_text("Queued")

    assert_all_in_two_rows_of_charts(page, board)
    point_and_zoom(page, board)
    use_the_keys(page, board)
    # Lines are hidden by their names, in all charts.
    board.chart("queued").get_by_role("button", name="reports").click()
    pressed = board.chart("oldest").get_by_role("button", name="reports")
    expect(pressed).to_have_attribute("aria-pressed", "false")
    assert state(page, "hidden") == "('reports',)"
    whole(page, "board_light", tmp_path)
    assert_accessible(board.all)

    pause_and_choose(page, board)
    use_theme(page, "JupyterLab Dark")
    board.moves()
    whole(page, "board_dark", tmp_path)
    assert_accessible(board.all)
    use_theme(page, "JupyterLab Light")
    investigate(page, board, tmp_path)
    use_the_table(page, board, tmp_path)
    save_files(page, board)
    assert errors(page) == []
    assert state(page, "problem") == ""
    assert outside.urls == []

    # Its threads end with its output.
    feeds = "{'tasktools-board', 'tasktools-findings', 'tasktools-incident'}"
    threads = f"sorted({feeds} & {{t.name for t in __import__('threading').enumerate()}})"
    assert printed(page, threads) == "['tasktools-board', 'tasktools-findings']"
    page.evaluate("window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    eventually(lambda: printed(page, threads) == "[]")


def whole(page: Page, name: str, fallback: Path) -> Path:
    """Take a picture of the notebook from its top."""
    cells(page).first.scroll_into_view_if_needed()
    return screenshot(page, name, fallback)


def assert_all_in_two_rows_of_charts(page: Page, board: Board) -> None:
    """At 1280 x 720, with the files beside the notebook, six tiles and two charts are in a row."""
    page.set_viewport_size({"width": 1280, "height": 720})
    board.all.evaluate("board => { board.style.width = '848px' }")
    for part, count in ((".tb-tiles .tb-tile", 6), (".tb-charts .tb-chart", 2)):
        tops = board.all.locator(part).evaluate_all("all => all.map(e => e.offsetTop)")
        assert tops.count(tops[0]) == count
    texts = board.all.locator(".tb-tiles .tb-tile-text")
    texts.first.evaluate("each => { each.textContent = '11 min 55 s' }")  # until it is drawn anew
    assert texts.first.evaluate(
        "each => each.scrollWidth <= each.clientWidth && each.clientHeight < 40"
    ), "the text of a tile is cut off, or in two lines"
    finding = board.all.locator(".tb-finding .tb-tile-text")
    assert finding.evaluate("each => each.scrollWidth <= each.clientWidth"), "it is cut off"
    board.all.evaluate("board => { board.style.width = '' }")


def use_the_keys(page: Page, board: Board) -> None:
    """Read a chart, zoom, and filter, without the mouse."""
    plot = board.chart("queued").get_by_role("group")
    plot.focus()
    page.keyboard.press("ArrowLeft")
    expect(board.chart("dead_letters").locator(".tb-time")).to_contain_text("UTC")
    expect(board.all.locator(".tb-voice")).to_contain_text(re.compile(r"UTC: emails \d+, exports"))
    page.keyboard.press("+")
    expect(board.all.locator(".tb-zoomed")).to_contain_text("zoomed to")
    page.keyboard.press("Escape")
    expect(board.chart("dead_letters").locator(".tb-time")).to_have_text("")
    page.keyboard.press("Escape")
    expect(board.all.locator(".tb-zoomed")).to_be_hidden()
    page.keyboard.press("/")
    expect(board.all.get_by_role("searchbox", name="Topics")).to_be_focused()
    page.keyboard.type("rep")
    expect(board.rows()).to_have_count(1)
    page.keyboard.press("Escape")
    expect(board.rows().filter(has_text="emails")).to_be_visible()


def use_the_table(page: Page, board: Board, fallback: Path) -> None:
    """Go through topics by arrows, and open what belongs to one of them below the board."""
    expect(board.rows().first).to_contain_text("orders")  # the worst is first
    assert int(board.rows().first.locator("td").nth(6).inner_text()) > 0  # consumers
    board.all.get_by_role("button", name="Menu of").and_(page.locator("[tabindex='0']")).focus()
    page.keyboard.press("Home")
    more = board.all.get_by_role("button", name="Menu of orders")
    expect(more).to_be_focused()
    page.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    expect(board.all.get_by_role("menuitem", name="Running tasks")).to_be_focused()
    whole(page, "board_menu", fallback)
    page.keyboard.press("Escape")
    expect(board.all.get_by_role("menu")).to_be_hidden()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    letters = page.locator(".tasktools-dead-letters")
    expect(letters.get_by_label("Topic")).to_contain_text("orders  ·")
    expect(letters).to_be_in_viewport()
    page.get_by_role("button", name="Close dead letters").click()
    expect(letters).to_have_count(0)
    # Lines that are 0 all the time are folded, and there.
    chart = board.chart("dead_letters")
    zeros = chart.get_by_role("button", name=re.compile(r"\d at 0"))
    expect(zeros).to_have_attribute("aria-expanded", "false")
    expect(chart.get_by_role("button", name="emails")).to_be_hidden()
    zeros.click()
    expect(chart.get_by_role("button", name="emails")).to_be_visible()


def save_files(page: Page, board: Board) -> None:
    with page.expect_download() as saved:
        board.all.get_by_role("button", name="CSV").click()
    assert saved.value.suggested_filename.startswith("tasktools-DEMO-")
    lines = saved.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "time,chart,unit,topic,value"
    assert any(",Dead letters,count,orders," in line for line in lines)
    with page.expect_download() as saved:
        board.all.get_by_role("button", name="PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def point_and_zoom(page: Page, board: Board) -> None:
    # The pointer over one chart tells the values of that moment in all.
    page.wait_for_timeout(3000)
    box = board.plot("queued")
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 40)
    expect(board.chart("dead_letters").locator(".tb-time")).to_contain_text("UTC")
    page.mouse.move(box["x"] - 40, box["y"] - 40)
    expect(board.chart("dead_letters").locator(".tb-time")).to_have_text("")

    # What was zoomed stays so while the board moves.
    zoomed = board.all.locator(".tb-zoomed")
    expect(zoomed).to_be_hidden()
    board.drag("throughput", 0.6, 0.9)
    expect(zoomed).to_contain_text("zoomed to")
    before = zoomed.inner_text()
    board.moves()
    board.moves()
    assert zoomed.inner_text() == before
    board.chart("queued").locator(".u-over").dblclick()
    expect(zoomed).to_be_hidden()


def pause_and_choose(page: Page, board: Board) -> None:
    # Paused, it stays; the state says what is on screen.
    board.all.get_by_role("button", name="Pause").click()
    expect(board.all.get_by_role("status")).to_contain_text("paused")

    def rests() -> bool:  # once what was on its way is drawn
        at = board.newest()
        page.wait_for_timeout(2500)
        return board.newest() == at == float(state(page, "newest_at"))

    eventually(rests)
    board.all.get_by_role("button", name="Resume").click()
    board.moves()

    board.all.get_by_role("searchbox", name="Topics").fill("RE")
    expect(board.chart("queued").locator(".tb-key")).to_have_count(1)
    assert state(page, "topics") == "('reports',)"
    board.all.get_by_role("searchbox", name="Topics").fill("")
    board.all.get_by_role("combobox", name="Window").select_option("5m")
    expect(board.chart("queued").locator(".tb-key")).to_have_count(6)
    assert state(page, "window") == "5m"


def investigate(page: Page, board: Board, fallback: Path) -> None:
    """Open the worst finding with the keyboard, and the finding of a topic with the mouse."""
    worst = board.all.locator("[data-tile=findings]")
    incident = page.locator(".tasktools-incident")
    expect(worst).to_contain_text("The dead letters of 'orders' grew")
    worst.focus()
    page.keyboard.press("Enter")
    expect(worst).to_have_attribute("aria-expanded", "true")
    expect(incident.locator(".ti-head").first).to_contain_text("'orders'", timeout=60_000)
    expect(incident.locator(".ti-head").first).to_be_in_viewport()
    worst.click()
    expect(incident).to_have_count(0)

    key = board.chart("dead_letters").get_by_role("button", name="orders")
    key.locator(".tb-flag").click()
    chosen = incident.locator(".ti-head[aria-expanded=true]")
    expect(chosen).to_contain_text("'orders'", timeout=60_000)
    expect(key).to_have_attribute("aria-pressed", "true")  # its line is not hidden
    whole(page, "board_finding", fallback)
    worst.click()
    expect(incident).to_have_count(0)
    assert state(page, "investigating") == "False"


def test_the_chart_of_queues_shows_when_the_longest_is_empty(
    lab: Lab, page: Page, outside: Outside, tmp_path: Path
) -> None:
    open_empty(page, lab, "draining.ipynb")
    run_code(page, _DRAINING)
    board = Board(page)
    words = board.chart("queued").locator(".tb-forecast")
    expect(words).to_contain_text("exports empties", timeout=60_000)
    expect(words).to_contain_text("80 % (not scored yet)")
    assert "down to 10 between" in (words.get_attribute("title") or "")
    assert board.chart("throughput").locator(".tb-forecast").inner_text() == ""
    shown = inks(page, board)
    whole(page, "forecast_light", tmp_path)
    use_theme(page, "JupyterLab Dark")
    page.wait_for_timeout(1000)
    whole(page, "forecast_dark", tmp_path)
    use_theme(page, "JupyterLab Light")
    # A hidden topic has no band.
    board.chart("queued").get_by_role("button", name="exports").click()
    expect(words).to_have_text("")
    eventually(lambda: inks(page, board) < shown)
    assert errors(page) == []
    assert outside.urls == []


def inks(page: Page, board: Board) -> int:
    """Return how many different colours the chart of queues has."""
    picture = base64.b64encode(board.chart("queued").locator("canvas").first.screenshot()).decode()
    return int(page.evaluate(_INK, picture)[2])


def test_60_topics_and_200_workers_can_be_read_and_markup_is_text(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    open_empty(page, lab, "crowd.ipynb")
    run_code(page, _CROWD)
    board = Board(page)
    board.moves()
    keys = board.keys("throughput")
    assert len(keys) == 9
    assert keys[0] == MARKUP
    assert keys[-1].startswith("other")
    box = board.all.locator(".tb-map").bounding_box()
    assert box is not None
    assert box["height"] < 520
    map_ = board.all.locator(".tb-workers")
    board.all.locator(".tb-map").scroll_into_view_if_needed()
    board.all.locator(".tb-map").hover(position={"x": 600, "y": 100})
    expect(map_.locator(".tb-time")).to_contain_text("worker-0")
    expect(map_.locator(".tb-time")).to_contain_text("of 4 running")
    map_.get_by_role("button", name="Sort by utilisation").click()
    expect(map_.get_by_role("button", name="Sort by name")).to_be_visible()
    light = whole(page, "board_crowd_light", tmp_path)
    use_theme(page, "JupyterLab Dark")
    board.moves()
    dark = whole(page, "board_crowd_dark", tmp_path)
    use_theme(page, "JupyterLab Light")
    assert light.read_bytes() != dark.read_bytes()
    assert page.evaluate("window.pwned") is None
    assert board.all.locator("script, img").count() == 0
    assert errors(page) == []
    run_code(page, "board.close(); crowd.close()")


def test_a_saved_notebook_has_a_picture_which_is_seen_where_there_is_no_kernel(
    lab: Lab, page: Page, tmp_path: Path
) -> None:
    failures: list[Error] = []

    def note(failure: Error) -> None:
        failures.append(failure)

    page.on("pageerror", note)
    open_empty(page, lab, "frozen.ipynb")
    run_code(page, _OUT_OF_SIGHT)
    board = Board(page)  # it is drawn for the picture
    expect(board.all).not_to_be_in_viewport()
    page.locator(".jp-RenderedImage img").wait_for(state="attached")
    expect(page.locator(".jp-RenderedImage img")).to_be_hidden()
    assert page.evaluate(_SAVED) is False
    picture = saved_picture(lab, "frozen.ipynb")
    width, height, inks = page.evaluate(_INK, picture)
    assert (width > 800, height > 600, inks > 200) == (True, True, True)
    box = board.all.bounding_box()
    assert box is not None
    assert (width, height) == (
        pytest.approx(box["width"], abs=2),
        pytest.approx(box["height"], abs=2),
    )
    saved = json.loads((lab.root / "frozen.ipynb").read_text(encoding="utf-8"))
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    # With a kernel that knows nothing of the board, and without any.
    load_notebook(page, lab.base, "frozen.ipynb")
    assert_is_frozen(page)
    saved["metadata"]["kernelspec"] = {"name": "none-such", "display_name": "None"}
    (lab.root / "cold.ipynb").write_text(json.dumps(saved), encoding="utf-8")
    page.goto(f"{lab.base}/doc/tree/cold.ipynb")
    assert_is_frozen(page)
    page.keyboard.press("Escape")  # it asks for a kernel
    page.locator(".jp-Dialog").wait_for(state="detached")
    whole(page, "board_frozen", tmp_path)
    page.remove_listener("pageerror", note)
    assert failures == []


def assert_is_frozen(page: Page) -> None:
    expect(page.locator(".jp-RenderedImage img")).to_be_visible()
    page.wait_for_timeout(1000)  # time for an error in place of the board, which is hidden
    expect(page.get_by_text("Error displaying widget")).to_be_hidden()
    assert page.locator(".tasktools-board").count() == 0


def saved_picture(lab: Lab, name: str) -> str:
    """Return the one picture in the outputs of a saved notebook, as base64."""
    saved: dict[str, Any] = json.loads((lab.root / name).read_text(encoding="utf-8"))
    outputs = [output["data"] for cell in saved["cells"] for output in cell.get("outputs", [])]
    (image,) = [data["image/png"] for data in outputs if "image/png" in data]
    text = image if isinstance(image, str) else "".join(image)
    assert base64.b64decode(text).startswith(b"\x89PNG")
    return text


def test_a_tile_of_the_launcher_opens_the_board(chromium: Chromium, lab: Lab) -> None:
    page = chromium.new_page()  # JupyterLab with all of its parts, which the tests' own page lacks
    page.goto(f"{lab.base}/lab?reset", wait_until="domcontentloaded")
    page.locator(".jp-LauncherCard").filter(has_text="Live board").first.click()
    expect(page.locator(".tasktools-board").last).to_contain_text("DEMO")
    assert (lab.root / "tasktools-board.ipynb").is_file()
    leave_notebooks(page)
    chromium.close_page(page)
