"""The table without a browser: what is sent to it, and what it may ask for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from tasktools.core.clock import ManualClock, moment
from tasktools.widgets.table import Column, Sort, TableState, TableWidget

COLUMNS = (
    Column("name", "Name", width=90, grow=True),
    Column("deaths", "Deaths", "count"),
    Column("at", "Died", "time"),
)
CLOCK = ManualClock()


class Browser:
    """A view of a table that asks as the script does, and keeps what it is answered."""

    def __init__(self, widget: TableWidget, monkeypatch: pytest.MonkeyPatch) -> None:
        self.widget, self.state = widget, widget.state
        self.answers: list[dict[str, Any]] = []
        monkeypatch.setattr(widget, "send", self.answers.append)
        self.page = self.say("look")

    def say(self, what: str, **more: Any) -> dict[str, Any]:
        known = {"generation": self.page["generation"]} if self.answers else {}
        content = {"view": "v", "do": what, "first": 0, "last": 10, **known, **more}
        message = {"data": {"method": "custom", "content": content}}
        self.widget._handle_msg({"content": message, "buffers": []})
        self.page = json.loads(json.dumps(self.answers[-1]))
        return self.page

    @property
    def keys(self) -> list[str]:
        return [key for key, _selected, _cells in self.page["rows"]]

    @property
    def selected(self) -> list[str]:
        return list(self.state.selected)


@pytest.fixture
def widget() -> Iterator[TableWidget]:
    state = TableState(COLUMNS, clock=CLOCK)
    state.show(rows(6))
    widget = TableWidget(state, label="Letters", lines=4)
    yield widget
    widget.close()


@pytest.fixture
def browser(widget: TableWidget, monkeypatch: pytest.MonkeyPatch) -> Browser:
    return Browser(widget, monkeypatch)


def rows(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": [f"k{n}" for n in range(count)],
            "name": [f"task <b>{n % 2}</b>" for n in range(count)],
            "deaths": pd.array([n % 3 for n in range(count)], dtype="Int64"),
            "at": [moment(CLOCK.time() - 3600 * n) for n in range(count)],
        }
    )


def test_the_browser_gets_the_columns_at_once_and_the_rows_when_it_asks(browser: Browser) -> None:
    assert browser.widget.heads[0] == {
        "name": "name",
        "title": "Name",
        "kind": "text",
        "width": 90,
        "grow": True,
        "under": False,
    }
    page = browser.say("look", first=2, last=4)
    assert (page["view"], page["answers"], page["first"]) == ("v", "look", 2)
    assert page["rows"] == [
        [
            "k2",
            False,
            [["task <b>0</b>", ""], ["2", ""], ["2 h ago", "2027-01-15 06:00:00 UTC"]],
        ],
        [
            "k3",
            False,
            [["task <b>1</b>", ""], ["0", ""], ["3 h ago", "2027-01-15 05:00:00 UTC"]],
        ],
    ]
    assert page["counts"] == [["6 rows", ""]]


def test_all_views_hear_that_there_is_something_new(browser: Browser) -> None:
    before = browser.widget.revision
    browser.state.select(["k1"])
    assert browser.widget.revision == browser.state.revision > before


def test_the_browser_chooses_columns_of_which_one_at_least_is_seen(browser: Browser) -> None:
    browser.say("see", unseen=["deaths", "at"])
    assert browser.page["unseen"] == ["deaths", "at"]
    browser.say("sort", column="deaths")
    browser.say("filter", text="b>1")  # what is not seen is there all the same
    assert browser.keys == ["k3", "k1", "k5"]
    for unseen in (["name", "deaths", "at"], ["nothing"]):
        browser.say("see", unseen=unseen)
        assert "must be seen" in browser.page["problem"]
        assert browser.page["unseen"] == ["deaths", "at"]


def test_the_browser_filters_sorts_selects_and_opens(browser: Browser) -> None:
    browser.say("filter", text="B>1")
    browser.say("sort", column="deaths")
    assert browser.keys == ["k3", "k1", "k5"]
    assert browser.page["sort"] == {"column": "deaths", "descending": False}

    browser.say("toggle", key="k3")
    browser.say("extend", key="k1")
    assert browser.selected == ["k1", "k3"]
    browser.say("open", key="k5")
    assert browser.state.current == "k5"
    browser.say("move", by=-1, extend=False)
    browser.say("toggle_current")
    assert (browser.state.current, browser.selected) == ("k1", ["k3"])
    browser.say("move", by=1, extend=True)
    assert browser.selected == ["k1", "k3", "k5"]
    browser.say("toggle_all")
    browser.say("select_all")
    assert browser.page["every"] == "true"
    assert len(browser.selected) == 3
    browser.say("select_none")
    assert not browser.selected
    assert not browser.page["problem"]


@pytest.mark.parametrize(
    "intent",
    [
        {"what": "select_all"},
        {"what": "toggle_all"},
        {"what": "extend", "key": "k5"},
        {"what": "move", "by": 3, "extend": True},
    ],
)
def test_what_was_meant_for_other_rows_than_those_shown_is_not_done_and_it_says_so(
    browser: Browser, intent: dict[str, Any]
) -> None:
    browser.say("open", key="k0")
    browser.say("toggle", key="k0")
    browser.state.filter = "task"  # the browser has not seen what this shows
    browser.say(**intent)
    assert browser.selected == ["k0"]
    assert "Nothing was selected or unselected" in browser.page["problem"]

    browser.say(**intent)  # now it has
    assert browser.selected != ["k0"]
    assert browser.page["problem"] == ""


def test_a_click_on_one_row_means_that_row_whatever_is_shown_by_then(browser: Browser) -> None:
    browser.state.sort = Sort("deaths", descending=True)
    browser.say("toggle", key="k4")
    browser.say("open", key="k2")
    assert (browser.selected, browser.state.current) == (["k4"], "k2")


@pytest.mark.parametrize(
    "intent",
    [
        {"what": "explode"},
        {"what": "toggle", "key": 3},
        {"what": "extend", "key": None},
        {"what": "sort", "column": "nope"},
        {"what": "filter", "text": ["a"]},
        {"what": "move", "by": "far", "extend": False},
    ],
)
def test_nonsense_from_the_browser_changes_nothing_and_is_told(
    browser: Browser, intent: dict[str, Any]
) -> None:
    browser.say("toggle", key="k1")
    rows = browser.page["rows"]
    browser.say(**intent)
    assert browser.page["problem"].startswith("Using the table failed: ")
    assert browser.page["rows"] == rows


def test_a_look_without_places_is_told_and_not_answered(browser: Browser) -> None:
    browser.say("look", first=None)
    assert len(browser.answers) == 1
    assert browser.state.problem.startswith("Showing rows failed: ")


def test_looking_does_not_take_a_problem_off_screen(browser: Browser) -> None:
    browser.state.problem = "Replaying failed."
    assert browser.say("look")["problem"] == "Replaying failed."


def test_an_observer_that_fails_is_told_of(browser: Browser) -> None:
    def fail(_change: Any) -> None:
        raise RuntimeError("no plan")

    browser.state.observe(fail, "selected")
    browser.say("toggle", key="k1")
    assert browser.page["problem"] == "Using the table failed: RuntimeError: no plan"


def test_the_script_sets_text_and_never_markup(widget: TableWidget) -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in widget._esm
    assert "http" not in widget._esm + widget._css


def test_a_table_may_be_closed_twice_and_its_state_goes_on(browser: Browser) -> None:
    browser.widget.close()
    browser.widget.close()
    revision = browser.widget.revision
    browser.state.toggle("k1")
    assert browser.selected == ["k1"]
    assert browser.widget.revision == revision


def test_two_threads_that_use_it_at_once_lose_nothing(browser: Browser) -> None:
    state = browser.state
    state.show(rows(300))

    def toggle(first: int) -> None:
        for n in range(first, 300, 2):
            state.toggle(f"k{n}")

    threads = [threading.Thread(target=toggle, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for n in range(20):
        state.filter = str(n % 2)
        page = state.page(0, 300)
        assert page.shown == len(page.rows)
    for thread in threads:
        thread.join()
    assert len(state.selected) == 300
    assert browser.widget.revision == state.revision
