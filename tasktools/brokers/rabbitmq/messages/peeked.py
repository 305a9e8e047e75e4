"""The result of a look at a queue of RabbitMQ, with its notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasktools.brokers.base import Look
from tasktools.brokers.rabbitmq.messages.peek import PeekOutcome
from tasktools.core import look_risks
from tasktools.core.models import SeenMessage
from tasktools.core.peek_verdict import Verdict
from tasktools.core.queue_facts import QueueFacts


def look_of(
    facts: QueueFacts, verdict: Verdict, taken: PeekOutcome, messages: Sequence[SeenMessage]
) -> Look:
    """Return the look, with a note if it was not harmless."""
    return Look(
        queue=verdict.queue,
        verdict=verdict,
        messages=tuple(messages),
        ready_before=taken.ready_before,
        ready_after=taken.ready_after,
        note="; ".join(_notes(facts, taken)) or None,
    )


def _notes(facts: QueueFacts, taken: PeekOutcome) -> Iterator[str]:
    gone = taken.ready_before - taken.ready_after
    counts = f"{taken.ready_before} messages were ready before and {taken.ready_after} after"
    vanished, is_explained = max(gone, taken.missing), False
    if taken.is_gone:
        yield f"{counts}: the queue is gone"
    elif vanished and taken.moved is not None and taken.moved >= vanished:
        is_explained = True
        yield f"{vanished} had expired; RabbitMQ {look_risks.past(facts)}"
    elif gone > 0 and not taken.is_in_use:
        is_explained = taken.missing <= gone
        yield (
            f"{counts}: {gone} had expired, and RabbitMQ {look_risks.past(facts)}, or somebody "
            "else took them meanwhile"
        )
    elif gone and taken.is_in_use:
        yield f"{counts}: others consumed it meanwhile, so no exact count was waited for"
    elif gone:
        yield f"{counts}: somebody else used the queue meanwhile"
    if taken.missing and not is_explained:
        yield (
            f"{taken.missing} messages that were ready did not come: a consumer took them, or the "
            "time that a look may take was over"
        )
    if taken.lost:
        yield (
            f"{taken.lost} messages had reached their delivery limit and could not be published "
            "again, so RabbitMQ may have dropped them"
        )
    if taken.rescued:
        yield (
            f"{taken.rescued} messages had reached their delivery limit and would have been "
            "dropped; they were published again, unchanged, to the end of the queue"
        )
