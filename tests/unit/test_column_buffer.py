"""The board's column buffer, filled by real ticks of a recorder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasktools.history.retention import Retention
from tasktools.history.store import number
from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.column_buffer import (
    MAX_COLUMNS,
    OLDEST,
    QUEUED,
    W_STATE,
    ColumnBuffer,
    length_of,
)
from tasktools.widgets.dashboard.series import Series
from tasktools.widgets.dashboard.tiles import Now
from tests.recorded import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    for topic in ("emails", "orders"):
        scene.cluster.broker.ensure_topic(topic)
    scene.cluster.workers()
    yield scene
    scene.close()


def publish(scene: Scene, count: int, topic: str = "emails") -> None:
    for _ in range(count):
        scene.cluster.broker.publish(topic, {"task_name": "shop:send"})


def end(scene: Scene, count: int, topic: str = "emails", kind: str = "task_completed") -> None:
    for n in range(count):
        task = f"{topic}-{scene.clock.time()}-{n}"
        scene.task("task_started", task, topic=topic)
        scene.task(kind, task, topic=topic)


def read(scene: Scene, board: Board) -> None:
    """Let *board* read what is recorded, in as many pieces as it needs."""
    with scene.history().sampled() as sampled:
        assert all(0 <= done < 1 for done in board.read(sampled))


def board_of(scene: Scene, window: float = 300.0) -> Board:
    board = Board(every=1.0)
    board.restart(window)
    read(scene, board)
    return board


def buffer_of(scene: Scene, window: float = 300.0) -> ColumnBuffer:
    buffer = board_of(scene, window).buffer
    assert buffer is not None
    return buffer


def values(buffer: ColumnBuffer, chart: str, topic: str = "emails") -> list[float | None]:
    """Return what *chart* shows of *topic*; `None` where nothing is known."""
    line = Series(buffer).of(chart)[buffer.topics.names.index(topic)]
    return [None if np.isnan(value) else round(float(value), 3) for value in line]


@pytest.mark.parametrize(
    ("window", "interval", "length"),
    [
        (60, 1, 1),
        (300, 1, 1),
        (900, 1, 5),
        (3600, 1, 10),
        (21_600, 5, 60),
        (86_400, 5, 240),
        (60, 5, 5),
        (300, 60, 60),
    ],
)
def test_a_column_is_as_long_as_the_window_needs_and_no_shorter_than_a_sample(
    window: float, interval: float, length: int
) -> None:
    assert length_of(window, interval) == length
    assert window / length <= MAX_COLUMNS


def test_a_short_peak_of_a_queue_is_still_seen_in_a_long_column(scene: Scene) -> None:
    for n in range(24):
        if n == 9:
            publish(scene, 30)
        scene.tick()
        if n == 9:
            scene.cluster.broker.purge("emails")
    buffer = buffer_of(scene, window=21_600)
    assert buffer.length == 60_000
    assert values(buffer, "queued") == [30, 0, 0]
    assert values(buffer, "queued", "orders") == [0, 0, 0]


def test_tasks_that_end_evenly_are_a_level_rate_and_failures_count_a_minute(scene: Scene) -> None:
    for _ in range(30):
        end(scene, 9)
        end(scene, 1, kind="task_failed")
        scene.tick()
    buffer = buffer_of(scene)
    assert values(buffer, "throughput")[0] is None  # nobody knows since when these were
    assert values(buffer, "throughput")[3:] == [2.0] * 27
    assert values(buffer, "failures")[13:] == [12.0] * 17
    assert values(buffer, "throughput", "orders")[3:] == [0.0] * 27


def test_the_load_of_a_topic_is_the_mean_and_is_missing_where_no_worker_has_a_place(
    scene: Scene,
) -> None:
    for n in range(12):
        scene.beat(tasks=[f"t{k}" for k in range(n % 2 * 4)], capacity=4, topics=("emails",))
        scene.tick()
    buffer = buffer_of(scene, window=21_600)
    assert values(buffer, "utilisation") == [0.455, 1.0]  # 5 of the 11 before the minute was over
    assert set(values(buffer, "utilisation", "orders")) == {None}


def test_a_task_is_shown_as_old_as_it_became_and_no_more_once_it_has_ended(scene: Scene) -> None:
    scene.task("task_started", "slow")
    for _ in range(4):
        scene.beat(tasks=["slow"])
        scene.tick()
    scene.clock.advance(2)
    scene.task("task_completed", "slow")
    for _ in range(3):
        scene.beat()
        scene.tick()
    buffer = buffer_of(scene)
    ages = values(buffer, "oldest")
    assert ages == [10, 15, 20, 22, None, None, None]
    assert np.isnan(buffer.now.topics[OLDEST]).all()


def test_where_nothing_was_recorded_there_is_a_gap_and_what_it_hid_makes_no_peak(
    scene: Scene,
) -> None:
    for _ in range(6):
        end(scene, 5)
        scene.tick()
    end(scene, 5000)
    scene.tick(after=120)
    for _ in range(5):
        end(scene, 5)
        scene.tick()
    buffer = buffer_of(scene)
    rates = values(buffer, "throughput")
    assert [column.is_gap for column in buffer.columns] == [False] * 6 + [True] + [False] * 6
    assert rates[6:8] == [None, None]
    assert max(rate for rate in rates if rate is not None) <= 1.0
    assert values(buffer, "queued")[6] is None
    after = list(buffer.columns)[7]
    assert after.at - list(buffer.columns)[6].at > 100_000


def test_while_workers_cannot_be_heard_their_figures_are_missing_and_not_zero(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgspec.structs import replace

    for _ in range(3):
        end(scene, 5)
        scene.tick()
    broker = scene.cluster.broker
    cluster_state = broker.cluster_state

    def deaf(**options: Any) -> Any:
        state = cluster_state(**options)
        return replace(state, events=replace(state.events, ok=False, note="cut off"))

    monkeypatch.setattr(broker, "cluster_state", deaf)
    scene.tick()
    scene.tick()
    buffer = buffer_of(scene)
    assert values(buffer, "throughput")[-2:] == [None, None]
    assert values(buffer, "queued")[-2:] == [0, 0]


def test_read_tick_by_tick_or_all_at_once_the_board_is_the_same(scene: Scene) -> None:
    live = Board(every=1.0)
    live.restart(300)
    scene.tick()
    read(scene, live)
    for n in range(90):
        publish(scene, n % 4)
        end(scene, n % 7, kind="task_failed" if n % 5 == 0 else "task_completed")
        scene.beat(tasks=[f"t{k}" for k in range(n % 3)], capacity=4)
        scene.tick(after=120 if n == 40 else 5)
        read(scene, live)
    assert live.buffer is not None
    whole = buffer_of(scene, window=300)
    assert whole.topics.names == live.buffer.topics.names
    first = whole.columns[1].bucket  # the first one of `whole` may begin in its middle
    for chart in ("queued", "utilisation", "throughput", "failures", "dead_letters"):
        left, right = (
            {
                column.bucket: value
                for column, value in zip(buffer.columns, values(buffer, chart), strict=True)
                if column.bucket > first + 15  # a rate looks back for a minute
            }
            for buffer in (live.buffer, whole)
        )
        assert left == right, chart
        assert len(left) > 20
    assert np.array_equal(live.buffer.now.topics, whole.now.topics, equal_nan=True)
    assert np.array_equal(live.buffer.now.workers, whole.now.workers, equal_nan=True)


def test_what_is_older_than_the_window_is_forgotten(scene: Scene) -> None:
    live = board_of_many(scene, window=60)
    assert live.buffer is not None
    shown = [column for column in live.buffer.columns if column.number >= live.buffer.first]
    assert len(shown) <= 14
    newest = live.buffer.columns[-1].at
    assert newest == number(scene.clock.time())
    assert all(column.at >= newest - 66_000 for column in shown)
    # What the means at the begin of the window count over is kept, too, and no more.
    assert all(column.at >= newest - 136_000 for column in live.buffer.columns)


def board_of_many(scene: Scene, window: float) -> Board:
    scene.tick()
    live = board_of(scene, window)
    for _ in range(40):
        scene.tick()
        read(scene, live)
    return live


def test_the_last_sample_is_kept_by_itself_with_the_state_of_each_worker(scene: Scene) -> None:
    scene.beat("worker-1")
    scene.beat("worker-2")
    scene.tick()
    publish(scene, 7)
    for _ in range(4):
        scene.beat("worker-1")
        scene.tick()
    buffer = buffer_of(scene, window=3600)
    assert buffer.now.topics[QUEUED].tolist() == [7, 0]
    assert buffer.workers.names == ["worker-1", "worker-2"]
    assert buffer.now.workers[W_STATE].tolist() == [0, 1]  # alive, and late


def test_a_topic_that_comes_later_is_missing_before(scene: Scene) -> None:
    scene.tick()
    scene.cluster.broker.ensure_topic("late.comer")
    scene.tick()
    buffer = buffer_of(scene)
    assert values(buffer, "queued", "late.comer") == [None, 0]


def test_old_samples_that_were_thinned_out_are_read_as_the_minutes_they_stand_for(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path / "old.db", retention=Retention(full="1h"))
    scene.cluster.broker.ensure_topic("emails")
    for _ in range(2000):
        end(scene, 10)
        scene.tick()
    buffer = buffer_of(scene, window=21_600)
    scene.close()
    assert sum(column.is_gap for column in buffer.columns) == 0
    rates = values(buffer, "throughput")
    assert len(rates) > 150
    assert set(rates[2:-1]) == {2.0}


def test_a_rate_is_missing_until_there_is_as_much_time_as_it_looks_back_on(scene: Scene) -> None:
    """Issue 11, new user: tasks ended per second climbed from 0 for the first 10 s of every
    board, and failures per minute for the first 60 s; after a gap likewise."""
    for after in (*[5] * 30, 120, *[5] * 30):
        end(scene, 9)
        end(scene, 1, kind="task_failed")
        scene.tick(after=after)
    buffer = buffer_of(scene, window=900)
    ended, failed = values(buffer, "throughput"), values(buffer, "failures")
    assert (set(ended), set(failed)) == ({None, 2.0}, {None, 12.0})
    assert ended.count(2.0) >= 50
    assert failed.count(12.0) >= 30
    assert buffer.watched >= 145


def test_failures_in_a_minute_are_not_known_in_its_first_seconds(scene: Scene) -> None:
    """Issue 11, new user: what was watched for some seconds says nothing of a minute."""
    shown = []
    for _ in range(14):
        end(scene, 1)
        scene.tick()
        buffer = buffer_of(scene)
        (tile,) = (t for t in Now(buffer, [0], {}, {}).tiles() if t.name == "failures")
        shown.append((tile.text, tile.value))
    assert shown[0] == ("?", None)
    assert shown[-1] == ("0", 0.0)
    (tile,) = (t for t in Now(buffer, [0], {"emails": 2}, {}).tiles() if t.name == "failures")
    assert tile.value == 2.0


def test_failures_of_no_known_topic_count_where_no_topic_is_filtered_out(scene: Scene) -> None:
    """Celery names no queue of a task unless its publisher tells of it."""
    scene.task("task_failed", "of-celery", topic=None)
    end(scene, 2, kind="task_failed")
    scene.tick()
    board = board_of(scene)
    assert board.failed == {"emails": 2, None: 1}
    buffer = board.buffer
    assert buffer is not None

    def shown(*topics: int) -> float | None:
        tiles = Now(buffer, topics, board.failed, {}).tiles()
        return next(tile.value for tile in tiles if tile.name == "failures")

    assert (shown(0, 1), shown(0)) == (3.0, 2.0)
