"""Retries of failed tasks: when, and what messages say of tries and locks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tasktools.core.models import TaskMessage, TopicSettings
from tasktools.core.tasks import codec, retry
from tasktools.testing import celery_message, properties, task_body, task_payload

NOTHING_SAID = TopicSettings()


def next_try(
    attempts: int = 0,
    settings: TopicSettings = NOTHING_SAID,
    *,
    in_message: Mapping[str, Any] | None = None,
    **task: Any,
) -> float | None:
    message = TaskMessage(dialect="fastpluggy", attempts=attempts, **in_message or {})
    return retry.next_try(message, settings, **task)


def test_nobody_said_that_it_is_tried_again() -> None:
    assert next_try() is None


def test_the_delay_doubles_with_each_try() -> None:
    delays = [next_try(n, max_retries=4, retry_delay=0.5) for n in range(5)]
    assert delays == [0.5, 1.0, 2.0, 4.0, None]


def test_the_delay_is_an_hour_at_most() -> None:
    assert next_try(20, max_retries=99, retry_delay=3.0) == 3600.0
    assert next_try(5000, max_retries=9999, retry_delay=0.001) == 3600.0


def test_without_a_delay_it_is_tried_again_at_once() -> None:
    assert next_try(3, max_retries=9, retry_delay=0.0) == 0.0


def test_the_message_goes_before_the_task_and_the_task_before_the_topic() -> None:
    topic = TopicSettings(max_retries=1)
    assert next_try(0, topic) == 1.0
    assert next_try(1, topic) is None
    assert next_try(1, topic, max_retries=2) == 2.0
    assert next_try(0, topic, max_retries=0) is None
    assert next_try(2, topic, max_retries=2, in_message={"max_retries": 3}) == 4.0


@pytest.mark.parametrize(
    ("delay_asked", "delay"), [(4.0, 4.0), (None, 2.0), (-1.0, 2.0), (float("nan"), 2.0)]
)
def test_a_delay_that_the_message_says_counts_when_it_is_one(
    delay_asked: float | None, delay: float
) -> None:
    assert (
        next_try(max_retries=1, retry_delay=2.0, in_message={"retry_delay": delay_asked}) == delay
    )


def test_a_message_of_celery_is_not_tried_again_since_nothing_counts_its_tries() -> None:
    body, message_properties = celery_message()
    message = codec.decode(body, message_properties)
    assert message.problem is None
    assert codec.count_attempt(body) is None
    assert retry.next_try(message, NOTHING_SAID, max_retries=9) is None


def test_a_message_without_attempts_is_at_its_first_try() -> None:
    assert retry.next_try(TaskMessage(dialect="fastpluggy"), NOTHING_SAID, max_retries=1) == 1.0


# --- what a message says --------------------------------------------------------------


def decoded(*, headers: dict[str, Any] | None = None, **payload: Any) -> TaskMessage:
    body = task_body(payload=task_payload(**payload), headers=headers)
    return codec.decode(body, properties())


def test_a_message_says_how_often_it_is_tried_and_after_how_long() -> None:
    message = decoded(max_retries=3, retry_delay=2)
    assert (message.max_retries, message.retry_delay) == (3, 2.0)


@pytest.mark.parametrize("nothing", [0, None, "3", True])
def test_what_is_no_number_of_tries_is_left_open(nothing: object) -> None:
    message = decoded(max_retries=nothing, retry_delay=nothing)
    assert (message.max_retries, message.retry_delay) == (None, None)


def test_a_message_that_runs_beside_others_wants_no_lock() -> None:
    assert decoded().lock is None


def test_a_lock_by_name_is_in_the_context_or_else_in_the_headers() -> None:
    assert decoded(extra_context={"lock_name": "v:lock:a"}).lock == "v:lock:a"
    assert decoded(headers={"lock_name": "v:lock:b"}).lock == "v:lock:b"
    both = decoded(extra_context={"lock_name": "a"}, headers={"lock_name": "b"})
    assert both.lock == "a"


def test_what_may_not_run_beside_itself_wants_the_lock_of_its_function() -> None:
    assert decoded(allow_concurrent=False).lock == "demo_tasks:send_email"
    named = decoded(allow_concurrent=False, extra_context={"lock_name": "a"})
    assert named.lock == "a"


@pytest.mark.parametrize("context", [None, [], {"lock_name": 3}, {"lock_name": ""}])
def test_what_is_no_name_of_a_lock_is_none(context: object) -> None:
    assert decoded(extra_context=context).lock is None
