"""The lifecycle of all widgets with a thread: pause, end, and nothing left behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.cluster.cluster import Cluster
from tasktools.testing import eventually
from tasktools.widgets import (
    CapacityWidget,
    Dashboard,
    DeadLettersWidget,
    IncidentWidget,
    PublishWidget,
)
from tests.screen import WidgetScreen

WIDGETS: dict[str, tuple[Callable[..., Any], int]] = {
    "board": (Dashboard, 1),
    "capacity": (CapacityWidget, 15),
    "dead-letters": (DeadLettersWidget, 40),
    "incident": (IncidentWidget, 10),
    "publish": (PublishWidget, 20),
}
"""By the names of their threads: the class, and how many parts it has at least."""

Screen = WidgetScreen[Any]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tt.connect("memory://") as cluster:
        cluster.broker.ensure_topic("emails")
        yield cluster


@pytest.fixture(params=WIDGETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def screen(cluster: Cluster, name: str) -> Iterator[Screen]:
    screen = Screen(lambda post: WIDGETS[name][0](cluster, post=post))
    yield screen
    screen.widget.close()


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_close_ends_the_thread_and_closes_every_widget(screen: Screen, name: str) -> None:
    if name == "dead-letters":
        screen.widget.state.add_edit()  # whose line is made later than the rest
    every = screen.all()
    assert screen.widget.feed.alive
    screen.widget.close()
    screen.widget.close()
    assert not screen.widget.feed.alive
    assert len(every) > WIDGETS[name][1]
    assert [widget for widget in every if widget.comm is not None] == []


def test_a_widget_that_is_dropped_after_its_close_is_freed(cluster: Cluster, name: str) -> None:
    widget = WIDGETS[name][0](cluster)
    weak = weakref.ref(widget)
    widget.close()
    del widget
    gc.collect()
    assert weak() is None
    assert f"tasktools-{name}" not in thread_names()


def test_its_thread_ends_while_no_browser_shows_it_and_goes_on_with_the_next_view(
    screen: Screen, name: str
) -> None:
    feed, say = screen.widget.feed, screen.widget._visibility._on_message
    say(None, {"view": "a", "shown": True}, [])
    say(None, {"view": "b", "shown": True}, [])
    say(None, {"view": "a", "shown": False}, [])
    assert feed.alive
    say(None, {"view": "b", "shown": False}, [])
    eventually(lambda: not feed.alive)
    say(None, {"view": "c", "shown": True}, [])
    assert feed.alive
    assert f"tasktools-{name}" in thread_names()
