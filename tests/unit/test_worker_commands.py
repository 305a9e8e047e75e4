"""Commands to workers of ours: obeyed at once, and nothing runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest

import tasktools as tt
from tasktools.core.events import Command
from tasktools.testing import eventually
from tests.workplace import Slow, Workplace

Kind = Literal["worker_command", "tasktools_command"]


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def order(
    place: Workplace,
    action: str,
    target: str | None = "ours",
    kind: Kind = "tasktools_command",
    **params: Any,
) -> None:
    place.broker.broadcast(
        Command(kind=kind, sender_id="node-1", target=target, action=action, params=params)
    )


def run_some(place: Workplace, count: int, **options: Any) -> tuple[tt.TaskRunner, Slow]:
    """Return a runner of two that has begun two of *count* tasks and holds two more."""
    slow = place.slow_task()
    for n in range(count):
        place.publish("slow", n)
    runner = place.run(capacity=2, prefetch=4, **options)
    eventually(lambda: slow.running == 2 and place.held() == min(count, 4))
    return runner, slow


@pytest.mark.parametrize("kind", ["worker_command", "tasktools_command"])
def test_a_drained_worker_finishes_what_it_runs_and_takes_no_more(
    place: Workplace, kind: Kind
) -> None:
    runner, slow = run_some(place, 6)
    order(place, "drain", kind=kind)
    eventually(lambda: (place.held(), place.depth()) == (2, 4))
    eventually(lambda: (place.reports()[-1].draining, place.reports()[-1].running) == (True, 2))
    assert (runner.topics, place.reports()[-1].topics) == ((), ())
    slow.end(2)
    eventually(lambda: place.held() == 0)
    assert place.depth() == 4
    assert sorted(slow.ran) == [0, 1]
    assert place.reports("unregister") == []


def test_what_a_drained_worker_gave_back_runs_elsewhere_once(place: Workplace) -> None:
    _, slow = run_some(place, 6)
    order(place, "drain")
    eventually(lambda: place.held() == 2)
    place.run(worker_id="other", capacity=4)
    slow.end(6)
    eventually(place.is_done)
    assert sorted(slow.ran) == list(range(6))


def test_joining_a_topic_ends_the_drain_for_that_topic(place: Workplace) -> None:
    ran: list[str] = []
    place.registry.task(name="look")(lambda: ran.append(tt.current_task().topic))
    runner = place.run(topics=["work", "emails"])
    order(place, "drain")
    eventually(lambda: runner.topics == ())
    order(place, "join_topic", topic="work")
    eventually(lambda: runner.topics == ("work",))
    eventually(lambda: place.reports()[-1].draining is False)
    place.publish("look", topic="emails")
    place.publish("look", topic="work")
    eventually(lambda: ran == ["work"])
    assert place.depth("emails") == 1


def test_joining_all_ends_the_drain_for_all_that_was_asked_for(place: Workplace) -> None:
    runner = place.run(topics=["work", "emails"])
    order(place, "drain")
    eventually(lambda: runner.topics == ())
    order(place, "join_topic", topic="*")
    eventually(lambda: runner.topics == ("emails", "work"))


def test_a_drained_wildcard_worker_follows_no_new_topics_until_it_joins_all(
    place: Workplace,
) -> None:
    runner = place.run(topics=["*"])
    order(place, "drain")
    eventually(lambda: runner.topics == ())
    order(place, "join_topic", topic="work")
    eventually(lambda: runner.topics == ("work",))
    place.configure("later", max_retries=1)
    place.broker.ensure_topic("later")
    order(place, "join_topic", topic="*")
    eventually(lambda: runner.topics == ("default", "later", "work"))


def test_joining_a_new_topic_creates_it(place: Workplace) -> None:
    ran: list[bool] = []
    place.registry.task(name="go")(lambda: ran.append(True))
    runner = place.run()
    order(place, "join_topic", topic="new")
    eventually(lambda: runner.topics == ("new", "work"))
    place.publish("go", topic="new")
    eventually(lambda: ran)


def test_joining_twice_consumes_once(place: Workplace) -> None:
    place.run()
    order(place, "join_topic", topic="work")
    order(place, "join_topic", topic="new")
    eventually(lambda: place.broker.topic_exists("new") and place.server.consumers("new"))
    assert place.server.consumers("work") == 1


def test_a_worker_that_leaves_a_topic_finishes_what_it_runs_of_it(place: Workplace) -> None:
    runner, slow = run_some(place, 6, topics=["work", "emails"])
    place.publish("slow", 99, topic="emails")
    eventually(lambda: place.held("emails") == 1)
    order(place, "leave_topic", topic="work")
    eventually(lambda: (place.held(), place.depth()) == (2, 4))
    assert runner.topics == ("emails",)
    slow.end(3)
    eventually(lambda: sorted(slow.ran) == [0, 1, 99])
    assert place.depth() == 4
    assert place.reports()[-1].draining is False


def test_a_topic_that_was_left_is_not_found_again_by_the_wildcard(place: Workplace) -> None:
    runner = place.run(topics=["*"])
    order(place, "leave_topic", topic="work")
    eventually(lambda: runner.topics == ("default",))
    place.broker.ensure_topic("later")
    place.configure("later", max_retries=1)
    eventually(lambda: runner.topics == ("default", "later"))
    order(place, "join_topic", topic="work")
    eventually(lambda: runner.topics == ("default", "later", "work"))


def test_the_prefetch_of_a_topic_changes(place: Workplace) -> None:
    run_some(place, 20)
    order(place, "update_prefetch", topic="work", prefetch=9)
    eventually(lambda: place.held() == 9)


@pytest.mark.parametrize("prefetch", [0, -3, 10**9])
def test_a_prefetch_that_cannot_be_is_the_nearest_that_can(place: Workplace, prefetch: int) -> None:
    slow = place.slow_task()
    place.run()
    order(place, "update_prefetch", topic="work", prefetch=prefetch)
    place.publish("slow")
    eventually(lambda: slow.running)


def test_a_prefetch_outlives_a_change_of_the_capacity_and_leaving(place: Workplace) -> None:
    runner, _ = run_some(place, 20)
    order(place, "update_prefetch", topic="work", prefetch=9)
    eventually(lambda: place.held() == 9)
    runner.capacity = 3
    order(place, "leave_topic", topic="work")
    eventually(lambda: runner.topics == ())
    order(place, "join_topic", topic="work")
    eventually(lambda: place.held() >= 9)


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("fly", {}),
        ("join_topic", {}),
        ("join_topic", {"topic": 3}),
        ("join_topic", {"topic": "amq.no"}),
        ("update_prefetch", {"topic": "work"}),
        ("update_prefetch", {"topic": "work", "prefetch": "many"}),
    ],
)
def test_an_order_that_cannot_be_obeyed_changes_nothing(
    place: Workplace, action: str, params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    runner = place.run()
    order(place, action, **params)
    order(place, "join_topic", topic="next")
    eventually(lambda: runner.topics == ("next", "work"))
    assert "ignored the command" in caplog.text or "could not carry out the command" in caplog.text


@pytest.mark.parametrize("target", ["somebody", None])
def test_orders_to_others_are_not_obeyed(place: Workplace, target: str | None) -> None:
    runner = place.run()
    order(place, "drain", target)
    order(place, "join_topic", topic="next")
    eventually(lambda: runner.topics == ("next", "work"))


def test_commands_under_load_run_nothing_twice_and_lose_nothing(place: Workplace) -> None:
    ran: list[int] = []
    place.registry.task(name="note")(ran.append)
    place.run(worker_id="steady", capacity=2)
    place.run(capacity=4, prefetch=16)
    for n in range(3000):
        place.publish("note", n)
        if n % 300 == 100:
            order(place, "drain")
        if n % 300 == 200:
            order(place, "join_topic", topic="work")
        if n % 300 == 250:
            order(place, "leave_topic", topic="work")
        if n % 300 == 299:
            order(place, "join_topic", topic="work")
    eventually(place.is_done)
    assert sorted(ran) == list(range(3000))
