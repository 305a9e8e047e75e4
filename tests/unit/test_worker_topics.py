"""The topics that a runner consumes, and their settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.models import TopicSettings
from tasktools.testing import eventually, worker_event
from tasktools.worker.intervals import Intervals
from tests.workplace import Workplace

CHECKING_OFTEN = Intervals(check=0.05)


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def test_no_more_of_a_topic_run_than_its_limit_in_all_runners(place: Workplace) -> None:
    slow = place.slow_task()
    place.configure(concurrency_limit=3)
    for n in range(12):
        place.publish("slow", n)
    for name in "abc":
        place.run(capacity=4, worker_id=name)
    eventually(lambda: slow.running == 3)
    slow.end(100)
    eventually(place.is_done)
    assert slow.most == 3
    assert sorted(slow.ran) == list(range(12))


def test_a_limit_that_is_changed_counts_at_once(place: Workplace) -> None:
    slow = place.slow_task()
    place.configure(concurrency_limit=1)
    for n in range(12):
        place.publish("slow", n)
    place.run(capacity=6)
    eventually(lambda: slow.running == 1)
    place.configure(concurrency_limit=4)
    eventually(lambda: slow.running == 4)
    place.configure(concurrency_limit=0)
    consumer = place.server._consumers[-1]
    eventually(lambda: consumer._limit == 0)
    slow.end(4)
    eventually(lambda: slow.running == 0 and len(slow.ran) == 4)
    place.configure()
    eventually(lambda: slow.running == 6)


# --- all topics -----------------------------------------------------------------------


def test_the_wildcard_consumes_every_topic_that_is_known(place: Workplace) -> None:
    ran: list[str] = []
    place.registry.task(name="look", topic="reports")(lambda: ran.append(tt.current_task().topic))
    place.publish("look", topic="emails")
    place.publish("look", topic="work")
    runner = place.run(topics=["*"])
    assert runner.topics == ("default", "emails", "reports", "work")
    eventually(lambda: sorted(ran) == ["emails", "work"])


def test_the_wildcard_finds_topics_that_come_later(place: Workplace) -> None:
    ran: list[str] = []
    place.registry.task(name="look")(lambda: ran.append(tt.current_task().topic))
    runner = place.run(topics=["*"])
    place.publish("look", topic="later")
    place.broker.broadcast(worker_event("register", "peer", topics=("later", "*", "missing")))
    eventually(lambda: ran == ["later"])
    place.publish("look", topic="latest")
    place.configure("latest", max_retries=1)
    eventually(lambda: ran == ["later", "latest"])
    assert "missing" not in runner.topics
    assert "*" not in runner.topics
    eventually(lambda: "latest" in place.reports()[-1].topics)
    assert place.reports()[-1].requested_topics == ("*",)


def test_the_wildcard_looks_again_now_and_then(place: Workplace) -> None:
    runner = place.run(topics=["*"], intervals=CHECKING_OFTEN)
    place.broker.ensure_topic("silent")
    eventually(lambda: "silent" in runner.topics)


def test_the_wildcard_is_never_silently_empty(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tasktools.worker")
    runner = place.run(topics=["*"])
    assert "default" in runner.topics
    assert "consuming topic 'default'" in caplog.text
    assert "capacity 4, topics default, work" in caplog.text


def test_a_topic_from_which_nothing_can_come_is_logged(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker(place.server)
    place.run(broker, intervals=CHECKING_OFTEN)
    consumer = broker._deliveries._consumers[0]
    consumer.problem = "The queue 'work' was deleted; nothing is consumed."
    eventually(lambda: "nothing comes from topic 'work': The queue" in caplog.text)


def test_settings_that_were_missed_are_found_out(place: Workplace) -> None:
    slow = place.slow_task()
    place.run(capacity=4, intervals=CHECKING_OFTEN)
    settings = place.server.settings[place.broker.layout.name]
    settings["work"] = TopicSettings(concurrency_limit=1)
    consumer = eventually(lambda: place.server._consumers)[-1]
    eventually(lambda: consumer._limit == 1)
    for n in range(4):
        place.publish("slow", n)
    eventually(lambda: slow.running == 1)
