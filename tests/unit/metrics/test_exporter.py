"""The served metrics, of the demo and of clusters in memory that cannot be asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.errors import ConnectionLost
from tasktools.core.events import CounterDelta, TaskEvent
from tasktools.metrics.exporter import Exporter, served
from tasktools.metrics.families import FAMILIES
from tasktools.metrics.task_counts import TaskCounts
from tasktools.testing import eventually
from tests.timing import within
from tests.unit.metrics.scrape import families, lint, scrape, value, values


@contextmanager
def exporting(cluster: tt.Cluster, *, timeout: float = 30.0) -> Iterator[Callable[[], str]]:
    """Serve *cluster*; give a function that scrapes it."""
    exporter = Exporter(cluster, every=0.1, timeout=timeout, version="1")
    with exporter, served(exporter, "127.0.0.1", 0) as port:
        yield lambda: scrape(port)


def up(scraped: Callable[[], str]) -> Callable[[], str | None]:
    """Return a function that scrapes, and returns the text once the broker has answered."""

    def text() -> str | None:
        answer = scraped()
        return answer if value(values(answer), "tasktools_up") == 1 else None

    return text


@pytest.fixture
def demo() -> Iterator[tt.Cluster]:
    with tt.connect("demo://") as cluster:
        yield cluster


def test_the_demo_is_served_and_its_names_are_as_prometheus_wants_them(demo: tt.Cluster) -> None:
    with exporting(demo) as scraped:
        text = eventually(up(scraped))
    by_name = {
        f"{each.name}_total" if each.type == "counter" else each.name: each
        for each in families(text)
    }
    assert lint(by_name) == []
    assert by_name.keys() == {family.name for family in FAMILIES}
    without = {name for name, family in by_name.items() if not family.samples}
    assert without == {name for name in by_name if "_needed_" in name}  # of a recording
    for family in FAMILIES:
        served_family = by_name[family.name]
        assert (served_family.type, served_family.documentation) == (family.kind, family.meaning)
        assert all({*each.labels} == {*family.labels} for each in served_family.samples)
    known = values(text)
    assert value(known, "tasktools_info", version="1", layout="fp", demo="true") == 1
    topics = demo.topics().set_index("topic")
    for topic in topics.index:
        labels = {"topic": topic}
        assert value(known, "tasktools_topic_queued_messages", **labels) is not None
        assert value(known, "tasktools_topic_capacity_tasks", **labels)
    for error in demo.dead_letters("orders")["error"].dropna():
        assert error not in text  # nor anything else of a message


def test_the_rules_by_which_names_are_checked_see_bad_ones() -> None:
    bad = """
# TYPE queue_wait_ms gauge
queue_wait_ms{le="1"} 3
# HELP failedTasks x
# TYPE failedTasks counter
failedTasks 1
# HELP wait_seconds_max x
# TYPE wait_seconds_max gauge
wait_seconds_max 1
# HELP wait_minutes_gauge x
# TYPE wait_minutes_gauge gauge
wait_minutes_gauge 1
"""
    problems = lint({each.name: each for each in families(bad)})
    assert problems == [
        "queue_wait_ms: no help text",
        "queue_wait_ms: an abbreviated unit",
        "queue_wait_ms: a reserved label",
        "failedTasks: camelCase",
        "failedTasks: _total of no counter, or a counter without",
        "wait_seconds_max: a unit that is not last",
        "wait_minutes_gauge: a type in the name",
        "wait_minutes_gauge: no base unit",
    ]


class Counting:
    """Counts scrapes, and refuses a counter that is lower than it was."""

    def __init__(self) -> None:
        self.last: dict[Any, float] = {}

    def check(self, text: str) -> None:
        counters = {
            sample: number for sample, number in values(text).items() if "_total" in sample[0]
        }
        assert all(number >= self.last.get(sample, 0) for sample, number in counters.items())
        self.last = {**self.last, **counters}


def test_counters_never_go_backwards_and_count_what_is_heard(demo: tt.Cluster) -> None:
    counting = Counting()
    with exporting(demo) as scraped:

        def have_succeeded() -> bool:
            counting.check(scraped())
            return sum(n for (name, _), n in counting.last.items() if "succeeded" in name) > 20

        eventually(have_succeeded)
        counted = set(counting.last)
        demo.broker.close()  # heard of no longer, but not forgotten
        text = scraped()
        counting.check(text)
    assert counted <= values(text).keys()


def test_counts_are_of_the_events_of_each_topic() -> None:
    counts = TaskCounts()
    for kind in ("task_started", "task_failed", "task_started", "task_completed"):
        counts.handle_event(TaskEvent(kind=kind, sender_id="w", task_id="1", topic="emails"))
    counts.handle_event(TaskEvent(kind="task_failed", sender_id="w", task_id="2"))
    counts.handle_event(CounterDelta(sender_id="w", topic="emails", counter="skipped", delta=2))
    counts.handle_event(CounterDelta(sender_id="w", topic="emails", counter="error", delta=5))
    assert counts.by_topic("begun") == {"emails": 2}
    assert counts.by_topic("failed") == {"emails": 1}
    assert counts.by_topic("succeeded") == {"emails": 1}
    assert counts.by_topic("dead_lettered") == {"emails": 2}


def test_a_scrape_waits_for_no_look_and_up_is_absent_then_0_then_1(
    demo: tt.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    look = demo.observed

    def slow_look(**options: Any) -> Any:
        answers.wait(60)
        return look(**options)

    monkeypatch.setattr(demo, "observed", slow_look)
    with exporting(demo, timeout=1.0) as scraped:
        with within(1, "a scrape"):
            text = scraped()
        assert value(values(text), "tasktools_up") is None

        def is_down() -> bool:
            return value(values(scraped()), "tasktools_up") == 0

        eventually(is_down)
        assert "tasktools_topic_queued_messages{" not in scraped()
        answers.set()
        eventually(up(scraped))


@pytest.mark.parametrize(
    ("error", "logged"), [(ConnectionLost("gone"), 0), (ZeroDivisionError("a defect"), 1)]
)
def test_a_look_that_fails_takes_its_values_away_and_the_next_brings_them_back(
    demo: tt.Cluster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    logged: int,
) -> None:
    with exporting(demo) as scraped:
        eventually(up(scraped))
        with monkeypatch.context() as patch:

            def fail(**_options: Any) -> Any:
                raise error

            patch.setattr(demo, "observed", fail)

            def is_down() -> str | None:
                text = scraped()
                return text if value(values(text), "tasktools_up") == 0 else None

            text = eventually(is_down)
            left = {name for name, _ in values(text)}
            counters = {family.name for family in FAMILIES if family.kind == "counter"}
            assert left == counters | {"tasktools_up", "tasktools_info"}
        eventually(up(scraped))
    lines = [each for each in caplog.records if each.name == "tasktools.metrics"]
    assert len(lines) == logged


def test_strange_names_are_escaped_and_two_alike_do_not_spoil_a_scrape() -> None:
    with tt.connect("memory://") as cluster:
        exporter = Exporter(cluster, every=60, timeout=60, version="1")
        for topic in ('a"b\\c', "a\nb", "a\udce9", "a\\udce9"):
            event = TaskEvent(kind="task_failed", sender_id="w", task_id="1", topic=topic)
            exporter._counts.handle_event(event)
        with served(exporter, "127.0.0.1", 0) as port:
            text = scrape(port)
    shown = {dict(labels).get("topic") for name, labels in values(text) if "failed" in name}
    assert shown == {'a"b\\c', "a\nb", "a\\udce9"}
