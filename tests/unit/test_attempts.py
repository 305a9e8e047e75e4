"""Tries: starts and ends of tasks become rows, whatever is missing or comes twice."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.clock import moment
from tasktools.core.models import RunningTask
from tasktools.history.attempts import Attempt, Attempts
from tasktools.testing.factories import task_event

T = 1_800_000_000.0


@pytest.fixture
def attempts() -> Attempts:
    return Attempts(1)


def hear(attempts: Attempts, at: float, kind: Any, task_id: str = "t1", **fields: Any) -> None:
    attempts.handle_event(T + at, task_event(kind, task_id, **fields))


def running(*task_ids: str, **fields: Any) -> list[RunningTask]:
    return [RunningTask(task_id=attempt, worker_id="worker-1", **fields) for attempt in task_ids]


def rows(attempts: Attempts) -> list[tuple[Any, ...]]:
    def row(attempt: Attempt) -> tuple[Any, ...]:
        started, ended = attempt.started_at, attempt.ended_at
        return (
            attempt.task_id,
            None if started is None else started - T,
            None if ended is None else ended - T,
            attempt.outcome,
        )

    return [row(attempt) for attempt in attempts.new.values()]


def test_a_start_and_its_end_are_one_row(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started")
    hear(attempts, 3, "task_completed")
    assert rows(attempts) == [("t1", 0, 3, "succeeded")]
    assert next(iter(attempts.new.values())).duration is None, "its worker did not say it"
    assert not attempts.changed


def test_a_row_has_the_name_and_the_topic_that_any_of_its_events_told(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started", task_name="shop.send", topic=None)
    hear(attempts, 1, "task_completed", topic="mail")
    attempts.agree_with(T + 3, running("t2"))
    hear(attempts, 4, "task_started", "t2", task_name="shop.report")
    hear(attempts, 5, "task_failed", "t3", task_name="shop.fail")
    names = [(row.task_id, row.task_name, row.topic) for row in attempts.new.values()]
    assert names == [
        ("t1", "shop.send", "mail"),
        ("t2", "shop.report", None),
        ("t3", "shop.fail", "emails"),
    ]


def test_a_picture_that_is_older_than_an_end_does_not_begin_the_task_again(
    attempts: Attempts,
) -> None:
    hear(attempts, 0, "task_started")
    hear(attempts, 3, "task_completed")
    attempts.agree_with(T + 2.9, running("t1", started_at=moment(T)))
    assert rows(attempts) == [("t1", 0, 3, "succeeded")]
    attempts.agree_with(T + 9, running("t1", started_at=moment(T + 6)))  # another try of it
    assert rows(attempts) == [("t1", 0, 3, "succeeded"), ("t1", 6, None, None)]


def test_the_worker_s_own_word_of_the_duration_goes_first(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started")
    hear(attempts, 3, "task_failed", duration=1.5, error_type="E", error="x" * 9_999)
    (attempt,) = attempts.new.values()
    assert (attempt.duration, attempt.outcome, attempt.error_type) == (1.5, "failed", "E")
    assert len(attempt.error or "") == 2_000


def test_a_row_that_is_in_the_file_is_changed_there(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started")
    attempts.written()
    hear(attempts, 3, "task_completed")
    assert not attempts.new
    assert [(attempt.n, attempt.outcome) for attempt in attempts.changed.values()] == [
        (1, "succeeded")
    ]


def test_an_end_whose_start_was_not_heard_is_a_row(attempts: Attempts) -> None:
    hear(attempts, 3, "task_failed")
    assert rows(attempts) == [("t1", None, 3, "failed")]
    assert next(iter(attempts.new.values())).duration is None


def test_a_task_that_is_begun_again_was_lost_before(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started")
    hear(attempts, 5, "task_started", worker_id="worker-2")
    hear(attempts, 7, "task_completed", worker_id="worker-2")
    assert rows(attempts) == [("t1", 0, 5, "lost"), ("t1", 5, 7, "succeeded")]


def test_the_end_of_an_earlier_try_does_not_end_the_later_one(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started")
    hear(attempts, 5, "task_started", worker_id="worker-2")
    hear(attempts, 6, "task_failed", worker_id="worker-1")
    assert rows(attempts) == [
        ("t1", 0, 5, "lost"),
        ("t1", 5, None, None),
        ("t1", None, 6, "failed"),
    ]


def test_what_runs_already_is_seen_and_gets_its_name(attempts: Attempts) -> None:
    attempts.agree_with(T, running("t1"))
    attempts.agree_with(T + 3, running("t1", task_name="send"))
    (attempt,) = attempts.new.values()
    assert (attempt.started_at, attempt.task_name) == (None, "send")
    hear(attempts, 4, "task_completed")
    assert rows(attempts) == [("t1", None, 4, "succeeded")]


def test_a_start_that_is_heard_after_the_picture_told_of_it_is_no_second_one(
    attempts: Attempts,
) -> None:
    attempts.agree_with(T, running("t1"))
    hear(attempts, 0.1, "task_started")
    assert rows(attempts) == [("t1", pytest.approx(0.1), None, None)]


def test_what_nobody_runs_any_more_is_lost_but_not_what_began_just_now(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started", "old")
    hear(attempts, 9, "task_started", "new")
    attempts.agree_with(T + 10, [])
    assert rows(attempts) == [("old", 0, 10, "lost"), ("new", 9, None, None)]


def test_events_are_counted_by_topic_until_they_are_written(attempts: Attempts) -> None:
    hear(attempts, 0, "task_started", "a")
    hear(attempts, 1, "task_completed", "a")
    hear(attempts, 1, "task_failed", "b", topic="images")
    hear(attempts, 1, "task_failed", "c", topic=None)
    assert (attempts.began, attempts.done, attempts.failed) == (
        {"emails": 1},
        {"emails": 1},
        {"images": 1},
    )
    attempts.written()
    assert attempts.began + attempts.done + attempts.failed == {}
