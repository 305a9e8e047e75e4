"""The board without a browser: real clusters, what is sent to the page, and what it may ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import BrokerError
from tasktools.core.layout import FP
from tasktools.testing import eventually
from tasktools.widgets import Dashboard
from tasktools.widgets.dashboard.charts import CHARTS
from tests.recorded import Scene

MARKUP = "<script>window.pwned=1</script>"


class Page:
    """A page that shows a board: it takes in columns as the script does."""

    def __init__(self, board: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
        self.board, self.state = board, board.state
        self.figure: Any = board.children[0]
        self.received: list[str] = []
        self.described: dict[str, Any] = {}
        self.first = 0
        self.rows: list[list[float]] = []
        self.load = np.empty((3, 0, 0), np.float32)
        self.table: dict[str, list[float]] = {}
        monkeypatch.setattr(self.figure, "send", self._receive)

    def _receive(self, content: Any, buffers: Any) -> None:
        content = json.loads(json.dumps(content))
        self.received.append(content["do"])
        if content["do"] == "all":
            self.described, self.first, self.rows = content, content["first"], []
        assert content["generation"] == self.described["generation"]
        lines = np.frombuffer(buffers[0]).reshape(-1, content["count"])
        before = content["first"] - self.first
        self.rows = [
            [*(self.rows[n][:before] if self.rows else []), *row]
            for n, row in enumerate(lines.tolist())
        ]
        workers = len(self.described["workers"])
        self.load = np.frombuffer(buffers[1], np.float32).reshape(3, workers, content["count"])
        listed = self.described["listed"]
        topics = np.frombuffer(buffers[2]).reshape(8, len(listed))
        self.table = dict(zip(listed, topics.T.tolist(), strict=True))

    def ask(self, what: str, *buffers: bytes, **more: Any) -> None:
        message = {"data": {"method": "custom", "content": {"do": what, **more}}}
        self.figure._handle_msg({"content": message, "buffers": list(buffers)})

    def lines(self, chart: str) -> dict[str, list[float]]:
        """Return the lines of *chart* by their names."""
        names = {
            name: [topic for topic, _style in shown["topics"]] + ["other"] * bool(shown["rest"])
            for name, shown in self.described["lines"].items()
        }
        before = [chart_.name for chart_ in CHARTS]
        skip = 2 + sum(len(names[name]) for name in before[: before.index(chart)])
        return dict(zip(names[chart], self.rows[skip : skip + len(names[chart])], strict=True))

    @property
    def times(self) -> list[float]:
        return self.rows[0]


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with MemoryBroker(MemoryServer(), layout=FP) as broker:
        for topic in ("emails", "orders", MARKUP):
            broker.ensure_topic(topic)
        yield broker


@pytest.fixture
def cluster(broker: MemoryBroker) -> Iterator[Cluster]:
    with Cluster(broker) as cluster:
        yield cluster


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Page]]:
    opened: list[Dashboard] = []

    def show(cluster: Cluster, **options: Any) -> Page:
        board = Dashboard(cluster, **{"every": 0.05, **options})
        opened.append(board)
        page = Page(board, monkeypatch)
        eventually(lambda: board.state.revision or board.state.problem)
        page.ask("hello")
        return page

    yield show
    for board in opened:
        board.close()


Show = Callable[..., Page]


def publish(cluster: Cluster, count: int, topic: str = "emails") -> None:
    for _ in range(count):
        cluster.broker.publish(topic, {"task_name": "shop:send"})


# --- what it shows ----------------------------------------------------------------------


def test_a_page_that_says_hello_gets_all_and_then_what_is_new(show: Show, cluster: Cluster) -> None:
    page = show(cluster, window="1m")
    publish(cluster, 3)
    eventually(lambda: page.lines("queued")["emails"][-1] == 3)
    eventually(lambda: "add" in page.received)
    assert page.received[0] == "all"
    assert page.times == sorted(page.times)
    assert len(page.times) == len(set(page.times)) <= 4
    assert page.lines("queued")["orders"][-1] == 0
    assert page.state.topics == (MARKUP, "emails", "orders")
    assert page.state.tile("queued").value == 3
    assert page.state.newest_at == pytest.approx(time.time(), abs=1)
    assert page.state.problem == ""


def test_what_has_happened_before_the_board_was_made_is_on_it(show: Show, scene: Scene) -> None:
    for n in range(20):
        scene.beat(tasks=["t"] * (n % 2), topics=("emails",))
        scene.tick()
    page = show(scene.history(), window="5m")
    assert len(page.times) == 20
    assert page.lines("queued")["emails"] == [0.0] * 20
    assert page.load.shape == (3, 1, 20)
    assert page.load[0, 0].tolist() == [0.0, 1.0] * 10
    assert page.described["workers"] == ["worker-1"]
    assert page.state.since


def test_the_table_has_the_numbers_of_this_moment_and_what_is_not_known_is_missing(
    show: Show, scene: Scene
) -> None:
    for n in range(20):
        scene.beat(tasks=["t"] * (n % 2), topics=("emails",))
        scene.tick()
    page = show(scene.history(), window="5m")
    queued, running, capacity, ended, oldest, failures, dead, consumers = page.table["emails"]
    assert (queued, running, ended, dead) == (0, 1, 0, 0)
    assert capacity >= running
    assert oldest >= 0
    assert np.isnan(consumers) or consumers >= 0
    assert failures == 0  # a minute of the recording is full by now
    assert page.described["unlisted"] == 0


def test_tiles_and_table_are_of_one_look(show: Show, scene: Scene) -> None:
    """A new user saw 95 failures in a minute on the tile, and 94 in the table."""
    for n in range(40):
        scene.beat(tasks=["t"], topics=("emails",))
        scene.task("task_started", f"t{n}", topic="emails")
        scene.task("task_failed", f"t{n}", topic="emails")
        scene.tick(2.3)
    page = show(scene.history(), window="5m")
    failures, running, dead = (
        page.table["emails"][5],
        page.table["emails"][1],
        page.table["emails"][6],
    )
    assert page.state.tile("failures").value == failures > 20
    assert page.state.tile("utilisation").text == f"{running:.0f} / 4"
    assert page.state.tile("dead_letters").value == dead


def test_a_mean_says_nothing_before_its_time_is_full(show: Show, scene: Scene) -> None:
    for _ in range(8):
        scene.beat(tasks=[], topics=("emails",))
        scene.tick()
    page = show(scene.history(), window="5m")
    assert np.isnan(page.lines("failures")["emails"]).all()
    assert np.isnan(page.table["emails"][5])
    assert page.lines("throughput")["emails"][-1] == 0  # 10 s are


def test_a_mean_at_the_begin_of_the_window_counts_what_was_before_it(
    show: Show, scene: Scene
) -> None:
    for _ in range(60):
        scene.beat(tasks=[], topics=("emails",))
        scene.tick()
    page = show(scene.history(), window="1m")
    assert page.lines("failures")["emails"] == [0.0] * len(page.times)


def test_a_recording_that_is_over_says_so_and_shows_its_end(show: Show, scene: Scene) -> None:
    scene.tick()
    scene.tick()
    page = show(scene.history(), window="1m")
    assert page.state.ended
    assert page.state.problem == ""  # the extent of a recording is none
    assert "the recording goes no further" in page.state.status
    assert page.state.newest_at == pytest.approx(scene.clock.time())


def test_a_recording_that_is_being_written_is_followed(
    show: Show, cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.record(tmp_path / "ops.db", every=0.1):
        recorded = tt.connect(f"sqlite:///{tmp_path / 'ops.db'}")
        page = show(recorded, window="1m")
        assert not page.state.ended
        publish(cluster, 5)
        eventually(lambda: page.state.tile("queued").value == 5)
        eventually(lambda: page.lines("queued")["emails"][-1] == 5)
    eventually(lambda: page.state.ended)


def test_only_topics_that_were_asked_for_are_shown(show: Show, cluster: Cluster) -> None:
    publish(cluster, 2, "orders")
    page = show(cluster, topics=["emails"])
    assert page.state.topics == ("emails",)
    assert list(page.lines("queued")) == ["emails"]
    assert page.state.tile("queued").value == 0


# --- what one can do --------------------------------------------------------------------


def test_the_filter_chooses_topics_and_the_page_gets_them_anew(
    show: Show, cluster: Cluster
) -> None:
    page = show(cluster)
    page.ask("filter", to="ORD")
    eventually(lambda: page.state.topics == ("orders",))
    eventually(lambda: list(page.lines("queued")) == ["orders"])
    assert "1 topic matches" in page.state.status
    page.ask("filter", to="")
    eventually(lambda: len(page.state.topics) == 3)


def test_while_it_is_paused_all_stays_as_it_is_and_afterwards_nothing_is_missing(
    show: Show, cluster: Cluster
) -> None:
    page = show(cluster, window="1m")
    page.ask("pause", to=True)
    time.sleep(0.2)  # what was on its way
    before, revision = list(page.times), page.state.revision
    publish(cluster, 4)
    time.sleep(1.2)
    meanwhile = cluster.queue_depth("emails")["at"].iloc[-1].timestamp()  # this takes a sample
    time.sleep(1.2)  # the page shows one sample a second
    assert (page.times, page.state.revision) == (before, revision)
    assert page.state.status[0] == "paused"
    page.ask("pause", to=False)
    eventually(lambda: page.state.tile("queued").value == 4)
    eventually(lambda: any(before[-1] < at < meanwhile + 1.1 for at in page.times))
    assert page.state.gaps == 0


def test_another_window_is_read_anew(show: Show, scene: Scene) -> None:
    for _ in range(200):
        scene.tick()
    page = show(scene.history(), window="1m")
    assert len(page.times) in (12, 13)
    page.ask("window", to="15m")
    eventually(lambda: page.state.window == "15m" and len(page.times) > 100)
    assert page.described["window"] == 900
    assert page.times[-1] - page.times[0] == pytest.approx(900, abs=10)


def test_lines_are_hidden_and_shown_alone(show: Show, cluster: Cluster) -> None:
    page = show(cluster)
    page.ask("hide", topic="emails")
    assert page.figure.shown["hidden"] == ["emails"]
    page.ask("hide", topic="emails")
    page.ask("isolate", topic="orders")
    assert set(page.state.hidden) == {"emails", MARKUP, "other"}
    page.ask("isolate", topic="orders")
    assert page.state.hidden == ()


@pytest.mark.parametrize(
    "message", [{"do": "drop"}, {"do": "window", "to": "2 weeks"}, {"do": "pause", "to": "yes"}]
)
def test_a_page_that_asks_for_what_there_is_not_is_told_so(
    show: Show, cluster: Cluster, message: dict[str, Any]
) -> None:
    page = show(cluster)
    page.ask(**{"what": message.pop("do"), **message})
    assert page.state.problem.startswith("Using the board failed")
    assert page.figure.shown["problem"] == page.state.problem
    assert page.state.window == "1h"


def test_a_window_that_there_is_not_and_topics_as_text_are_refused_at_once(
    cluster: Cluster,
) -> None:
    with pytest.raises(ValueError, match="The window is '2h'; it can be 1m, 5m, 15m, 1h, 6h, 24h"):
        tt.widgets.dashboard(cluster, window="2h")
    with pytest.raises(TypeError, match="topics is 'emails'; give a list of names"):
        tt.widgets.dashboard(cluster, topics="emails")
    with pytest.raises(ValueError, match="no threshold 'depth'"):
        tt.widgets.dashboard(cluster, thresholds={"depth": 1})


# --- when something is wrong ------------------------------------------------------------


def test_a_broker_that_cannot_be_reached_is_said_and_the_board_goes_on_when_it_is_back(
    show: Show, cluster: Cluster, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = show(cluster, window="1m")

    def lost(*_args: Any, **_options: Any) -> Any:
        raise BrokerError("The broker cannot be reached; nothing was changed.")

    with monkeypatch.context() as broken:
        broken.setattr(broker, "topic_report", lost)
        eventually(lambda: page.state.problem)
        assert "The broker cannot be reached" in page.state.problem
        eventually(lambda: page.state.tile("queued").text == "?")
    publish(cluster, 2)
    eventually(lambda: not page.state.problem and page.state.tile("queued").value == 2)


# --- the picture, and the end -----------------------------------------------------------


def test_what_a_page_drew_is_put_in_place_of_the_last_picture(
    show: Show, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    import IPython.display

    shown: list[tuple[dict[str, str], Any]] = []
    monkeypatch.setattr(
        IPython.display,
        "display",
        lambda data, raw, display_id=None: shown.append((data, display_id)),
    )
    monkeypatch.setattr(
        IPython.display,
        "update_display",
        lambda data, display_id, raw: shown.append((data, display_id)),
    )
    page = show(cluster)
    page.board._ipython_display_()
    _style, (live, _none), (picture, mark) = shown
    assert "application/vnd.jupyter.widget-view+json" in live
    assert live["text/plain"] == "Board of memory://"
    assert "image/png" not in picture
    page.ask("picture", b"\x89PNG...")
    assert shown[-1] == ({"text/plain": "", "image/png": "iVBORy4uLg=="}, mark)


def test_a_cell_that_waits_for_the_board_has_it_with_its_first_numbers(cluster: Cluster) -> None:
    async def cell() -> Any:
        board = tt.widgets.dashboard(cluster)
        state = await board.idle()
        board.close()
        return state

    state = asyncio.run(cell())
    assert state.problem == ""
    assert state.tile("queued").value == 0
    assert state.topics == (MARKUP, "emails", "orders")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic("emails")
    scene.cluster.workers()
    yield scene
    scene.close()
