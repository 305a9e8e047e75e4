"""The page of the board without a browser: it connects until it can, and then shows the board."""

from __future__ import annotations

from collections.abc import Callable

import tasktools as tt
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import Unreachable
from tasktools.widgets.board_page import BoardPage
from tasktools.widgets.dashboard import Dashboard
from tests.screen import WidgetScreen


def screen_of(connect: Callable[[], Cluster]) -> WidgetScreen[BoardPage]:
    return WidgetScreen(lambda post: BoardPage(connect, post=post))


def test_the_page_becomes_the_board_and_closes_its_connection() -> None:
    clusters: list[Cluster] = []

    def connect() -> Cluster:
        clusters.append(tt.connect("demo://", read_only=True))
        return clusters[-1]

    screen = screen_of(connect)
    page = screen.widget
    screen.until(lambda: isinstance(page.children[0], Dashboard))
    (board,) = page.children
    screen.until(lambda: board.state.newest_at is not None)
    screen.until(lambda: not page.feed.alive)
    page.close()
    page.close()
    assert len(clusters) == 1
    assert not board.feed.alive


def test_a_broker_that_is_down_is_told_and_tried_again() -> None:
    """The text of an error is text on the page, and holds no markup of its own."""
    tries: list[int] = []

    def connect() -> Cluster:
        tries.append(1)
        if len(tries) < 3:
            raise Unreachable("<b>rabbit</b> does not answer; nothing was changed.")
        return tt.connect("demo://", read_only=True)

    screen = screen_of(connect)
    page = screen.widget
    (status,) = page.children
    screen.until(lambda: "does not answer" in status.value)
    assert "&lt;b&gt;rabbit&lt;/b&gt;" in status.value
    assert "tried again" in status.value
    screen.until(lambda: isinstance(page.children[0], Dashboard))
    page.close()
