"""The life of a task: executed, announced, and settled when its result is there."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.clock import moment
from tasktools.core.events import CounterDelta
from tasktools.testing import celery_message, document_body, eventually, task_body, task_payload
from tests.workplace import Workplace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with Workplace() as place:
        yield place


def test_a_task_is_executed_and_acknowledged(place: Workplace) -> None:
    ran = []

    @place.registry.task
    def send(to: str, *, copies: int = 1) -> None:
        ran.append((to, copies))

    place.publish(send, "a@b", copies=2)
    place.run()
    eventually(lambda: ran == [("a@b", 2)] and place.is_done())
    assert place.dead() == []


def test_the_message_is_ours_until_the_task_has_ended(place: Workplace) -> None:
    slow = place.slow_task()
    task_id = place.publish("slow")
    place.run()
    eventually(lambda: slow.running)
    assert (place.held(), place.depth()) == (1, 0)
    eventually(lambda: place.kinds(task_id) == ["task_started"])
    slow.end()
    eventually(place.is_done)


def test_a_task_is_told_of_when_it_starts_and_when_it_ends(place: Workplace) -> None:
    place.registry.task(name="nothing")(lambda: None)
    task_id = place.publish("nothing")
    place.run()
    eventually(lambda: len(place.told(task_id)) == 2)
    started, completed = place.told(task_id)
    assert (started.kind, completed.kind) == ("task_started", "task_completed")
    assert (started.worker_id, started.topic) == ("ours", "work")
    assert started.started_at is not None
    assert completed.duration is not None
    assert 0 <= completed.duration < 1
    assert started.sender_id == completed.sender_id
    assert started.sender_id.startswith("tasktools-")


def test_tasks_run_in_the_order_of_their_messages(place: Workplace) -> None:
    ran: list[int] = []
    place.registry.task(name="note")(ran.append)
    for n in range(100):
        place.publish("note", n)
    place.run(capacity=1, prefetch=10)
    eventually(lambda: ran == list(range(100)))


def test_every_task_of_many_runs_exactly_once(place: Workplace) -> None:
    ran: list[int] = []
    place.registry.task(name="note")(ran.append)
    for n in range(2000):
        place.publish("note", n)
    place.run(capacity=8)
    place.run(capacity=3, worker_id="other")
    eventually(place.is_done)
    assert sorted(ran) == list(range(2000))


def test_messages_of_the_document_and_of_celery_are_executed_too(place: Workplace) -> None:
    ran: list[str] = []

    @place.registry.task
    def send_email(to: str) -> None:
        ran.append(to)

    place.registry.task(name="shop.tasks.send_email")(lambda to: ran.append(f"celery {to}"))
    place.server.put("work", document_body(task_name="send_email", kwargs={"to": "x"}))
    place.server.put("work", *celery_message(kwargs={"to": "y"}))
    place.run()
    eventually(lambda: sorted(ran) == ["celery y", "x"] and place.is_done())


# --- what a task knows ----------------------------------------------------------------


def test_a_task_knows_itself(place: Workplace) -> None:
    seen: list[tt.CurrentTask] = []
    place.registry.task(name="look", time_limit=60)(lambda: seen.append(tt.current_task()))
    task_id = place.publish("look", headers={"tenant": "blue"})
    began = place.server.clock.time()
    place.run()
    eventually(lambda: seen)
    (current,) = seen
    assert (current.task_id, current.task_name, current.topic) == (task_id, "look", "work")
    assert (current.worker_id, current.attempts, current.redelivered) == ("ours", 1, False)
    assert current.headers == {"tenant": "blue"}
    assert (current.lock_name, current.fence) == (None, None)
    assert current.published_at is not None
    assert current.deadline is not None
    assert moment(began + 59) < current.deadline < moment(began + 70)


def test_a_message_that_somebody_had_before_says_so(place: Workplace) -> None:
    seen: list[bool] = []
    place.registry.task(name="look")(lambda: seen.append(tt.current_task().redelivered))
    place.publish("look")
    delivery = place.broker.claim("work", "somebody")
    assert delivery is not None
    place.broker.nack(delivery.id, count_attempt=False)
    place.run()
    eventually(lambda: seen == [True])


def test_a_thread_with_the_tasks_context_knows_the_task(place: Workplace) -> None:
    seen: list[str] = []

    @place.registry.task
    def look() -> None:
        def note() -> None:
            seen.append(tt.current_task().task_id)

        thread = threading.Thread(target=contextvars.copy_context().run, args=(note,))
        thread.start()
        thread.join()

    task_id = place.publish(look)
    place.run()
    eventually(lambda: seen == [task_id])


def test_context_variables_of_a_task_are_not_seen_by_the_next(place: Workplace) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")
    seen: list[str] = []

    @place.registry.task
    def look(name: str) -> None:
        seen.append(tenant.get())
        tenant.set(name)

    for name in ("blue", "red"):
        place.publish(look, name)
    place.run(capacity=1)
    eventually(lambda: seen == ["none", "none"])


# --- coroutines -----------------------------------------------------------------------


def test_coroutines_run_side_by_side_and_know_themselves(place: Workplace) -> None:
    seen: list[tuple[str, str]] = []
    together: list[asyncio.Event] = []

    @place.registry.task
    async def meet(n: int) -> None:
        if not together:
            together.append(asyncio.Event())
        if n == 1:
            together[0].set()
        await asyncio.wait_for(together[0].wait(), 5)
        seen.append((tt.current_task().task_id, threading.current_thread().name))

    ids = [place.publish(meet, n) for n in range(2)]
    place.run(capacity=2)
    eventually(lambda: len(seen) == 2 and place.is_done())
    assert {task_id for task_id, _ in seen} == set(ids)
    assert {thread for _, thread in seen} == {"tasktools-async-tasks"}


def test_no_more_coroutines_run_at_once_than_the_capacity(place: Workplace) -> None:
    running = [0]
    most = [0]

    @place.registry.task
    async def nap() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.002)
        running[0] -= 1

    for _ in range(50):
        place.publish(nap)
    place.run(capacity=3)
    eventually(place.is_done)
    assert most == [3]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), asyncio.CancelledError()])
def test_a_coroutine_that_raises_fails_and_the_next_one_runs(
    place: Workplace, error: BaseException
) -> None:
    ran: list[bool] = []

    @place.registry.task
    async def fail() -> None:
        raise error

    @place.registry.task
    async def go() -> None:
        ran.append(True)

    place.publish(fail)
    place.publish(go)
    place.run(capacity=1)
    eventually(lambda: ran and place.is_done())
    assert place.one_failure().error_type.endswith(type(error).__name__)


def test_what_a_coroutine_leaves_behind_cannot_end_the_loop(
    place: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[bool] = []
    left: list[asyncio.Future[None]] = []

    async def leave() -> None:
        raise SystemExit(3)

    @place.registry.task
    async def start() -> None:
        left.append(asyncio.ensure_future(leave()))

    @place.registry.task
    async def go() -> None:
        ran.append(True)

    place.publish(start)
    place.run(capacity=1)
    eventually(lambda: "left running" in caplog.text)
    place.publish(go)
    eventually(lambda: ran and place.is_done())
    assert isinstance(left[0].exception(), SystemExit)


# --- failing --------------------------------------------------------------------------


def test_a_failed_task_is_dead_lettered_with_what_went_wrong(place: Workplace) -> None:
    @place.registry.task
    def fail() -> None:
        raise ValueError("no <b>")

    task_id = place.publish(fail)
    place.run()
    failure = place.one_failure()
    assert (failure.reason, failure.error_type, failure.error) == ("failed", "ValueError", "no <b>")
    assert (failure.worker_id, failure.attempts) == ("ours", 1)
    assert failure.traceback is not None
    assert "test_worker_tasks.py" in failure.traceback
    assert "tasktools/worker" not in failure.traceback
    assert place.dead()[0].task.task_id == task_id
    eventually(lambda: place.kinds(task_id) == ["task_started", "task_failed"])
    failed = place.told(task_id)[1]
    assert (failed.error_type, failed.error) == ("ValueError", "no <b>")
    assert failed.duration is not None
    assert place.is_done()


def test_a_dead_letter_has_the_body_of_its_message(place: Workplace) -> None:
    body = task_body(payload=task_payload(func_name="elsewhere:fail"), topic="work", extra=[1])
    place.server.put("work", body)
    place.run()
    eventually(place.dead)
    dead = place.broker.claim("work.dead", "test")
    assert dead is not None
    assert dead.body == body


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "error_type", "text"),
    [
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit("x"), "GeneratorExit", "x"),
        (Unprintable(), f"{__name__}.Unprintable", "(it cannot be printed)"),
        (ValueError("\udc80" + 5000 * "x"), "ValueError", "?" + 1998 * "x" + "…"),
    ],
)
def test_whatever_a_task_raises_is_its_failure_and_not_the_workers(
    place: Workplace, error: BaseException, error_type: str, text: str
) -> None:
    @place.registry.task
    def fail() -> None:
        raise error

    ran: list[bool] = []
    place.registry.task(name="go")(lambda: ran.append(True))
    failed = place.publish(fail)
    place.publish("go")
    place.run(capacity=1)
    failure = place.one_failure()
    assert (failure.error_type, failure.error) == (error_type, text)
    eventually(lambda: place.kinds(failed) == ["task_started", "task_failed"])
    eventually(lambda: ran and place.is_done())


def test_arguments_that_do_not_fit_are_a_failure_without_another_try(place: Workplace) -> None:
    @place.registry.task(max_retries=5)
    def send(to: str) -> None:
        raise AssertionError(to)

    task_id = place.publish(send, wrong=1)
    place.run()
    failure = place.one_failure()
    assert (failure.reason, failure.error_type, failure.attempts) == ("failed", "TypeError", 1)
    assert "unexpected keyword argument 'wrong'" in failure.error
    eventually(lambda: place.kinds(task_id) == ["task_started", "task_failed"])


def test_a_function_that_returns_a_coroutine_has_not_run(place: Workplace) -> None:
    async def inner() -> None: ...

    @functools.wraps(inner)
    def wrapped() -> Coroutine[Any, Any, None]:
        return inner()

    place.registry.task(wrapped)
    place.publish("inner")
    place.run()
    assert "returned a coroutine" in place.one_failure().error


# --- what is no task ------------------------------------------------------------------


def test_a_message_that_is_no_task_is_dead_lettered_at_its_first_try(place: Workplace) -> None:
    place.server.put("work", b"\xff no JSON")
    place.run()
    failure = place.one_failure()
    assert (failure.reason, failure.error_type) == ("invalid", "InvalidTask")
    assert failure.error == "the body is not JSON"
    assert place.is_done()


def test_a_task_that_is_not_registered_is_dead_lettered_at_its_first_try(place: Workplace) -> None:
    task_id = place.publish("os:remove", "/")
    place.run()
    failure = place.one_failure()
    assert (failure.reason, failure.error_type) == ("unknown task", "UnknownTask")
    assert "'os:remove'" in failure.error
    eventually(lambda: place.kinds(task_id) == ["task_failed"])


# --- counting -------------------------------------------------------------------------


def counted(place: Workplace) -> dict[str, int]:
    totals: dict[str, int] = {}
    for event in tuple(place.heard):
        if isinstance(event, CounterDelta):
            assert event.topic == "work"
            assert event.sender_id.startswith("tasktools-")
            totals[event.counter] = totals.get(event.counter, 0) + event.delta
    return totals


def test_settled_messages_are_counted_as_peers_count_them(place: Workplace) -> None:
    place.registry.task(name="go")(lambda: None)

    @place.registry.task(max_retries=1, retry_delay=0.0)
    def fail() -> None:
        raise ValueError

    for _ in range(20):
        place.publish("go")
    place.publish(fail)
    runner = place.run()
    eventually(lambda: place.dead() and place.is_done())
    runner.stop()
    assert counted(place) == {"completed": 20, "error": 1, "skipped": 1}
    deltas = [event for event in place.heard if isinstance(event, CounterDelta)]
    assert len(deltas) < 10


def test_what_a_worker_has_done_is_in_its_report(place: Workplace) -> None:
    place.registry.task(name="go")(lambda: None)
    for name in ("go", "go", "unknown"):
        place.publish(name)
    runner = place.run()
    eventually(lambda: place.dead() and place.is_done())
    runner.stop()
    report = place.reports("unregister")[-1]
    assert (report.succeeded, report.failed, report.running) == (2, 1, 0)
    assert report.finished_per_topic == {"work": 3}
    assert report.failed_per_topic == {"work": 1}
