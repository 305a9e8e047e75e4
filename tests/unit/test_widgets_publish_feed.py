"""The threads behind widgets: what they tell, and that they end."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import ConnectionLost
from tasktools.core.models import Outgoing, PublishResult, PublishResults
from tasktools.testing import eventually, task_event
from tasktools.widgets.feed import Feed, to_the_kernel
from tasktools.widgets.publish.feed import PublishFeed
from tasktools.widgets.publish.state import Order


class Kernel:
    """The kernel's loop, turned by hand; and what was received in it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], object]] = []
        self.received: dict[str, Any] = {}
        self.times = 0

    def post(self, call: Callable[[], object]) -> None:
        self.waiting.append(call)

    def receive(self, news: Mapping[str, Any]) -> None:
        self.received |= news
        self.times += 1

    def turn(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def told(self, name: str) -> str:
        self.turn()
        return str(self.received.get(name, ""))

    def has(self, **values: Any) -> bool:
        self.turn()
        return all(self.received.get(name) == value for name, value in values.items())


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("tasktools")]


# --- any feed ------------------------------------------------------------------------


class Looking:
    """A look that can be counted, and fails where it is told to."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __call__(self) -> float:
        self.times += 1
        if self.error is not None:
            raise self.error
        return 60.0


@pytest.fixture
def look() -> Looking:
    return Looking()


@pytest.fixture
def feed(kernel: Kernel, look: Looking) -> Iterator[Feed]:
    feed = Feed("test", look, kernel.receive, kernel.post)
    yield feed
    feed.close()


def test_it_looks_when_it_starts_and_when_it_is_told_to(feed: Feed, look: Looking) -> None:
    assert look.times == 0
    feed.start()
    feed.start()
    eventually(lambda: look.times == 1)
    feed.look_soon()
    eventually(lambda: look.times == 2)
    assert threads() == ["tasktools-test"]


def test_jobs_are_done_in_order_before_the_next_look(feed: Feed, look: Looking) -> None:
    begun, hold, done = threading.Event(), threading.Event(), list[str]()
    feed.do(begun.set)
    feed.do(hold.wait)
    begun.wait()
    before = look.times
    for name in "abc":
        feed.do(lambda name=name: done.append(f"{name}{look.times}"))  # type: ignore[misc]
    hold.set()
    eventually(lambda: look.times > before)
    assert done == [f"a{before}", f"b{before}", f"c{before}"]


def test_one_update_is_in_flight_and_newer_values_take_the_place_of_older(
    feed: Feed, kernel: Kernel
) -> None:
    for number in range(100):
        feed.tell(number=number)
    feed.tell(more=True)
    assert len(kernel.waiting) == 1
    kernel.turn()
    assert (kernel.received, kernel.times) == ({"number": 99, "more": True}, 1)
    feed.tell(number=100)
    kernel.turn()
    assert kernel.received["number"] == 100


def test_the_error_of_a_look_is_told_and_taken_back_once_it_works(
    feed: Feed, look: Looking, kernel: Kernel
) -> None:
    look.error = ConnectionLost("the line is cut")
    feed.start()
    eventually(lambda: kernel.has(problem="the line is cut"))
    look.error = None
    feed.look_soon()
    eventually(lambda: kernel.has(problem=""))


def test_the_error_of_a_job_stays_and_is_logged(
    feed: Feed, look: Looking, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise KeyError("oops")

    with caplog.at_level(logging.CRITICAL + 1):
        feed.do(fail)
        eventually(lambda: kernel.has(problem="KeyError: 'oops'"))
    eventually(lambda: look.times)
    feed.look_soon()
    eventually(lambda: look.times >= 2)
    assert kernel.has(problem="KeyError: 'oops'")


def test_a_look_that_fails_is_not_tried_again_at_once(feed: Feed, look: Looking) -> None:
    look.error = ValueError("x")
    feed.start()
    eventually(lambda: look.times)
    feed.do(lambda: None)
    eventually(lambda: look.times >= 2)
    assert look.times == 2


def test_stop_ends_the_thread_after_the_jobs_and_start_goes_on(feed: Feed, look: Looking) -> None:
    hold, done = threading.Event(), []
    feed.do(hold.wait)
    feed.do(lambda: done.append(1))
    feed.stop()
    hold.set()
    eventually(lambda: not feed.alive)
    assert done == [1]
    before = look.times
    feed.start()
    eventually(lambda: look.times > before)


def test_close_does_the_jobs_joins_and_is_final(feed: Feed, kernel: Kernel) -> None:
    done: list[int] = []
    feed.do(lambda: done.append(1))
    feed.tell(late=True)
    feed.close()
    feed.close()
    assert done == [1]
    assert threads() == []
    feed.start()
    feed.tell(later=True)
    kernel.turn()
    assert (threads(), kernel.received) == ([], {})


def test_a_feed_may_be_closed_by_its_own_job(feed: Feed) -> None:
    feed.do(feed.close)
    eventually(lambda: not feed.alive)


def test_a_loop_that_is_closed_stops_it(look: Looking, kernel: Kernel) -> None:
    def gone(_call: object) -> None:
        raise RuntimeError("Event loop is closed")

    feed = Feed("test", look, kernel.receive, gone)
    feed.start()
    feed.tell(anything=1)
    eventually(lambda: not feed.alive)
    feed.close()


def test_in_a_notebook_calls_are_made_in_its_loop_and_else_at_once() -> None:
    made: list[str] = []

    def make() -> None:
        made.append(threading.current_thread().name)

    async def notebook() -> None:
        post = to_the_kernel()
        thread = threading.Thread(target=post, args=(make,))
        thread.start()
        thread.join()
        assert made == []
        await asyncio.sleep(0)
        assert made == ["MainThread"]

    asyncio.run(notebook())
    to_the_kernel()(make)
    assert made == ["MainThread"] * 2


# --- the feed of the publish widget --------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tt.connect("memory://") as cluster:
        cluster.broker.ensure_topic("emails")
        yield cluster


@pytest.fixture
def publishing(cluster: Cluster, kernel: Kernel) -> Iterator[PublishFeed]:
    feed = PublishFeed(cluster, kernel.receive, kernel.post)
    feed.follow_seconds = 0.02
    feed.start()
    yield feed
    feed.close()


def order(count: int = 1, *, topic: str = "emails", create: bool = False) -> Order:
    return Order(pd.DataFrame({"topic": [topic] * count, "task_name": "shop:send"}), create)


def outcomes(kernel: Kernel) -> list[str]:
    kernel.turn()
    outcome = kernel.received.get("outcome")
    return [] if outcome is None else outcome["outcome"].tolist()


def states(kernel: Kernel) -> list[str]:
    kernel.turn()
    followed = kernel.received.get("followed")
    return [] if followed is None else followed["state"].tolist()


def test_it_tells_which_topics_exist_and_which_were_asked_for_in_vain(
    publishing: PublishFeed, kernel: Kernel
) -> None:
    eventually(lambda: kernel.has(topics=("emails",), missing=()))
    publishing.want(("emails", "gone"))
    eventually(lambda: kernel.has(topics=("emails",), missing=("gone",)))


def test_it_publishes_tells_the_outcome_and_follows_to_the_end(
    publishing: PublishFeed, kernel: Kernel, cluster: Cluster
) -> None:
    publishing.publish(order())
    eventually(lambda: outcomes(kernel) == ["confirmed"])
    assert kernel.has(busy=False)
    eventually(lambda: states(kernel) == ["queued"])
    task_id = kernel.received["outcome"]["task_id"][0]
    cluster.broker.broadcast(task_event("task_started", task_id))
    eventually(lambda: states(kernel) == ["running"])
    cluster.broker.broadcast(task_event("task_completed", task_id))
    eventually(lambda: states(kernel) == ["succeeded"])
    eventually(lambda: kernel.has(tasks=("shop:send",)))


def test_a_task_that_failed_and_is_tried_again_is_seen_running_again(
    publishing: PublishFeed, kernel: Kernel, cluster: Cluster
) -> None:
    publishing.follow_slowly_seconds = 0.1
    publishing.publish(order())
    eventually(lambda: outcomes(kernel))
    task_id = kernel.received["outcome"]["task_id"][0]
    cluster.broker.broadcast(task_event("task_failed", task_id))
    eventually(lambda: states(kernel) == ["failed"])
    cluster.broker.broadcast(task_event("task_started", task_id))
    eventually(lambda: states(kernel) == ["running"])


def test_a_batch_tells_its_progress(publishing: PublishFeed, kernel: Kernel) -> None:
    publishing.publish(order(1200))
    eventually(lambda: len(outcomes(kernel)) == 1200)
    assert kernel.has(settled=1200)


def test_what_was_published_later_stands_above(publishing: PublishFeed, kernel: Kernel) -> None:
    publishing.publish(order())
    publishing.publish(order(topic="brand-new", create=True))
    eventually(lambda: len(outcomes(kernel)) == 2)
    assert kernel.received["outcome"]["topic"].tolist() == ["brand-new", "emails"]
    eventually(lambda: kernel.has(topics=("brand-new", "emails")))


def test_old_tasks_leave_the_list_and_a_batch_is_kept_whole(
    publishing: PublishFeed, kernel: Kernel
) -> None:
    publishing.max_tasks = 3
    for count in (2, 2, 5):
        publishing.publish(order(count))
    publishing.do(lambda: None)
    eventually(lambda: len(outcomes(kernel)) == 5)
    publishing.publish(order())
    eventually(lambda: len(outcomes(kernel)) == 3)


def test_a_refusal_is_told_in_words_and_is_no_failure_of_the_feed(
    publishing: PublishFeed, kernel: Kernel
) -> None:
    publishing.publish(order(topic="emial"))
    eventually(lambda: kernel.told("refusal"))
    assert "There is no topic 'emial'" in kernel.received["refusal"]
    assert "did you mean 'emails'" in kernel.received["refusal"]
    assert kernel.has(busy=False)
    assert not kernel.received.get("problem")
    assert outcomes(kernel) == []


def test_what_was_not_queued_is_shown_and_not_followed(
    publishing: PublishFeed, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_broker: object, messages: list[Outgoing], _progress: object) -> PublishResults:
        results: list[PublishResult] = ["refused", "unroutable", "in doubt"]
        return PublishResults(results[: len(messages)])

    monkeypatch.setattr(MemoryBroker, "publish_many", refuse)
    publishing.publish(order(3))
    eventually(lambda: outcomes(kernel) == ["refused", "unroutable", "in doubt"])
    eventually(lambda: states(kernel) == ["unknown"])


def test_an_unexpected_error_ends_the_order_and_is_a_problem(
    publishing: PublishFeed, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(MemoryBroker, "publish_many", fail)
    publishing.publish(order())
    eventually(lambda: kernel.has(busy=False, problem="ZeroDivisionError: oops"))


def test_closing_waits_until_what_was_ordered_is_published(
    publishing: PublishFeed, cluster: Cluster
) -> None:
    publishing.publish(order(700))
    publishing.close()
    assert cluster.topics().set_index("topic").loc["emails", "queued"] == 700


def test_a_closed_cluster_is_told(
    publishing: PublishFeed, kernel: Kernel, cluster: Cluster
) -> None:
    cluster.close()
    publishing.look_soon()
    eventually(lambda: "was closed" in kernel.told("problem"))


def test_a_feed_does_not_keep_its_receiver_alive(cluster: Cluster) -> None:
    class Receiver:
        def receive(self, _news: Mapping[str, Any]) -> None: ...

    receiver = Receiver()
    weak, method = weakref.ref(receiver), weakref.WeakMethod(receiver.receive)
    feed = PublishFeed(cluster, lambda _news: method(), lambda call: call())
    feed.start()
    del receiver
    gc.collect()
    assert weak() is None
    feed.close()
