"""The rules for names, properties and settings of topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasktools.core.errors import InvalidTopic, TopicInUse
from tasktools.core.escaping import cut
from tasktools.core.layout import RESERVED, Layout
from tasktools.core.models import QueueType, TopicSettings
from tasktools.core.plurals import counted
from tasktools.core.tasks.compose import MAX_SECONDS, why_no_queue, why_no_topic


def queue_arguments(
    topic: str, queue_type: QueueType, max_priority: int | None, message_ttl: float | None
) -> dict[str, Any]:
    """Return the arguments of a new topic's queue that not every topic has.

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
        if not 0 < message_ttl <= MAX_SECONDS:
            _refuse(topic, f"message_ttl is {message_ttl:g} s, not 0 to {MAX_SECONDS:,}")
        arguments["x-message-ttl"] = max(round(message_ttl * 1000), 1)
    return arguments


def check_settings(topic: str, settings: TopicSettings) -> None:
    """Raise `InvalidTopic` for invalid settings."""
    check_name(topic)
    for name in ("concurrency_limit", "max_retries", "retention_seconds"):
        value = getattr(settings, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            _refuse(topic, f"{name} is {value!r}, not a whole number")
        if value is not None and value < 0:
            _refuse(topic, f"{name} is {value}, below 0")


def check_name(topic: str) -> None:
    """Raise `InvalidTopic` for an invalid name."""
    why = why_no_topic(topic)
    if why is not None:
        raise InvalidTopic(f"{cut(topic, 80)!r} cannot be a topic: {why}; nothing was changed.")


def check_deletable(topic: str) -> None:
    """Raise `InvalidTopic` for a queue that is no topic, but a topic's dead-letter queue or a queue
    of a program. A topic with a name that is no longer allowed may be deleted."""
    check_queue_name(topic)
    if topic.startswith(RESERVED) or Layout.is_dead_queue(topic):
        check_name(topic)


def check_in_use(topic: str, uses: Iterable[tuple[str, int, int, int]]) -> None:
    """Raise `TopicInUse` when a queue of *topic* has anything in it or anybody on it; *uses* are
    each queue's name, and how many messages are ready and unacknowledged, and consumers."""
    reasons = []
    for queue, ready, unacked, consumers in uses:
        counts = ((ready, "message"), (unacked, "unacknowledged message"), (consumers, "consumer"))
        has = [counted(count, what) for count, what in counts if count]
        reasons += [f"{queue} has {' and '.join(has)}"] if has else []
    if reasons:
        raise TopicInUse(
            f"The topic {topic!r} is in use ({'; '.join(reasons)}); nothing was deleted. Replay or "
            "discard its messages and stop its consumers, or pass force=True (on the command line "
            "--force), which deletes the messages."
        )


def check_queue_name(name: str) -> None:
    """Raise `InvalidTopic` for a name that no queue can have."""
    why = why_no_queue(name)
    if why is not None:
        raise InvalidTopic(f"{cut(name, 80)!r} cannot be a queue: {why}; nothing was changed.")


def _refuse(topic: str, why: str) -> None:
    raise InvalidTopic(f"The topic {topic!r} cannot be like this: {why}; nothing was changed.")
