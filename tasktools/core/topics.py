"""What a topic may be created with, and which settings it may have."""

from __future__ import annotations

from typing import Any

from tasktools.core.compose import LONGEST, check_topic
from tasktools.core.errors import InvalidTask, InvalidTopic
from tasktools.core.models import QueueType, TopicSettings


def queue_arguments(
    topic: str, queue_type: QueueType, max_priority: int | None, message_ttl: float | None
) -> dict[str, Any]:
    """Return the arguments of a new topic's queue besides those of every topic.

    Raises `InvalidTopic` for what no queue can have.
    """
    check_name(topic)
    if queue_type not in ("classic", "quorum"):
        _refuse(topic, f"queue_type is {queue_type!r}, not 'classic' or 'quorum'")
    arguments: dict[str, Any] = {"x-queue-type": queue_type}
    if max_priority is not None:
        if queue_type == "quorum":
            _refuse(
                topic, "a quorum queue has priorities of its own, so max_priority is not for it"
            )
        if not 1 <= max_priority <= 255:
            _refuse(topic, f"max_priority is {max_priority}, not 1 to 255")
        arguments["x-max-priority"] = max_priority
    if message_ttl is not None:
        if not 0 < message_ttl <= LONGEST:
            _refuse(topic, f"message_ttl is {message_ttl:g} s, not 0 to {LONGEST:,}")
        arguments["x-message-ttl"] = max(round(message_ttl * 1000), 1)
    return arguments


def check_settings(topic: str, settings: TopicSettings) -> None:
    """Raise `InvalidTopic` for settings that cannot be."""
    check_name(topic)
    for name in ("concurrency_limit", "max_retries", "retention_seconds"):
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            _refuse(topic, f"{name} is {value!r}, not a whole number")
        if value is not None and value < 0:
            _refuse(topic, f"{name} is {value}, below 0")


def check_name(topic: str) -> None:
    """Raise `InvalidTopic` for what no topic can be called."""
    try:
        check_topic(topic)
    except InvalidTask:
        raise InvalidTopic(f"{topic!r} cannot be a topic; nothing was changed.") from None


def _refuse(topic: str, why: str) -> None:
    raise InvalidTopic(f"The topic {topic!r} cannot be like this: {why}; nothing was changed.")
