"""What a look at a queue of RabbitMQ has to say when it is over."""

from __future__ import annotations

from collections.abc import Sequence

from tasktools.brokers.base import Look
from tasktools.brokers.rabbitmq.look import Taken
from tasktools.core.models import SeenMessage
from tasktools.core.peek import Verdict


def as_look(verdict: Verdict, taken: Taken, messages: Sequence[SeenMessage]) -> Look:
    """Return all that was seen, and what was done with it."""
    return Look(
        queue=verdict.queue,
        verdict=verdict,
        messages=tuple(messages),
        ready_before=taken.ready_before,
        ready_after=taken.ready_after,
        note=_note(taken),
    )


def _note(taken: Taken) -> str | None:
    notes = []
    if taken.ready_after != taken.ready_before:
        notes.append(
            f"{taken.ready_before} messages were ready before and {taken.ready_after} after: "
            "somebody else used the queue meanwhile"
        )
    if taken.missing:
        notes.append(
            f"{taken.missing} messages that were ready did not come: a consumer took them, or the "
            "time that a look may take was over"
        )
    if taken.lost:
        notes.append(
            f"{taken.lost} messages had reached their delivery limit and could not be published "
            "again, so RabbitMQ may have dropped them"
        )
    if taken.rescued:
        notes.append(
            f"{taken.rescued} messages had reached their delivery limit and would have been "
            "dropped; they were published again, unchanged, to the end of the queue"
        )
    return "; ".join(notes) or None
