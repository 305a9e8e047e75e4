"""Tasks that want a lock: never two at once, none lost, none counted as tried."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import tasktools as tt
from tasktools.brokers.base import HeldLock
from tasktools.brokers.memory import MemoryBroker
from tasktools.core.clock import ManualClock
from tasktools.core.errors import ConnectionLost
from tasktools.core.events import CounterDelta, LockEvent
from tasktools.testing import eventually
from tasktools.worker.intervals import Intervals
from tests.workplace import Workplace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def held(place: Workplace) -> HeldLock:
    """Return the lock ``nightly``, taken."""
    lock = place.broker.acquire_lock("nightly")
    assert lock is not None
    return lock


def test_a_task_holds_its_lock_and_knows_its_fence(place: Workplace) -> None:
    seen: list[tuple[str | None, int | None, bool]] = []

    @place.registry.task(lock="nightly")
    def look() -> None:
        current = tt.current_task()
        free = place.broker.acquire_lock("nightly") is not None
        seen.append((current.lock_name, current.fence, free))

    for _ in range(2):
        place.publish(look)
    place.run(capacity=1)
    eventually(lambda: len(seen) == 2 and place.is_done())
    assert [(name, free) for name, _, free in seen] == 2 * [("nightly", False)]
    first, second = (fence or 0 for _, fence, _ in seen)
    assert second > first > 0
    held(place).release()


def test_a_lock_is_told_of_with_its_task_and_worker(place: Workplace) -> None:
    place.registry.task(name="go", lock="nightly")(lambda: None)
    task_id = place.publish("go")
    place.run()
    eventually(place.is_done)
    eventually(lambda: sum(isinstance(event, LockEvent) for event in place.heard) == 2)
    acquired, released = (event for event in place.heard if isinstance(event, LockEvent))
    assert (acquired.kind, released.kind) == ("lock_acquired", "lock_released")
    assert (acquired.lock, acquired.task_id, acquired.locked_by) == ("nightly", task_id, "ours")


def test_a_lock_may_depend_on_the_arguments(place: Workplace) -> None:
    seen: list[str | None] = []

    @place.registry.task(lock=lambda customer, **_: f"customer-{customer}")
    def bill(customer: int, amount: int) -> None:
        del customer, amount
        seen.append(tt.current_task().lock_name)

    place.publish(bill, 7, amount=1)
    place.run()
    eventually(lambda: seen == ["customer-7"])


def test_what_the_message_says_goes_before_the_tasks_own_lock(place: Workplace) -> None:
    seen: list[str | None] = []
    place.registry.task(name="look", lock="own")(lambda: seen.append(tt.current_task().lock_name))
    place.publish("look", headers={"lock_name": "v:lock:a"})
    place.publish("look", payload={"extra_context": {"lock_name": "v:lock:b"}})
    place.run(capacity=1)
    eventually(lambda: seen == ["v:lock:a", "v:lock:b"])


def test_what_may_not_run_beside_itself_holds_the_lock_that_peers_take_for_it(
    place: Workplace,
) -> None:
    seen: list[str | None] = []

    @place.registry.task
    def look() -> None:
        seen.append(tt.current_task().lock_name)

    func_name = f"{__name__}:{look.__qualname__}"
    place.publish(look, payload={"func_name": func_name, "allow_concurrent": False})
    place.run()
    eventually(lambda: seen == [func_name])


def test_tasks_with_one_lock_never_run_at_once_and_all_run(place: Workplace) -> None:
    running = [0]
    most = [0]
    attempts: list[int] = []

    @place.registry.task(lock="one")
    def go() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.002)
        attempts.append(tt.current_task().attempts)
        running[0] -= 1

    for _ in range(40):
        place.publish(go)
    for name in ("a", "b"):
        place.run(capacity=4, worker_id=name, intervals=Intervals(put_off=0.01))
    eventually(lambda: len(attempts) == 40 and place.is_done())
    assert most == [1]
    assert set(attempts) == {1}


def test_while_somebody_has_the_lock_the_task_waits_in_its_queue() -> None:
    clock = ManualClock()
    with Workplace(clock) as place:
        ran: list[int] = []
        lock = held(place)

        @place.registry.task(lock="nightly", max_retries=0)
        def go() -> None:
            ran.append(tt.current_task().attempts)

        task_id = place.publish(go)
        place.run(clock=clock)
        for _ in range(3):
            eventually(place.is_done)  # parked
            clock.advance(1.1)
        assert place.told(task_id) == []
        lock.release()
        clock.advance(1.1)
        eventually(lambda: ran == [1])
        eventually(lambda: place.kinds(task_id) == ["task_started", "task_completed"])


def test_what_was_put_off_is_counted_as_requeued(place: Workplace) -> None:
    with held(place):
        place.registry.task(name="go", lock="nightly")(lambda: None)
        place.publish("go")
        place.run()
        eventually(lambda: any(isinstance(event, CounterDelta) for event in place.heard))
        counted = next(event for event in place.heard if isinstance(event, CounterDelta))
        assert counted.counter == "error"


def test_a_task_that_cannot_get_its_lock_keeps_no_other_waiting(place: Workplace) -> None:
    ran: list[bool] = []
    with held(place):
        place.registry.task(name="locked", lock="nightly")(print)
        place.registry.task(name="free")(lambda: ran.append(True))
        place.publish("locked")
        place.publish("free")
        place.run(capacity=1)
        eventually(lambda: ran)


def test_a_failed_task_lets_its_lock_go(place: Workplace) -> None:
    @place.registry.task(lock="nightly")
    def fail() -> None:
        raise ValueError

    place.publish(fail)
    place.run()
    eventually(place.dead)
    lock = eventually(lambda: place.broker.acquire_lock("nightly"))
    lock.release()


@pytest.mark.parametrize("name", ["", 300 * "x"])
def test_a_name_that_no_lock_can_have_is_a_failure(place: Workplace, name: str) -> None:
    place.registry.task(name="go", lock=name)(lambda: None)
    task_id = place.publish("go")
    place.run()
    assert place.one_failure().reason == "failed"
    eventually(lambda: place.kinds(task_id) == ["task_failed"])


def test_a_function_that_cannot_name_the_lock_is_a_failure(place: Workplace) -> None:
    def lock(customer: int) -> str:
        raise KeyError(customer)

    place.registry.task(name="bill", lock=lock)(lambda customer: customer)
    place.publish("bill", 7)
    place.run()
    assert place.one_failure().error_type == "KeyError"


class LockLess(MemoryBroker):
    """Cannot say for a while whether a lock is free."""

    failures = 1

    def acquire_lock(self, *args: object, **kwargs: object) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionLost
        return super().acquire_lock(*args, **kwargs)  # type: ignore[arg-type, return-value]


def test_without_an_answer_of_the_broker_a_task_waits_for_its_lock(place: Workplace) -> None:
    ran: list[int] = []
    place.registry.task(name="go", lock="nightly")(lambda: ran.append(tt.current_task().attempts))
    place.publish("go")
    place.run(LockLess(place.server), intervals=Intervals(put_off=0.01))
    eventually(lambda: ran == [1] and place.is_done())


def test_a_lock_that_was_taken_away_is_told_of(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    slow = place.slow_task()
    task_id = place.publish("slow", headers={"lock_name": "nightly"})
    place.run()
    eventually(lambda: slow.running)
    assert place.broker.force_release_lock("nightly")
    slow.end()
    eventually(lambda: f"task {task_id} lost its lock 'nightly'" in caplog.text)
    eventually(place.is_done)
