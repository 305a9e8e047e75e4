"""Messages as a look shows them, of any backend."""

from __future__ import annotations

import itertools

from tasktools.brokers.base import Receive
from tasktools.core import codec, deaths
from tasktools.core.compose import FunctionNames
from tasktools.core.keys import Keys
from tasktools.core.models import Properties, SeenMessage


class Seen:
    """What a look shows: handed to *receive* as it comes, else kept in `messages`, without bodies.

    *functions* learn from it.
    """

    def __init__(self, functions: FunctionNames, receive: Receive | None) -> None:
        self.messages: list[SeenMessage] = []
        self._functions = functions
        self._receive = receive or self._keep
        self._keys = Keys()
        self._positions = itertools.count()

    def show(self, properties: Properties, body: bytes, *, redelivered: bool) -> bool:
        """Show the next message; says whether that was enough."""
        task = codec.decode(body, properties)
        died = deaths.parse(properties.headers)
        self._functions.learn(task)
        message = SeenMessage(
            key=self._keys.next(properties, body, died),
            position=next(self._positions),
            task=task,
            properties=properties,
            deaths=died,
            redelivered=redelivered,
            size=len(body),
        )
        return self._receive(message, body) is True

    def _keep(self, message: SeenMessage, _body: bytes) -> None:
        self.messages.append(message)
