"""The events of a worker: registration, heartbeats, answers, task events, goodbye."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.errors import ConnectionLost
from tasktools.core.events import (
    Command,
    Event,
    Question,
    SettingsReply,
    SettingsUpdate,
    TaskEvent,
    WorkerEvent,
    WorkerList,
)
from tasktools.core.known_workers import LATE_AFTER
from tasktools.core.models import RetryRule, TopicSettings
from tasktools.testing import eventually, task_event
from tasktools.worker import heartbeat
from tasktools.worker.heartbeat import Heartbeat
from tasktools.worker.intervals import Intervals
from tests.timing import within
from tests.workplace import Workplace

LIMIT_2 = TopicSettings(concurrency_limit=2, dead_letter_enabled=True)


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


BEATING_OFTEN = Intervals(heartbeat=0.05)
SENDING_OFTEN = Intervals(heartbeat=0.05, send_retry=0.02)


# --- registered, beating, gone --------------------------------------------------------


def test_a_worker_tells_its_prefetch_and_the_tries_of_its_tasks(place: Workplace) -> None:
    place.registry.task(name="send", max_retries=3, retry_delay=2.5)(lambda: None)
    place.run(topics=["work", "emails"], capacity=3)
    eventually(lambda: place.reports("register"))
    (report,) = place.reports("register")
    assert report.prefetch == {"emails": 3, "work": 3}
    assert report.retries == {"send": RetryRule(3, 2.5)}
    order = {"sender_id": "test", "target": "ours", "action": "update_prefetch"}
    params = {"topic": "work", "prefetch": 9}
    place.broker.broadcast(Command(kind="tasktools_command", params=params, **order))
    eventually(lambda: place.reports("heartbeat")[-1:], 30)
    eventually(lambda: place.reports("heartbeat")[-1].prefetch == {"emails": 3, "work": 9})


def test_a_heartbeat_does_not_tell_of_hundreds_of_tasks(place: Workplace) -> None:
    for number in range(201):

        def work() -> None: ...

        work.__qualname__ = work.__name__ = f"work_{number}"
        place.registry.task(work)
    place.run()
    eventually(lambda: place.reports("register"))
    assert place.reports("register")[0].retries == {}


def test_a_worker_registers_first_and_unregisters_last(place: Workplace) -> None:
    runner = place.run(topics=["work", "emails"], capacity=3)
    eventually(lambda: place.reports("register"))
    (report,) = place.reports("register")
    assert (report.worker_id, report.role, report.capacity) == ("ours", "worker", 3)
    assert (report.topics, report.requested_topics) == (("emails", "work"), ("work", "emails"))
    assert (report.running, report.running_tasks, report.draining) == (0, (), False)
    assert report.tasktools == tt.__version__
    assert report.started_at is not None
    runner.stop()
    of_workers = [event for event in place.heard if isinstance(event, WorkerEvent)]
    assert (of_workers[0].kind, of_workers[-1].kind) == ("register", "unregister")
    assert {event.sender_id.startswith("tasktools-") for event in of_workers} == {True}


def test_the_cluster_view_sees_a_worker_of_ours_come_and_go(place: Workplace) -> None:
    place.broker.cluster_state()
    runner = place.run()

    def states() -> list[tuple[str, bool]]:
        return [(w.state, w.is_tasktools) for w in place.broker.cluster_state().workers]

    eventually(lambda: states() == [("alive", True)])
    runner.stop()
    eventually(lambda: states() == [("stopped", True)])


def test_heartbeats_tell_what_runs(place: Workplace) -> None:
    slow = place.slow_task()
    ids = {place.publish("slow") for _ in range(2)}
    place.run(intervals=BEATING_OFTEN, capacity=2)
    eventually(lambda: slow.running == 2)
    report = eventually(lambda: next(filter(lambda r: r.running == 2, place.reports()), None))
    assert report.running_tasks is not None
    assert {task.task_id for task in report.running_tasks} == ids
    assert {(task.task_name, task.topic) for task in report.running_tasks} == {("slow", "work")}
    slow.end(2)
    eventually(lambda: (place.reports()[-1].running, place.reports()[-1].succeeded) == (0, 2))


@pytest.mark.slow
def test_a_task_that_holds_the_gil_makes_nobody_believe_that_the_worker_is_gone(
    place: Workplace,
) -> None:
    times: list[float] = []
    stop = place.broker.listen(
        lambda event: times.append(time.monotonic()) if isinstance(event, WorkerEvent) else None
    )
    count = 10_000_000
    began = time.perf_counter()
    sum(range(count))
    a_second = int(count / (time.perf_counter() - began) * 1.2)

    @place.registry.task
    def hold() -> None:
        for _ in range(2):
            sum(range(a_second))
            re.match(r"(a+)+$", 23 * "a" + "b")

    for _ in range(2):
        place.publish(hold)
    place.run(capacity=1)
    eventually(lambda: place.is_done() and len(times) >= 4, 50)
    stop()
    assert max(later - before for before, later in itertools.pairwise(times)) < LATE_AFTER


# --- answering ------------------------------------------------------------------------


def test_who_is_alive_is_answered_with_oneself(place: Workplace) -> None:
    place.run()
    place.broker.broadcast(Question(kind="who_is_alive", sender_id="node-1"))
    answer = eventually(lambda: next((e for e in place.heard if isinstance(e, WorkerList)), None))
    assert [report.worker_id for report in answer.workers] == ["ours"]
    assert answer.workers[0].topics == ("work",)


def of_kind(place: Workplace, *kinds: type[Event]) -> list[Any]:
    return [event for event in tuple(place.heard) if isinstance(event, kinds)]


def test_a_question_for_settings_is_answered_from_the_store(place: Workplace) -> None:
    place.configure("work", concurrency_limit=2)
    place.configure("emails", max_retries=3)
    place.run()
    place.heard.clear()
    place.broker.broadcast(Question(kind="config_request", sender_id="node-1"))
    eventually(lambda: len(of_kind(place, SettingsUpdate)) >= 2)
    settings = {event.topic: event.settings for event in of_kind(place, SettingsUpdate)}
    assert settings["work"].concurrency_limit == 2
    assert settings["emails"].max_retries == 3
    assert of_kind(place, SettingsReply) == []


def peer_says(topic: str, settings: TopicSettings) -> SettingsUpdate:
    return SettingsUpdate(sender_id="node-1", topic=topic, settings=settings)


def test_settings_that_a_peer_makes_are_kept_for_all(place: Workplace) -> None:
    for name in "abc":
        place.run(worker_id=name, intervals=Intervals(store_settings=0.05))
    place.broker.broadcast(peer_says("work", LIMIT_2))
    eventually(lambda: place.broker.topic_settings().get("work") == LIMIT_2)
    place.broker.broadcast(peer_says("emails", LIMIT_2))
    eventually(lambda: place.broker.topic_settings().get("emails") == LIMIT_2)


class Noting(MemoryBroker):
    """Notes whose settings it was told to keep."""

    def __init__(self, place: Workplace) -> None:
        super().__init__(place.server)
        self.configured: list[str] = []

    def configure_topic(self, topic: str, settings: TopicSettings) -> None:
        self.configured.append(topic)
        super().configure_topic(topic, settings)


def test_settings_that_are_kept_already_are_not_written_again(place: Workplace) -> None:
    place.broker.configure_topic("work", LIMIT_2)
    broker = Noting(place)
    place.run(broker, intervals=Intervals(store_settings=0.0))
    place.broker.broadcast(peer_says("work", LIMIT_2), peer_says("emails", LIMIT_2))
    eventually(lambda: "emails" in place.broker.topic_settings())
    assert broker.configured == ["emails"]


def test_what_a_reply_says_is_never_kept(place: Workplace) -> None:
    place.run()
    place.broker.broadcast(SettingsReply(sender_id="node-1", settings={"work": LIMIT_2}))
    place.broker.broadcast(Question(kind="who_is_alive", sender_id="node-1"))
    eventually(lambda: of_kind(place, WorkerList))
    assert place.broker.topic_settings() == {}


def test_settings_of_what_is_no_topic_harm_nobody(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    place.run(intervals=Intervals(store_settings=0.0))
    place.broker.broadcast(peer_says("amq.x", LIMIT_2), peer_says("work", LIMIT_2))
    eventually(lambda: place.broker.topic_settings() == {"work": LIMIT_2})
    assert "could not carry out the command" in caplog.text


# --- telling, whatever the broker does ------------------------------------------------


class Mute(MemoryBroker):
    """Broadcasts nothing while it is `mute`."""

    mute = False
    tried = 0

    def broadcast(self, *events: Event) -> None:
        self.tried += 1
        if self.mute:
            raise ConnectionLost
        super().broadcast(*events)


def test_without_a_connection_events_wait_and_tasks_do_not(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Mute(place.server)
    broker.mute = True
    place.registry.task(name="go")(lambda: None)
    ids = [place.publish("go") for _ in range(20)]
    place.run(broker, intervals=SENDING_OFTEN)
    eventually(place.is_done)
    eventually(lambda: broker.tried > 3)
    assert caplog.text.count("events of this worker cannot be sent") == 1
    broker.mute = False
    eventually(lambda: all(len(place.told(task_id)) == 2 for task_id in ids))
    for task_id in ids:
        assert place.kinds(task_id) == ["task_started", "task_completed"]


def test_of_too_many_events_the_oldest_are_dropped_and_heartbeats_never(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_MAX_EVENTS", 100)
    monkeypatch.setattr(heartbeat, "_MAX_BATCH", 7)
    broker = Mute(place.server)
    broker.mute = True
    runner = place.new_runner()
    telling = Heartbeat(broker, runner._report, "tasktools-test", SENDING_OFTEN)
    telling.start()
    for n in range(1000):
        telling.say(task_event(task_id=f"task-{n}"))
    eventually(lambda: broker.tried > 5)
    broker.mute = False
    eventually(lambda: of_kind(place, TaskEvent))
    telling.stop()
    task_ids = [event.task_id for event in of_kind(place, TaskEvent)]
    assert task_ids == [f"task-{n}" for n in range(900, 1000)]
    assert isinstance(of_kind(place, WorkerEvent, TaskEvent)[0], WorkerEvent)
    assert place.reports("heartbeat")
    assert place.reports("unregister")


def test_without_a_connection_a_runner_stops_all_the_same(place: Workplace) -> None:
    broker = Mute(place.server)
    runner = place.run(broker)
    broker.mute = True
    with within(3):
        assert runner.stop() == 0


def test_an_event_that_cannot_be_written_is_dropped_and_the_rest_goes_on(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    runner = place.new_runner()
    telling = Heartbeat(place.broker, runner._report, "tasktools-test", BEATING_OFTEN)
    telling.start()
    telling.say(task_event(task_id="bad", started_at=1e99))
    eventually(lambda: "could not be sent and are dropped" in caplog.text)
    telling.say(task_event(task_id="good"))
    eventually(lambda: place.told("good"))
    telling.stop()


def test_events_go_out_in_batches(place: Workplace) -> None:
    broker = Mute(place.server)
    place.registry.task(name="go")(lambda: None)
    ids = [place.publish("go") for _ in range(500)]
    place.run(broker)
    eventually(lambda: all(len(place.told(task_id)) == 2 for task_id in ids))
    assert broker.tried < 100


@pytest.mark.slow
def test_an_idle_worker_uses_no_cpu(place: Workplace) -> None:
    place.run(capacity=8)
    eventually(lambda: place.reports("register"))
    began, used = time.monotonic(), time.process_time()
    threading.Event().wait(4)
    assert (time.process_time() - used) / (time.monotonic() - began) < 0.01
