"""Many task messages on their way to the broker, pipelined."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Sequence
from typing import Final

from tasktools.brokers.rabbitmq import parking, translate
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.publisher import Outcome
from tasktools.core.errors import ConnectionLost, PermissionDenied
from tasktools.core.layout import Layout
from tasktools.core.models import Outgoing, PublishResult

_TURN: Final = 50  # messages written between two looks at the socket


class Batch:
    """Messages on their way to the task exchange, and what has become of each so far.

    Messages for a topic that is *missing* are not sent: where a tap is bound to the exchange,
    they would be confirmed. `results` and `settled` may be read from any thread meanwhile.
    """

    def __init__(
        self, messages: Sequence[Outgoing], layout: Layout, *, missing: Collection[str]
    ) -> None:
        self.results: list[PublishResult] = ["not sent"] * len(messages)
        self.settled = 0
        self._messages = messages
        self._layout = layout
        self._missing = missing
        self._done = asyncio.Event()

    async def publish(self, session: Session) -> None:
        """Send all messages and wait until each has been answered, or the connection is lost."""
        try:
            exchanges = await self._exchanges(session)
            publisher = await session.publisher()
        except ConnectionLost:
            return
        for index, message in enumerate(self._messages):
            if message.topic in self._missing:
                self._settle(index, "unroutable")
                continue
            await publisher.room()
            if not publisher.is_open:
                break
            self.results[index] = "in doubt"
            publisher.send(
                exchanges[message.delay],
                message.topic,
                message.body,
                translate.properties_out(message.properties),
                functools.partial(self._settle, index),
            )
            if index % _TURN == 0:
                await asyncio.sleep(0)  # let what was written go out, and answers come in
        else:
            if self.settled < len(self._messages):
                await self._done.wait()
        if isinstance(publisher.closed_by, PermissionDenied) and "confirmed" not in self.results:
            raise publisher.closed_by  # the very first message was refused for all of them

    async def _exchanges(self, session: Session) -> dict[float, str]:
        """Return the exchange for each delay, once what parks messages is there."""
        exchanges = {0.0: self._layout.task_exchange}
        for delay in {message.delay for message in self._messages if message.delay}:
            topics = {message.topic for message in self._messages if message.delay == delay}
            topics -= set(self._missing)
            exchanges[delay] = await parking.prepare(session, self._layout, delay, topics)
        return exchanges

    def _settle(self, index: int, outcome: Outcome) -> None:
        self.results[index] = outcome
        self.settled += 1
        if self.settled == len(self._messages):
            self._done.set()
