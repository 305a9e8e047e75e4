"""What the board shows: which topics, in which style, the numbers of the moment, thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from tasktools.widgets.board.charts import CHARTS, read_thresholds
from tasktools.widgets.board.layout import (
    MOST_WORKERS,
    NOTHING,
    SHOWN,
    STYLES,
    Layout,
    Wanted,
    lay_out,
)
from tasktools.widgets.board.series import Series
from tasktools.widgets.board.strip import (
    CAPACITY,
    DEAD,
    OLDEST,
    QUEUED,
    RUNNING,
    SAMPLES,
    Column,
    Strip,
)
from tasktools.widgets.board.tiles import Now, Tile, span

ALL = Wanted(None, "")


def strip_of(queued: dict[str, float], workers: int = 0) -> Strip:
    """Return a strip of one column in which topics have these depths."""
    strip = Strip(60, 1)
    for number, topic in enumerate(queued):
        strip.topics.add(number, topic)
    for number in range(workers):
        strip.workers.add(number, f"worker-{number:03}")
    topics = np.zeros((8, len(queued)))
    topics[QUEUED] = topics[DEAD] = topics[OLDEST] = list(queued.values())
    topics[RUNNING] = list(queued.values())
    topics[SAMPLES], topics[CAPACITY] = 1, 100
    states = np.zeros((3, workers))
    states[1] = 4
    column = Column(0, 0, 1000, 1.0, topics, states)
    strip.columns.append(column)
    strip.now = column
    return strip


def shown(strip: Strip, layout: Layout, chart: str = "queued") -> list[str]:
    return [strip.topics.names[place] for place in layout.charts[chart].topics]


def arrange(strip: Strip, wanted: Wanted = ALL, before: Layout = NOTHING) -> Layout:
    return lay_out(strip, Series(strip), wanted, before)


# --- which topics -----------------------------------------------------------------------


def test_the_busiest_eight_have_lines_and_the_others_are_added_up() -> None:
    strip = strip_of({f"t{n:02}": float(n) for n in range(20)})
    layout = arrange(strip)
    assert shown(strip, layout) == [f"t{n}" for n in range(19, 11, -1)]
    rest = layout.charts["queued"].rest
    series = Series(strip)
    assert series.rest("queued", rest).tolist() == [sum(range(12))]
    assert series.rest("oldest", rest).tolist() == [11]
    assert series.rest("utilisation", rest).tolist() == [pytest.approx(sum(range(12)) / 1200)]


def test_nine_topics_are_all_shown_since_one_alone_is_no_other() -> None:
    layout = arrange(strip_of(dict.fromkeys("abcdefghi", 1.0)))
    assert len(layout.charts["queued"].topics) == SHOWN + 1
    assert layout.charts["queued"].rest == ()


def test_a_topic_gives_way_only_to_one_that_is_clearly_busier() -> None:
    depths = {f"t{n:02}": 100.0 + n for n in range(20)}
    before = arrange(strip_of(depths))
    little = strip_of({**depths, "t00": 115.0})
    assert shown(little, arrange(little, before=before)) == shown(little, before)
    much = strip_of({**depths, "t00": 300.0})
    assert shown(much, arrange(much, before=before))[0] == "t00"


def test_a_topic_has_one_style_in_all_charts_and_keeps_it_and_no_two_share_one() -> None:
    strip = strip_of({f"t{n:02}": float(n) for n in range(60)})
    before = arrange(strip)
    strip.columns[0].topics[DEAD] = strip.columns[0].topics[DEAD][::-1]
    after = arrange(strip, before=before)
    assert shown(strip, after, "dead_letters")[0] == "t00"
    assert len(after.styles) == 2 * SHOWN
    assert sorted(after.styles.values()) == list(range(2 * SHOWN))
    assert max(after.styles.values()) < STYLES
    assert {topic: after.styles[topic] for topic in before.styles} == before.styles


def test_only_wanted_topics_are_shown_and_counted() -> None:
    strip = strip_of({"shop.orders": 5.0, "shop.emails": 3.0, "news": 9.0})
    assert shown(strip, arrange(strip, Wanted(None, " SHOP "))) == ["shop.emails", "shop.orders"]
    assert shown(strip, arrange(strip, Wanted(["news", "shop.orders"], "shop"))) == ["shop.orders"]
    nothing = arrange(strip, Wanted(None, "no such"))
    assert shown(strip, nothing) == []
    assert Series(strip).of("queued", nothing.charts["queued"].topics).shape == (0, 1)


def test_of_very_many_workers_those_that_are_not_well_are_shown_first() -> None:
    strip = strip_of({}, workers=MOST_WORKERS + 100)
    strip.columns[0].workers[2, -1] = 2
    workers = arrange(strip).workers
    assert len(workers) == MOST_WORKERS
    assert len(strip.workers.names) - 1 in workers


# --- tiles ------------------------------------------------------------------------------


def tiles_of(
    strip: Strip, failed: dict[str, int] | None = None, **limits: float
) -> dict[str, Tile]:
    layout = arrange(strip)
    return {tile.name: tile for tile in Now(strip, layout.topics, failed or {}, limits).tiles()}


def test_the_tiles_tell_totals_and_who_has_most() -> None:
    strip = strip_of({"orders": 1200.0, "emails": 30.0}, workers=3)
    strip.now.workers[0] = [4, 2, 0]
    strip.now.workers[2] = [0, 1, 2]
    tiles = tiles_of(strip, {"emails": 4})
    assert (tiles["queued"].text, tiles["queued"].note) == ("1,230", "orders 1,200")
    assert (tiles["utilisation"].text, tiles["utilisation"].note) == ("6 / 8", "75%")
    assert (tiles["oldest"].text, tiles["oldest"].note) == ("20 min", "orders")
    assert (tiles["failures"].text, tiles["failures"].value) == ("4", 4)
    assert (tiles["workers"].text, tiles["workers"].note) == ("1", "1 late · 1 gone")
    assert {tile.alarm for tile in tiles.values()} == {""}


def test_what_is_over_its_threshold_says_so_in_words() -> None:
    strip = strip_of({"orders": 1200.0, "emails": 30.0}, workers=2)
    strip.now.workers[0] = [4, 4]
    strip.now.workers[2] = [0, 2]
    tiles = tiles_of(
        strip,
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


def test_what_is_not_known_is_no_zero() -> None:
    strip = strip_of({"orders": float("nan")})
    tiles = tiles_of(strip, queued=0)
    assert (tiles["queued"].text, tiles["queued"].value, tiles["queued"].alarm) == ("?", None, "")
    assert (tiles["utilisation"].text, tiles["utilisation"].note) == ("?", "no worker is heard of")
    assert tiles["oldest"].text == "none"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (252, "4 min 12 s"), (7260, "2 h 1 min")],
)
def test_spans_are_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text


# --- thresholds -------------------------------------------------------------------------


def test_thresholds_are_numbers_a_share_and_a_span() -> None:
    given = {"queued": 1000, "oldest": "5m", "utilisation": 0.9, "dead_letters": 0, "gone": 2}
    assert read_thresholds(given) == {**given, "oldest": 300.0}
    assert read_thresholds({"oldest": 12}) == {"oldest": 12.0}
    assert read_thresholds(None) == {}


@pytest.mark.parametrize(
    ("given", "says"),
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
    given: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        read_thresholds(given)


def test_every_chart_says_what_a_point_is() -> None:
    assert len({chart.name for chart in CHARTS}) == len(CHARTS)
    assert all("each interval" in chart.how for chart in CHARTS)
