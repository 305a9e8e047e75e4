"""The messages that a look shows, for any backend."""

from __future__ import annotations

import itertools

from tasktools.brokers.base import Receive
from tasktools.core.amqp import x_death
from tasktools.core.amqp.message_key import Keys
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.models import Properties, SeenMessage
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import FunctionNames


class PeekedMessages:
    """Hands the messages of a look to *receive*, or keeps them in `messages`, without bodies.

    The task names in the messages are added to *functions*; *dialect* is the dialect of the queue.
    """

    def __init__(self, functions: FunctionNames, receive: Receive | None, dialect: Dialect) -> None:
        self.messages: list[SeenMessage] = []
        self._functions = functions
        self._dialect = dialect
        self._receive = receive or self._keep
        self._keys = Keys()
        self._positions = itertools.count()

    def show(self, properties: Properties, body: bytes, *, redelivered: bool) -> bool:
        """Show the next message; returns whether the look may end."""
        task = codec.decode(body, properties, self._dialect)
        died = x_death.parse(properties.headers)
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
