"""Errors for the outcomes of publishing, other than that the broker confirmed the message."""

from __future__ import annotations

from typing import assert_never

from tasktools.core.errors import ConnectionLost, PublishRefused, Unroutable
from tasktools.core.models import PublishResult


def raise_unless_confirmed(result: PublishResult, topic: str, reason: str | None = None) -> None:
    """Raise the error for the outcome of publishing a message to *topic*; *reason* is the reason
    that the broker gave."""
    because = f" ({reason})" if reason else ""
    match result:
        case "confirmed":
            return
        case "unroutable":
            raise Unroutable(
                f"No queue takes messages for {topic!r}: it is missing, or not bound to the task "
                f"exchange{because}; nothing was queued. Publish with create=True (on the command "
                "line --create) to create and bind it."
            )
        case "refused":
            raise PublishRefused(
                f"RabbitMQ refused the message for {topic!r}"
                f"{because or ' (the queue is full or unavailable)'}; nothing was queued."
            )
        case "not sent":
            raise ConnectionLost(
                f"The connection was lost before the message for {topic!r} was sent{because}; "
                "nothing was queued. Publish it again."
            )
        case "in doubt":
            raise ConnectionLost(
                f"RabbitMQ did not confirm the message for {topic!r}"
                f"{because or ' (the connection was lost, or an alarm blocks publishers)'}, so "
                "whether it is queued is in doubt. Look before you publish it again."
            )
        case _:
            assert_never(result)
