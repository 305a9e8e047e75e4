"""Checks of a task before it is published, with problems in words for an operator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from tasktools.core import json_input
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.errors import UnknownTask
from tasktools.core.layout import Layout
from tasktools.core.suggestions import did_you_mean
from tasktools.core.tasks.compose import MAX_SECONDS, why_no_topic

READ_ONLY: Final = (
    "This cluster can only be looked at: it is a recording, or was opened with read_only=True. To "
    "publish, connect to the cluster itself without that."
)
NOT_BOTH: Final = "A task has a TTL or a delay, not both. Empty one of them."

_DAYS: Final = MAX_SECONDS // 86_400


def topic_problem(
    topic: str,
    *,
    known: Collection[str],
    missing: Collection[str],
    create: bool,
    dialect: Dialect | None,
) -> str | None:
    """Return why nothing can be published to *topic*, or `None`.

    *known* topics exist, *missing* ones do not; about others nothing is known yet, nor is their
    *dialect*.
    """
    if not topic:
        return "Choose a topic."
    if dialect is not None and not dialect.creates_topics:
        return _problem_of_queue(topic, dialect) if create else None
    why = why_no_topic(topic)
    if why is not None:
        return f"{topic!r} cannot be a topic: {why}."
    if create or topic in known:
        return None
    if topic not in missing:
        return f"Looking whether there is a topic {topic!r} …"
    return f"There is no topic {topic!r}. {_hint(topic, known)}To make it, tick “Create the topic”."


def _problem_of_queue(topic: str, dialect: Dialect) -> str:
    return (
        f"{topic!r} is a queue of {dialect.title}, whose programs declare their queues themselves. "
        "Untick “Create the topic”."
    )


def can_be_topic(name: str) -> bool:
    """Whether a topic's queue can have this name; a queue of other programs may end in
    ``.dead``."""
    return why_no_topic(Layout.topic_of(name)) is None


def task_problem(
    task: str,
    resolve: Callable[[str], object],
    known: Collection[str],
    dialect: Dialect | None,
) -> str | None:
    """Return why *task* is not the name of a task, or `None`; *resolve* raises `UnknownTask`.

    *dialect* is that of its topic, where it is known.
    """
    if not task:
        return "Choose a task." if dialect is None or dialect.needs_names else None
    if dialect is not None and not dialect.names_functions:
        return None
    try:
        resolve(task)
    except UnknownTask as error:
        why = str(error).partition(";")[0]
        return f"{why[0].upper()}{why[1:]}. {_hint(task, known)}Name it as module:function."
    return None


def _hint(name: str, known: Collection[str]) -> str:
    question = did_you_mean(name, known)
    return f"{question[0].upper()}{question[1:]} " if question else ""


def priority(text: str) -> int | None:
    """Return a priority, `None` for an empty text. Raises `ValueError` with a sentence."""
    if not text.strip():
        return None
    number = json_input.number(text)
    if not isinstance(number, int) or not 0 <= number <= 255:
        raise ValueError(f"The priority is {text.strip()!r}, not a whole number from 0 to 255.")
    return number


def seconds(text: str, name: str, *, may_be_zero: bool) -> float | None:
    """Return seconds, `None` for an empty text. Raises `ValueError` with a sentence."""
    if not text.strip():
        return None
    number = json_input.number(text)
    if number is None or not (0 < number <= MAX_SECONDS or (may_be_zero and number == 0)):
        raise ValueError(
            f"The {name} is {text.strip()!r}, not a number of seconds up to {MAX_SECONDS} "
            f"({_DAYS} days)."
        )
    return number


def first_problem(problems: Iterator[str | None]) -> Iterator[str]:
    """Yield the first of *problems* that is not empty, if there is one."""
    first = next((problem for problem in problems if problem), None)
    return iter(() if first is None else (first,))
