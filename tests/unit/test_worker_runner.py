"""The runner: how it starts, how much it runs, which topics it consumes, how it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.errors import BrokerTimeout, ReadOnly
from tasktools.testing import eventually
from tasktools.worker.executor import Execution
from tests.timing import within
from tests.workplace import Workplace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def runner_threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("tasktools-")}


# --- starting -------------------------------------------------------------------------


def test_topics_that_are_missing_are_created(place: Workplace) -> None:
    place.run(topics=["new", "newer"])
    assert place.broker.topic_exists("new")
    assert place.broker.queue_exists("newer.dead")


def test_a_runner_names_itself_after_its_process(place: Workplace) -> None:
    first, second = (place.new_runner(worker_id=None) for _ in range(2))
    assert first.worker_id.startswith("tasktools:")
    assert first.worker_id != second.worker_id


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0},
        {"prefetch": 0},
        {"grace": -1},
        {"time_limit": 0},
        {"time_limit": float("nan")},
        {"topics": []},
    ],
)
def test_what_no_runner_can_be_is_refused(place: Workplace, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing was started"):
        place.new_runner(**options)


def test_one_topic_by_name_is_a_mistake(place: Workplace) -> None:
    with pytest.raises(TypeError, match=r"like \['work'\]"):
        place.new_runner(topics="work")


def test_a_runner_starts_once(place: Workplace) -> None:
    runner = place.run()
    with pytest.raises(RuntimeError, match="running"):
        runner.start()
    runner.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        runner.start()


def test_a_start_that_fails_leaves_nothing_running(place: Workplace) -> None:
    before = runner_threads()
    with pytest.raises(ReadOnly):
        place.run(MemoryBroker(place.server, read_only=True))
    eventually(lambda: runner_threads() == before)
    assert place.server.consumers("work") == 0


def test_a_runner_without_registry_has_the_tasks_of_tasktools_task(place: Workplace) -> None:
    ran: list[bool] = []

    @tt.task(name="a-name-of-this-test")
    def go() -> None:
        ran.append(True)

    place.publish("a-name-of-this-test")
    place.run(registry=None)
    eventually(lambda: ran)


# --- capacity -------------------------------------------------------------------------


def test_as_many_tasks_run_at_once_as_the_capacity(place: Workplace) -> None:
    slow = place.slow_task()
    for n in range(10):
        place.publish("slow", n)
    place.run(capacity=3)
    eventually(lambda: slow.running == 3)
    slow.end(10)
    eventually(place.is_done)
    assert slow.most == 3
    assert sorted(slow.ran) == list(range(10))


def test_the_capacity_grows_at_once_and_shrinks_as_tasks_end(place: Workplace) -> None:
    slow = place.slow_task()
    for n in range(30):
        place.publish("slow", n)
    runner = place.run(capacity=2)
    eventually(lambda: slow.running == 2)
    runner.capacity = 5
    eventually(lambda: slow.running == 5)
    runner.capacity = 1
    slow.end(4)
    eventually(lambda: slow.running == 1)
    slow.end(1)
    eventually(lambda: len(slow.ran) == 5 and slow.running == 1)
    assert len([name for name in runner_threads() if name.startswith("tasktools-worker-")]) == 1
    slow.end(100)
    eventually(place.is_done)
    assert sorted(slow.ran) == list(range(30))


def test_the_capacity_is_told_at_once(place: Workplace) -> None:
    runner = place.run()
    runner.capacity = 9
    eventually(lambda: any(report.capacity == 9 for report in place.reports()), 2.5)  # else at 3 s


def test_a_capacity_below_one_is_refused(place: Workplace) -> None:
    runner = place.run(capacity=2)
    with pytest.raises(ValueError, match="nothing was changed"):
        runner.capacity = 0
    assert runner.capacity == 2


def test_no_more_is_held_than_the_prefetch(place: Workplace) -> None:
    slow = place.slow_task()
    for n in range(10):
        place.publish("slow", n)
    place.run(capacity=2, prefetch=5)
    eventually(lambda: slow.running == 2)
    eventually(lambda: (place.held(), place.depth()) == (5, 5))


def test_without_a_prefetch_it_is_the_capacity(place: Workplace) -> None:
    slow = place.slow_task()
    for n in range(10):
        place.publish("slow", n)
    runner = place.run(capacity=2)
    eventually(lambda: (place.held(), place.depth()) == (2, 8))
    runner.capacity = 4
    eventually(lambda: (place.held(), place.depth()) == (4, 6))
    assert slow.most <= 4


# --- stopping -------------------------------------------------------------------------


def test_running_tasks_may_end_and_waiting_ones_go_back(place: Workplace) -> None:
    slow = place.slow_task()
    ids = [place.publish("slow", n) for n in range(5)]
    runner = place.run(capacity=2, prefetch=4)
    eventually(lambda: slow.running == 2 and place.held() == 4)
    stopping = threading.Thread(target=runner.stop)
    stopping.start()
    eventually(lambda: (place.held(), place.depth()) == (2, 3))
    assert slow.running == 2
    slow.end(2)
    stopping.join(30)
    assert not stopping.is_alive()
    assert (place.held(), place.depth()) == (0, 3)
    assert sorted(slow.ran) == [0, 1]
    left = [message.task for message in place.broker.peek("work", 9).messages]
    assert [task.task_id for task in left] == ids[2:]
    assert {task.attempts for task in left} == {0}


def test_tasks_that_do_not_end_in_time_are_given_back(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    slow = place.slow_task()
    task_id = place.publish("slow")
    runner = place.run()
    eventually(lambda: slow.running)
    assert runner.stop(0.05) == 1
    assert f"task {task_id} did not end in time" in caplog.text
    assert (place.held(), place.depth()) == (0, 1)
    assert place.kinds(task_id) == ["task_started", "task_failed"]
    assert place.told(task_id)[1].error_type == "GivenBack"
    assert place.reports("unregister")[-1].running == 0
    assert runner.stop() == 1


def test_what_was_given_back_is_not_settled_by_who_had_it(place: Workplace) -> None:
    broker = MemoryBroker(place.server)
    slow = place.slow_task()
    task_id = place.publish("slow")
    runner = place.run(broker, worker_id="first")
    eventually(lambda: slow.running)
    runner.stop(0.0)
    place.run(broker, worker_id="second")
    eventually(lambda: slow.running == 2)
    slow.end(2)
    eventually(lambda: slow.running == 0 and place.is_done())
    kinds = ["task_started", "task_failed", "task_started", "task_completed"]
    eventually(lambda: place.kinds(task_id) == kinds)
    assert "first" not in {event.worker_id for event in place.told(task_id)[2:]}


def test_coroutines_that_do_not_end_in_time_are_cancelled(place: Workplace) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    @place.registry.task
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    place.publish(wait)
    runner = place.run()
    assert begun.wait(30)
    assert runner.stop(0.0) == 1
    assert cancelled.is_set()
    assert place.depth() == 1
    eventually(
        lambda: not [n for n in runner_threads() if n.startswith(("tasktools-w", "tasktools-a"))]
    )


def test_a_coroutine_of_a_worker_that_stops_before_its_first_step_never_begins(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, about_to_begin, stopped = (threading.Event() for _ in range(3))

    @place.registry.task
    async def work() -> None:
        begun.set()

    async_loop = Execution._async_loop

    def once_it_has_stopped(execution: Execution) -> Any:
        about_to_begin.set()
        assert stopped.wait(30)
        return async_loop(execution)

    monkeypatch.setattr(Execution, "_async_loop", once_it_has_stopped)
    place.publish(work)
    runner = place.run()
    assert about_to_begin.wait(30)
    assert runner.stop(0.0) == 1
    stopped.set()
    eventually(
        lambda: not [n for n in runner_threads() if n.startswith(("tasktools-w", "tasktools-a"))]
    )
    assert not begun.is_set()
    assert place.depth() == 1


def test_a_runner_that_was_stopped_has_no_threads_and_consumers(place: Workplace) -> None:
    before = runner_threads()
    runner = place.run(time_limit=60)
    place.registry.task(name="go")(lambda: None)
    place.publish("go")
    eventually(place.is_done)
    assert len(runner_threads()) > len(before)
    assert runner.stop() == 0
    assert runner.stop() == 0
    eventually(lambda: runner_threads() == before)
    assert place.server.consumers("work") == 0


def test_a_runner_is_a_context_manager(place: Workplace) -> None:
    ran: list[bool] = []
    place.registry.task(name="go")(lambda: ran.append(True))
    place.publish("go")
    with place.new_runner() as runner:
        eventually(lambda: ran)
    assert runner.topics == ()


def test_stopping_a_runner_that_never_ran_is_fine(place: Workplace) -> None:
    runner = place.new_runner()
    assert runner.stop() == 0


def test_a_topic_that_cannot_be_left_in_time_does_not_keep_the_runner(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker(place.server)
    runner = place.run(broker)

    def stuck() -> None:
        raise BrokerTimeout

    monkeypatch.setattr(broker._deliveries._consumers[0], "cancel", stuck)
    assert runner.stop() == 0
    assert "could not be left in time" in caplog.text
    monkeypatch.undo()


def test_run_returns_when_another_thread_stops_it(place: Workplace) -> None:
    slow = place.slow_task()
    place.publish("slow")
    runner = place.new_runner()
    returned: list[int] = []
    running = threading.Thread(target=lambda: returned.append(runner.run()))
    running.start()
    eventually(lambda: slow.running)
    assert runner.stop(0.0) == 1
    running.join(30)
    assert returned == [1]


def test_stopped_while_idle_it_takes_no_time(place: Workplace) -> None:
    runner = place.run()
    with within(15):
        runner.stop(30)
