"""The forecast on the board: of the longest queue, and nothing where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.drain_forecast import answer_of
from tasktools.cluster.cluster import Cluster
from tasktools.widgets import Dashboard
from tasktools.widgets.dashboard.forecasts import DepthForecasts, shown_of
from tests.capacity.recordings import Sample, record
from tests.recorded import START
from tests.screen import WidgetScreen

DRAINING: list[Sample] = [(at, 4000.0 - 2 * at, 50.0, 50.0, 8.0) for at in range(0, 1200, 5)]
GROWING: list[Sample] = [(at, 400.0 + 10 * at, 50.0, 50.0, 8.0) for at in range(0, 1200, 5)]
SHORT: list[Sample] = [(at, 4.0, 50.0, 50.0, 8.0) for at in range(0, 1200, 5)]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Callable[[list[Sample]], Cluster]]:
    opened: list[Cluster] = []

    def make(samples: list[Sample]) -> Cluster:
        record(tmp_path / "r.db", "exports", samples)
        opened.append(tt.connect(f"sqlite:///{tmp_path / 'r.db'}"))
        return opened[-1]

    yield make
    for cluster in opened:
        cluster.close()


Recorded = Callable[[list[Sample]], Cluster]


def screen_of(cluster: Cluster) -> WidgetScreen[Dashboard]:
    screen = WidgetScreen(lambda post: Dashboard(cluster, window="1h", post=post))
    screen.until(lambda: screen.widget.state.tiles)
    screen.widget.feed._findings.look_soon()
    return screen


def test_the_page_gets_words_and_a_band_of_the_longest_queue(recorded: Recorded) -> None:
    screen = screen_of(recorded(DRAINING))
    state, figure = screen.widget.state, screen.widget.children[0]
    try:
        screen.until(lambda: state.forecast)
        shown: Any = json.loads(json.dumps(figure.forecast))
        assert shown["topic"] == "exports"
        assert shown["words"].startswith("exports empties 08:3")
        assert shown["words"].endswith(" UTC, 80 % (not scored yet)")
        assert "if workers stay as they are" in shown["title"]
        assert shown["band"][0] == [START + 1195, *[4000.0 - 2 * 1195] * 3]
        assert all(low <= middle <= high for _, low, middle, high in shown["band"])
        state.hide("exports")
        screen.until(lambda: not state.forecast)
    finally:
        screen.widget.close()


def test_the_longest_queue_is_the_one_in_which_a_task_waits_longest(tmp_path: Path) -> None:
    slow: list[Sample] = [(at, 300.0, 0.5, 0.5, 8.0) for at in range(0, 1200, 5)]
    record(tmp_path / "r.db", "exports", DRAINING, reports=slow, emails=SHORT)
    with tt.connect(f"sqlite:///{tmp_path / 'r.db'}") as cluster:
        screen = screen_of(cluster)
        try:
            longest = screen.widget.feed._board.longest_queue
            assert longest(frozenset(), None) == "reports"  # 3,000 s against 161
            assert longest(frozenset({"reports"}), "reports") == "exports"
            assert longest(frozenset({"reports", "exports"}), "exports") is None
            screen.widget.state.filter = "exp"  # of the topics that are shown
            screen.until(lambda: longest(frozenset(), "reports") == "exports")
        finally:
            screen.widget.close()


def test_a_queue_that_grows_says_so_and_a_short_one_says_nothing(recorded: Recorded) -> None:
    with recorded(GROWING) as cluster:
        shown = shown_of(answer_of(cluster, "exports", None, Timing()))
        assert shown["words"].startswith("exports will not end at this rate")
    with recorded(SHORT) as cluster:
        assert shown_of(answer_of(cluster, "exports", None, Timing())) == {}
        screen = screen_of(cluster)
        try:
            board = screen.widget.feed._board
            assert board.longest_queue(frozenset(), None) is None
            assert DepthForecasts(cluster, board).look(frozenset()) == {}
        finally:
            screen.widget.close()
