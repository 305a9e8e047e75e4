"""The shown part of the board: topics, styles, numbers of the moment, thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from tasktools.widgets.dashboard.board_data import Board
from tasktools.widgets.dashboard.chart_selection import (
    MAX_LISTED,
    MAX_TOPICS,
    MAX_WORKERS,
    NO_SELECTION,
    STYLE_COUNT,
    ChartSelection,
    TopicFilter,
    select_charts,
)
from tasktools.widgets.dashboard.charts import CHARTS, read_thresholds
from tasktools.widgets.dashboard.column_buffer import (
    CAPACITY,
    DEAD,
    OLDEST,
    QUEUED,
    RUNNING,
    SAMPLES,
    Column,
    ColumnBuffer,
)
from tasktools.widgets.dashboard.series import Series
from tasktools.widgets.dashboard.tiles import Now, Tile

ALL = TopicFilter(None, "")


def buffer_of(queued: dict[str, float], workers: int = 0) -> ColumnBuffer:
    """Return a buffer of one column in which topics have these depths."""
    buffer = ColumnBuffer(60, 1)
    for number, topic in enumerate(queued):
        buffer.topics.add(number, topic)
    for number in range(workers):
        buffer.workers.add(number, f"worker-{number:03}")
    topics = np.zeros((8, len(queued)))
    topics[QUEUED] = topics[DEAD] = topics[OLDEST] = list(queued.values())
    topics[RUNNING] = list(queued.values())
    topics[SAMPLES], topics[CAPACITY] = 1, 100
    states = np.zeros((3, workers))
    states[1] = 4
    column = Column(0, 0, 1000, 1.0, topics, states)
    buffer.columns.append(column)
    buffer.now = column
    buffer.is_heard = True
    return buffer


def shown(buffer: ColumnBuffer, selection: ChartSelection, chart: str = "queued") -> list[str]:
    return [buffer.topics.names[place] for place in selection.charts[chart].topics]


def arrange(
    buffer: ColumnBuffer, topics: TopicFilter = ALL, before: ChartSelection = NO_SELECTION
) -> ChartSelection:
    return select_charts(buffer, Series(buffer), topics, before)


# --- which topics -----------------------------------------------------------------------


def test_the_busiest_eight_have_lines_and_the_others_are_added_up() -> None:
    buffer = buffer_of({f"t{n:02}": float(n) for n in range(20)})
    selection = arrange(buffer)
    assert shown(buffer, selection) == [f"t{n}" for n in range(19, 11, -1)]
    rest = selection.charts["queued"].rest
    series = Series(buffer)
    assert series.rest("queued", rest).tolist() == [sum(range(12))]
    assert series.rest("oldest", rest).tolist() == [11]
    assert series.rest("utilisation", rest).tolist() == [pytest.approx(sum(range(12)) / 1200)]


def test_nine_topics_are_all_shown_since_one_alone_is_no_other() -> None:
    selection = arrange(buffer_of(dict.fromkeys("abcdefghi", 1.0)))
    assert len(selection.charts["queued"].topics) == MAX_TOPICS + 1
    assert selection.charts["queued"].rest == ()


def test_a_topic_gives_way_only_to_one_that_is_clearly_busier() -> None:
    depths = {f"t{n:02}": 100.0 + n for n in range(20)}
    before = arrange(buffer_of(depths))
    little = buffer_of({**depths, "t00": 115.0})
    assert shown(little, arrange(little, before=before)) == shown(little, before)
    much = buffer_of({**depths, "t00": 300.0})
    assert shown(much, arrange(much, before=before))[0] == "t00"


def test_a_topic_has_one_style_in_all_charts_and_keeps_it_and_no_two_share_one() -> None:
    buffer = buffer_of({f"t{n:02}": float(n) for n in range(60)})
    before = arrange(buffer)
    buffer.columns[0].topics[DEAD] = buffer.columns[0].topics[DEAD][::-1]
    after = arrange(buffer, before=before)
    assert shown(buffer, after, "dead_letters")[0] == "t00"
    assert len(after.styles) == 2 * MAX_TOPICS
    assert sorted(after.styles.values()) == list(range(2 * MAX_TOPICS))
    assert max(after.styles.values()) < STYLE_COUNT
    assert {topic: after.styles[topic] for topic in before.styles} == before.styles


def test_only_wanted_topics_are_shown_and_counted() -> None:
    buffer = buffer_of({"shop.orders": 5.0, "shop.emails": 3.0, "news": 9.0})
    assert shown(buffer, arrange(buffer, TopicFilter(None, " SHOP "))) == [
        "shop.emails",
        "shop.orders",
    ]
    assert shown(buffer, arrange(buffer, TopicFilter(["news", "shop.orders"], "shop"))) == [
        "shop.orders"
    ]
    nothing = arrange(buffer, TopicFilter(None, "no such"))
    assert shown(buffer, nothing) == []
    assert Series(buffer).of("queued", nothing.charts["queued"].topics).shape == (0, 1)


def test_of_very_many_workers_those_that_are_not_well_are_shown_first() -> None:
    buffer = buffer_of({}, workers=MAX_WORKERS + 100)
    buffer.columns[0].workers[2, -1] = 2
    workers = arrange(buffer).workers
    assert len(workers) == MAX_WORKERS
    assert len(buffer.workers.names) - 1 in workers


# --- tiles ------------------------------------------------------------------------------


def tiles_of(
    buffer: ColumnBuffer, failed: dict[str | None, int] | None = None, **limits: float
) -> dict[str, Tile]:
    selection = arrange(buffer)
    return {tile.name: tile for tile in Now(buffer, selection.topics, failed or {}, limits).tiles()}


def test_the_tiles_tell_totals_and_who_has_most() -> None:
    buffer = buffer_of({"orders": 1200.0, "emails": 30.0}, workers=3)
    buffer.now.workers[0] = [4, 2, 0]
    buffer.now.workers[2] = [0, 1, 2]
    tiles = tiles_of(buffer, {"emails": 4})
    assert (tiles["queued"].text, tiles["queued"].note) == ("1,230", "orders 1,200")
    assert (tiles["utilisation"].text, tiles["utilisation"].note) == ("6 / 8", "75%")
    assert (tiles["oldest"].text, tiles["oldest"].note) == ("20 min", "orders")
    assert (tiles["failures"].text, tiles["failures"].value) == ("4", 4)
    assert (tiles["workers"].text, tiles["workers"].note) == ("1", "1 late · 1 gone")
    assert {tile.alarm for tile in tiles.values()} == {""}


def test_what_is_over_its_threshold_says_so_in_words() -> None:
    buffer = buffer_of({"orders": 1200.0, "emails": 30.0}, workers=2)
    buffer.now.workers[0] = [4, 4]
    buffer.now.workers[2] = [0, 2]
    tiles = tiles_of(
        buffer,
        {"emails": 4},
        queued=1000,
        oldest=300,
        dead_letters=1200,
        failures=3,
        utilisation=0.9,
        gone=0,
    )
    assert tiles["queued"].alarm == "▲ orders is over 1,000"
    assert tiles["oldest"].alarm == "▲ orders is over 5 min"
    assert tiles["dead_letters"].alarm == ""  # at it, not over
    assert tiles["failures"].alarm == "▲ emails is over 3"
    assert tiles["utilisation"].alarm == "▲ the cluster is over 90%"
    assert tiles["workers"].alarm == "▲ 1 gone, over 0"


def test_where_workers_cannot_be_heard_none_of_them_is_0() -> None:
    """Issue 11, row 4: the board of a cluster in which an alarm silences the workers."""
    buffer = buffer_of({"orders": float("nan")})
    buffer.is_heard, buffer.columns[0].covered = False, 0.0
    tiles = tiles_of(buffer)
    for name in ("utilisation", "oldest", "failures", "workers"):
        tile = tiles[name]
        assert (tile.text, tile.value, tile.note) == (
            "?",
            None,
            "no events of workers are received",
        )
    buffer.is_heard = True
    assert (tiles_of(buffer)["workers"].text, tiles_of(buffer)["oldest"].text) == ("0", "none")


def test_what_ran_before_workers_could_not_be_heard_is_not_told_as_running_now() -> None:
    """Issue 11, row 4: an alarm came while workers were known."""
    buffer = buffer_of({"orders": 0.0}, workers=1)
    assert tiles_of(buffer)["utilisation"].text == "0 / 4"
    buffer.is_heard = False
    tile = tiles_of(buffer)["utilisation"]
    assert (tile.text, tile.note) == ("?", "no events of workers are received")


def test_a_map_without_workers_says_whether_they_can_be_heard() -> None:
    """Issue 11, row 4: "No worker was heard of" where an alarm silences all of them."""
    board = Board(every=1.0)
    board.buffer = buffer_of({"orders": 0.0})
    board.arrange(now=0.0)
    assert (packed := board.pack()) is not None
    assert packed.message["no_workers"] == "No worker has sent an event."
    board.buffer.is_heard = False
    assert (packed := board.pack()) is not None
    assert packed.message["no_workers"] == "Events of workers cannot be received at present."


def test_what_is_not_known_is_no_zero() -> None:
    buffer = buffer_of({"orders": float("nan")})
    tiles = tiles_of(buffer, queued=0)
    assert (tiles["queued"].text, tiles["queued"].value, tiles["queued"].alarm) == ("?", None, "")
    assert (tiles["utilisation"].text, tiles["utilisation"].note) == ("?", "no worker is known")
    assert tiles["oldest"].text == "none"


def test_of_very_many_topics_those_with_the_most_messages_are_listed_by_name() -> None:
    queued = {f"topic-{n:03}": float(n) for n in range(MAX_LISTED + 20)}
    buffer = buffer_of(queued)
    selection = arrange(buffer)
    listed = [buffer.topics.names[place] for place in selection.listed]
    assert listed == sorted(queued)[20:]
    buffer.now.topics[QUEUED][0] = buffer.now.topics[QUEUED][20] + 1
    assert arrange(buffer, before=selection).listed == selection.listed  # it stays readable


# --- thresholds -------------------------------------------------------------------------


def test_thresholds_are_numbers_a_share_and_a_span() -> None:
    thresholds = {"queued": 1000, "oldest": "5m", "utilisation": 0.9, "dead_letters": 0, "gone": 2}
    assert read_thresholds(thresholds) == {**thresholds, "oldest": 300.0}
    assert read_thresholds({"oldest": 12}) == {"oldest": 12.0}
    assert read_thresholds(None) == {}


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        ({"quueued": 1}, "no threshold 'quueued'; the board was not made. There are: queued,"),
        ({"queued": "many"}, "queued cannot be used: 'many' is no number"),
        ({"queued": True}, "queued cannot be used: True is no number"),
        ({"failures": -1}, "failures cannot be used: -1 is not 0 or more"),
        ({"queued": float("nan")}, "queued cannot be used: nan is not 0 or more"),
        ({"utilisation": 90}, "utilisation is 90, but it is a share: 0.9 is 90 %"),
        ({"oldest": "a while"}, "oldest cannot be used: 'a while' is no span of time"),
        ({"oldest": None}, "oldest cannot be used"),
        ({"throughput": 1}, "no threshold 'throughput'"),
    ],
)
def test_a_threshold_that_cannot_be_used_is_refused_at_once(
    thresholds: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        read_thresholds(thresholds)


def test_every_chart_says_what_a_point_is() -> None:
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)
    assert all("each interval" in chart.how for chart in CHARTS)
