"""Messages as a look shows them."""

from __future__ import annotations

import pika

from tasktools.brokers.base import Look
from tasktools.brokers.rabbitmq import translate
from tasktools.brokers.rabbitmq.look import Taken
from tasktools.core import codec, deaths
from tasktools.core.compose import FunctionNames
from tasktools.core.keys import Keys
from tasktools.core.models import SeenMessage
from tasktools.core.peek import Verdict


class Seen:
    """What a look has shown; no body is kept."""

    def __init__(self, functions: FunctionNames) -> None:
        self.messages: list[SeenMessage] = []
        self._functions = functions
        self._keys = Keys()

    def receive(
        self,
        raw: pika.BasicProperties,
        body: bytes,
        redelivered: bool,  # noqa: FBT001 - a callback
    ) -> None:
        """Take in one message."""
        properties = translate.properties_in(raw)
        task = codec.decode(body, properties)
        died = deaths.parse(properties.headers)
        self._functions.learn(task)
        self.messages.append(
            SeenMessage(
                key=self._keys.next(properties, body, died),
                position=len(self.messages),
                task=task,
                properties=properties,
                deaths=died,
                redelivered=redelivered,
                size=len(body),
            )
        )

    def as_look(self, verdict: Verdict, taken: Taken) -> Look:
        """Return all that was seen, and what was done with it."""
        return Look(
            queue=verdict.queue,
            verdict=verdict,
            messages=tuple(self.messages),
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
