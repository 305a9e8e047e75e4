"""The decision whether and when a failed task is tried again."""

from __future__ import annotations

from typing import Final

from tasktools.core.models import TaskMessage, TopicSettings

MAX_DELAY_SECONDS: Final = 3600.0
"""Seconds between two tries at most."""

_MAX_DOUBLINGS: Final = 32


def next_try(
    message: TaskMessage,
    settings: TopicSettings,
    *,
    max_retries: int | None = None,
    retry_delay: float = 1.0,
) -> float | None:
    """Return in how many seconds a failed task is tried again, or `None` when it is given up.

    The number of retries is set by the message, else by the task (*max_retries*), else by the
    *settings* of its topic; else there are none. The delay is the message's or the task's
    (*retry_delay*), and doubles with each try, up to an hour ("Exponential Backoff And Jitter", AWS
    Architecture Blog, 2015). It has no jitter: each delay has a parking queue of its own, and tasks
    fail at different times anyway. A message of Celery's form has no second try, since its body
    cannot count them.
    """
    if message.dialect == "celery":
        return None
    limits = (message.max_retries, max_retries, settings.max_retries)
    allowed = next((number for number in limits if number is not None), 0)
    earlier = message.attempts or 0
    if earlier >= allowed:
        return None
    first = message.retry_delay
    if first is None or not first > 0:
        first = retry_delay
    return float(min(first * 2 ** min(earlier, _MAX_DOUBLINGS), MAX_DELAY_SECONDS))
