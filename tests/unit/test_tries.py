"""Tries: starts and ends of tasks become rows, whatever is missing or comes twice."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.core.clock import moment
from tasktools.core.models import RunningTask
from tasktools.ops.recording.tries import Tries, Try
from tasktools.testing.factories import task_event

T = 1_800_000_000.0


@pytest.fixture
def tries() -> Tries:
    return Tries(1)


def hear(tries: Tries, at: float, kind: Any, task_id: str = "t1", **told: Any) -> None:
    tries.hear(T + at, task_event(kind, task_id, **told))


def running(*task_ids: str, **told: Any) -> list[RunningTask]:
    return [RunningTask(task_id=one, worker_id="worker-1", **told) for one in task_ids]


def rows(tries: Tries) -> list[tuple[Any, ...]]:
    def row(one: Try) -> tuple[Any, ...]:
        started, ended = one.started_at, one.ended_at
        return (
            one.task_id,
            None if started is None else started - T,
            None if ended is None else ended - T,
            one.outcome,
        )

    return [row(one) for one in tries.new.values()]


def test_a_start_and_its_end_are_one_row(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    hear(tries, 3, "task_completed")
    assert rows(tries) == [("t1", 0, 3, "succeeded")]
    assert next(iter(tries.new.values())).duration == 3
    assert not tries.changed


def test_a_picture_that_is_older_than_an_end_does_not_begin_the_task_again(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    hear(tries, 3, "task_completed")
    tries.agree_with(T + 2.9, running("t1", started_at=moment(T)))
    assert rows(tries) == [("t1", 0, 3, "succeeded")]
    tries.agree_with(T + 9, running("t1", started_at=moment(T + 6)))  # another try of it
    assert rows(tries) == [("t1", 0, 3, "succeeded"), ("t1", 6, None, None)]


def test_the_worker_s_own_word_of_the_duration_goes_first(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    hear(tries, 3, "task_failed", duration=1.5, error_type="E", error="x" * 9_999)
    (one,) = tries.new.values()
    assert (one.duration, one.outcome, one.error_type) == (1.5, "failed", "E")
    assert len(one.error or "") == 2_000


def test_a_row_that_is_in_the_file_is_changed_there(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    tries.written()
    hear(tries, 3, "task_completed")
    assert not tries.new
    assert [(one.n, one.outcome) for one in tries.changed.values()] == [(1, "succeeded")]


def test_an_end_whose_start_was_not_heard_is_a_row(tries: Tries) -> None:
    hear(tries, 3, "task_failed")
    assert rows(tries) == [("t1", None, 3, "failed")]
    assert next(iter(tries.new.values())).duration is None


def test_a_task_that_is_begun_again_was_lost_before(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    hear(tries, 5, "task_started", worker_id="worker-2")
    hear(tries, 7, "task_completed", worker_id="worker-2")
    assert rows(tries) == [("t1", 0, 5, "lost"), ("t1", 5, 7, "succeeded")]


def test_the_end_of_an_earlier_try_does_not_end_the_later_one(tries: Tries) -> None:
    hear(tries, 0, "task_started")
    hear(tries, 5, "task_started", worker_id="worker-2")
    hear(tries, 6, "task_failed", worker_id="worker-1")
    assert rows(tries) == [
        ("t1", 0, 5, "lost"),
        ("t1", 5, None, None),
        ("t1", None, 6, "failed"),
    ]


def test_what_runs_already_is_seen_and_gets_its_name(tries: Tries) -> None:
    tries.agree_with(T, running("t1"))
    tries.agree_with(T + 3, running("t1", task_name="send"))
    (one,) = tries.new.values()
    assert (one.started_at, one.task_name) == (None, "send")
    hear(tries, 4, "task_completed")
    assert rows(tries) == [("t1", None, 4, "succeeded")]


def test_a_start_that_is_heard_after_the_picture_told_of_it_is_no_second_one(tries: Tries) -> None:
    tries.agree_with(T, running("t1"))
    hear(tries, 0.1, "task_started")
    assert rows(tries) == [("t1", pytest.approx(0.1), None, None)]


def test_what_nobody_runs_any_more_is_lost_but_not_what_began_just_now(tries: Tries) -> None:
    hear(tries, 0, "task_started", "old")
    hear(tries, 9, "task_started", "new")
    tries.agree_with(T + 10, [])
    assert rows(tries) == [("old", 0, 10, "lost"), ("new", 9, None, None)]


def test_events_are_counted_by_topic_until_they_are_written(tries: Tries) -> None:
    hear(tries, 0, "task_started", "a")
    hear(tries, 1, "task_completed", "a")
    hear(tries, 1, "task_failed", "b", topic="images")
    hear(tries, 1, "task_failed", "c", topic=None)
    assert (tries.began, tries.done, tries.failed) == ({"emails": 1}, {"emails": 1}, {"images": 1})
    tries.written()
    assert tries.began + tries.done + tries.failed == {}
