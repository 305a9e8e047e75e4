"""Tasks that fail: tried again later, given up as their topic has it, stopped by a limit."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.clock import ManualClock
from tasktools.core.errors import BrokerTimeout, ConnectionLost, PublishRefused, UnknownDelivery
from tasktools.core.events import Question, TaskEvent, WorkerList
from tasktools.core.models import TopicSettings
from tasktools.testing import eventually, task_body, task_payload
from tasktools.worker.intervals import Intervals
from tests.timing import within
from tests.workplace import Workplace


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def place(clock: ManualClock) -> Iterator[Workplace]:
    with Workplace(clock) as place:
        yield place


class Failing:
    """A task that fails the first *times*."""

    def __init__(self, times: int = 1000) -> None:
        self.tries: list[tt.CurrentTask] = []
        self._times = times

    def __call__(self) -> None:
        self.tries.append(tt.current_task())
        if len(self.tries) <= self._times:
            raise ConnectionResetError(f"try {len(self.tries)}")

    def has_been_tried(self, times: int) -> Callable[[], bool]:
        """Whether it has been tried so often."""
        return lambda: len(self.tries) == times

    def register(self, place: Workplace, **options: Any) -> None:
        def fail() -> None:
            self()

        place.registry.task(name="fail", **options)(fail)


def is_parked(place: Workplace, task_id: str, tries: int) -> Callable[[], bool]:
    """Whether the task has failed so often, and waits for its next try."""
    return lambda: (
        place.kinds(task_id) == tries * ["task_started", "task_failed"] and (place.is_done())
    )


# --- tried again ----------------------------------------------------------------------


def test_a_failed_task_is_tried_again_after_growing_delays(
    place: Workplace, clock: ManualClock
) -> None:
    failing = Failing(times=3)
    failing.register(place, max_retries=5, retry_delay=10.0)
    task_id = place.publish("fail")
    place.run(clock=clock)
    for tries, delay in enumerate((10, 20, 40), 1):
        eventually(is_parked(place, task_id, tries))
        clock.advance(delay - 1)
        assert len(failing.tries) == tries
        clock.advance(1.1)
        eventually(failing.has_been_tried(tries + 1))
    eventually(lambda: place.kinds(task_id)[-1] == "task_completed")
    assert [attempt.attempts for attempt in failing.tries] == [1, 2, 3, 4]
    assert {attempt.task_id for attempt in failing.tries} == {task_id}
    assert place.is_done()
    assert place.dead() == []


def test_after_its_last_try_it_is_dead_lettered_and_the_log_tells(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tasktools.worker")
    failing = Failing()
    failing.register(place, max_retries=2, retry_delay=0.0)
    task_id = place.publish("fail")
    place.run()
    failure = place.one_failure()
    assert (failure.attempts, failure.error) == (3, "try 3")
    lines = [record.message for record in caplog.records if "failed" in record.message]
    why = f"task {task_id} (fail) of topic 'work' failed: ConnectionResetError: try"
    assert lines == [
        f"{why} 1; it is tried again in 0 s",
        f"{why} 2; it is tried again in 0 s",
        f"{why} 3; it goes to the dead letters",
    ]
    assert len(failing.tries) == 3
    assert place.is_done()


def test_the_message_says_how_often_it_is_tried(place: Workplace, clock: ManualClock) -> None:
    failing = Failing()
    failing.register(place)
    task_id = place.publish("fail", payload={"max_retries": 1, "retry_delay": 500})
    place.run(clock=clock)
    eventually(is_parked(place, task_id, 1))
    clock.advance(501)
    assert place.one_failure().attempts == 2


def test_the_topic_says_how_often_tasks_are_tried_that_do_not_say_it(place: Workplace) -> None:
    place.configure(max_retries=1)
    failing = Failing()
    failing.register(place, retry_delay=0.0)
    place.publish("fail")
    place.run()
    assert place.one_failure().attempts == 2


def test_settings_count_from_when_they_are_heard_of(place: Workplace) -> None:
    failing = Failing()
    failing.register(place, retry_delay=0.0)
    place.run()
    place.configure(max_retries=3)
    place.broker.broadcast(Question(sender_id="us", kind="who_is_alive"))  # taken up after it
    eventually(lambda: any(isinstance(event, WorkerList) for event in place.heard))
    place.publish("fail")
    assert place.one_failure().attempts == 4


# --- given up -------------------------------------------------------------------------


def test_without_dead_letters_a_failed_task_is_dropped_after_it_was_told(place: Workplace) -> None:
    place.configure(dead_letter_enabled=False)
    Failing().register(place)
    failed = place.publish("fail")
    unknown = place.publish("unknown")
    place.run()
    eventually(lambda: place.kinds(failed) == ["task_started", "task_failed"])
    eventually(lambda: place.kinds(unknown) == ["task_failed"])
    assert place.is_done()
    assert place.dead() == []


def test_dead_letters_are_kept_as_long_as_the_topic_says(
    place: Workplace, clock: ManualClock
) -> None:
    place.configure(retention_seconds=60)
    Failing().register(place)
    place.publish("fail")
    place.run(clock=clock)
    eventually(place.dead)
    clock.advance(59)
    assert place.dead()
    clock.advance(2)
    assert not place.dead()


# --- the broker cannot take it --------------------------------------------------------


class Stubborn(MemoryBroker):
    """Refuses to settle as often as *refusals* says; each refusal is noted."""

    def __init__(self, place: Workplace, error: Exception, refusals: int) -> None:
        super().__init__(place.server)
        self._error = error
        self._refusals = refusals
        self.refused_at: list[float] = []

    @property
    def refused(self) -> int:
        return len(self.refused_at)

    def _refuse(self) -> None:
        if self.refused < self._refusals:
            self.refused_at.append(time.monotonic())
            raise self._error

    def ack(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()
        super().ack(*args, **kwargs)

    def nack(self, *args: Any, **kwargs: Any) -> bool:
        self._refuse()
        return super().nack(*args, **kwargs)

    def dead_letter(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()
        super().dead_letter(*args, **kwargs)


SHORT_PAUSES = Intervals(settle_first=0.005)


@pytest.mark.parametrize("error", [PublishRefused(), ConnectionLost(), BrokerTimeout()])
@pytest.mark.parametrize("options", [{}, {"max_retries": 1, "retry_delay": 0.0}])
def test_a_failed_task_is_settled_as_soon_as_the_broker_takes_it(
    place: Workplace, error: Exception, options: dict[str, Any]
) -> None:
    broker = Stubborn(place, error, 4)
    failing = Failing()
    failing.register(place, **options)
    place.publish("fail")
    place.run(broker, intervals=SHORT_PAUSES)
    assert place.one_failure().attempts == 1 + options.get("max_retries", 0)
    assert broker.refused == 4
    assert len(failing.tries) == 1 + options.get("max_retries", 0)


def test_pauses_grow_while_the_broker_refuses(place: Workplace) -> None:
    broker = Stubborn(place, PublishRefused(), 10_000)
    Failing().register(place)
    place.publish("fail")
    runner = place.run(broker, intervals=SHORT_PAUSES)
    eventually(lambda: broker.refused >= 7)
    pauses = [later - before for before, later in itertools.pairwise(tuple(broker.refused_at))]
    longest = [0.005 * 2**n for n in range(len(pauses))]  # each is shortened by up to a half
    assert all(pause > most / 2 for pause, most in zip(pauses, longest, strict=True)), pauses
    with within(2):
        assert runner.stop(0.0) == 0


def test_what_cannot_be_settled_before_the_end_comes_again(place: Workplace) -> None:
    broker = Stubborn(place, PublishRefused(), 10_000)
    Failing().register(place)
    place.publish("fail")
    runner = place.run(broker)
    eventually(lambda: broker.refused)
    runner.stop(0.0)
    broker.close()
    eventually(lambda: place.depth() == 1)
    assert place.dead() == []


def test_a_delivery_that_is_lost_meanwhile_is_left_to_whoever_has_it(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Stubborn(place, UnknownDelivery(), 1)
    ran: list[bool] = []
    place.registry.task(name="go")(lambda: ran.append(True))
    task_id = place.publish("go")
    place.run(broker)
    eventually(lambda: f"task {task_id} will run again" in caplog.text)
    place.publish("go")
    eventually(lambda: len(ran) == 2)


# --- time limits ----------------------------------------------------------------------


def spin() -> None:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        pass


async def doze() -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize("function", [spin, doze])
def test_a_task_that_takes_too_long_fails(place: Workplace, function: Callable[[], Any]) -> None:
    place.registry.task(time_limit=0.1)(function)
    task_id = place.publish(function)
    place.run()
    failure = place.one_failure()
    assert failure.reason == "timed out"
    assert failure.error_type == "tasktools.worker.time_limit.TimeLimitExceeded"
    assert failure.error == "It took longer than 0.1 s."
    eventually(lambda: place.kinds(task_id) == ["task_started", "task_failed"])
    assert place.told(task_id)[1].error == failure.error


def test_a_worker_has_a_limit_for_tasks_without_one(place: Workplace) -> None:
    place.registry.task(spin)
    place.publish(spin)
    place.run(time_limit=0.05)
    assert place.one_failure().error == "It took longer than 0.05 s."


def test_a_tasks_own_limit_goes_before_the_workers(place: Workplace) -> None:
    ran: list[bool] = []

    @place.registry.task(time_limit=30)
    def nap() -> None:
        time.sleep(0.1)
        ran.append(True)

    place.publish(nap)
    place.run(time_limit=0.01)
    eventually(lambda: ran and place.is_done())
    assert place.dead() == []


def test_a_task_that_took_too_long_is_tried_again(place: Workplace) -> None:
    place.registry.task(time_limit=0.05, max_retries=1, retry_delay=0.0)(spin)
    task_id = place.publish(spin)
    place.run()
    assert place.one_failure().attempts == 2
    eventually(lambda: place.kinds(task_id) == 2 * ["task_started", "task_failed"])


def test_a_coroutine_that_times_out_by_itself_has_not_met_the_limit(place: Workplace) -> None:
    @place.registry.task(time_limit=30)
    async def ask() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(30)

    place.publish(ask)
    place.run()
    failure = place.one_failure()
    assert (failure.reason, failure.error_type) == ("failed", "TimeoutError")


@pytest.mark.slow
def test_tasks_that_end_just_at_their_limit_harm_no_other(place: Workplace) -> None:
    """Each task ends as one that succeeded or one that was interrupted, and the next one runs."""
    calm: list[int] = []

    @place.registry.task(time_limit=0.003)
    def tight(n: int) -> None:
        ends = time.perf_counter() + 0.002 + (n % 20) * 1e-4
        while time.perf_counter() < ends:
            pass

    place.registry.task(name="calm")(calm.append)
    ids = [place.publish(tight, n) for n in range(600)]
    for n in range(600):
        place.publish("calm", n)
    place.run(capacity=4, prefetch=20)
    eventually(place.is_done, 60)
    assert sorted(calm) == list(range(600))
    eventually(lambda: all(len(place.told(task_id)) == 2 for task_id in ids))
    ends = [event for event in place.heard if isinstance(event, TaskEvent) and event.task_id in ids]
    errors = {event.error_type for event in ends if event.kind == "task_failed"}
    assert errors <= {"tasktools.worker.time_limit.TimeLimitExceeded"}
    assert sum(event.kind == "task_failed" for event in ends) == len(place.dead())


# --- what a delivery never does -------------------------------------------------------


def test_a_defect_of_a_broker_costs_no_thread(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Stubborn(place, RuntimeError("a defect"), 1)
    ran: list[bool] = []
    place.registry.task(name="go")(lambda: ran.append(True))
    place.publish("go")
    place.publish("go")
    place.run(broker, capacity=1)
    eventually(lambda: len(ran) >= 2)
    assert "a defect of tasktools" in caplog.text


def test_another_try_has_everything_that_the_message_had(place: Workplace) -> None:
    failing = Failing(times=1)
    failing.register(place, retry_delay=0.0)
    payload = task_payload(kwargs={}, max_retries=1, task_id="task-1")
    del payload["func_name"]
    payload["task_name"] = "fail"
    place.server.put("work", task_body(payload=payload, headers={"a": 1}))
    place.run()
    eventually(lambda: len(failing.tries) == 2)
    first, second = failing.tries
    assert (second.task_id, second.attempts, second.headers) == ("task-1", 2, {"a": 1})
    assert second.published_at == first.published_at


def test_a_topic_without_settings_keeps_its_dead_letters(place: Workplace) -> None:
    assert place.broker.topic_settings().get("work", TopicSettings()).retention_seconds is None
    Failing().register(place)
    place.publish("fail")
    place.run()
    eventually(place.dead)
    assert place.dead()[0].properties.expiration is None
