"""What keeps a task from being published, in words for an operator."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterator
from typing import Final

from tasktools.core.compose import LONGEST, check_topic
from tasktools.core.errors import InvalidTask, UnknownTask

READ_ONLY: Final = (
    "This cluster can only be looked at: it is a recording, or was opened with read_only=True. To "
    "publish, connect to the cluster itself without that."
)
NOT_BOTH: Final = "A task has a TTL or a delay, not both. Empty one of them."

_DAYS: Final = LONGEST // 86_400


def topic_problem(
    topic: str, *, known: Collection[str], missing: Collection[str], create: bool
) -> str | None:
    """Say why nothing can be published to *topic*, if so.

    *known* exist, *missing* do not; of others it is not known yet.
    """
    if not topic:
        return "Choose a topic."
    if not can_be_topic(topic):
        return f"{topic!r} cannot be a topic: a name has 1 to 250 bytes and is no wildcard."
    if create or topic in known:
        return None
    if topic not in missing:
        return f"Looking whether there is a topic {topic!r} …"
    return (
        f"There is no topic {topic!r}. {_meant(topic, known)}To make it, tick “Create the topic”."
    )


def can_be_topic(name: str) -> bool:
    """Whether a queue can have this name."""
    try:
        check_topic(name)
    except InvalidTask:
        return False
    return True


def task_problem(task: str, resolve: Callable[[str], object], known: Collection[str]) -> str | None:
    """Say why no task can be named *task*, if so; *resolve* raises `UnknownTask`."""
    if not task:
        return "Choose a task."
    try:
        resolve(task)
    except UnknownTask as error:
        why = str(error).partition(";")[0]
        return f"{why[0].upper()}{why[1:]}. {_meant(task, known)}Name it as module:function."
    return None


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=3)
    return f"Did you mean {' or '.join(map(repr, close))}? " if close else ""


def priority(text: str) -> int | None:
    """Read a priority; nothing is `None`. Raises `ValueError`, a sentence."""
    if not text.strip():
        return None
    number = _number(text)
    if not isinstance(number, int) or not 0 <= number <= 255:
        raise ValueError(f"The priority is {text.strip()!r}, not a whole number from 0 to 255.")
    return number


def seconds(text: str, name: str, *, may_be_zero: bool) -> float | None:
    """Read a time in seconds; nothing is `None`. Raises `ValueError`, a sentence."""
    if not text.strip():
        return None
    number = _number(text)
    if number is None or not (0 < number <= LONGEST or (may_be_zero and number == 0)):
        raise ValueError(
            f"The {name} is {text.strip()!r}, not a number of seconds up to {LONGEST} "
            f"({_DAYS} days)."
        )
    return number


def _number(text: str) -> int | float | None:
    try:
        number = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return number if is_number else None


def first_problem(problems: Iterator[str | None]) -> Iterator[str]:
    """Return the first of *problems* that is one, and no other."""
    found = next((problem for problem in problems if problem), None)
    return iter(() if found is None else (found,))
