"""Pipelined publishing of many task messages."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.publisher import Outcome, Publisher
from tasktools.brokers.rabbitmq.connection.publishing_connection import PublishingConnection
from tasktools.brokers.rabbitmq.queues import delays, topology
from tasktools.brokers.rabbitmq.queues.queue_facts import QueueInspector
from tasktools.core.errors import (
    BrokerError,
    ConnectionLost,
    PermissionDenied,
    PublishingBlocked,
    QueueNotFound,
)
from tasktools.core.layout import Layout
from tasktools.core.models import Outgoing, Properties, PublishResult, PublishResults

_ALARM_SECONDS: Final = 0.1  # between two checks whether an alarm is over
_PROGRESS_SECONDS: Final = 0.05  # between two calls of *progress*
_TURN_MESSAGES: Final = 50  # written before the loop runs once
_MAX_EXPIRATION_MS: Final = 2**32 - 1
_NO_EXCHANGE: Final = "there is no such exchange"


class PublishBatch:
    """A batch of messages for the task exchange, or for one queue by its name, and the results so
    far.

    Messages for a queue that is *missing* are not sent: where a tap is bound to the exchange, they
    would be confirmed; nor are those for one that is *unavailable* (by its name, why). A message
    that RabbitMQ refuses with an error closes its channel; the other messages continue on a new
    one. `results`, `reasons` (why a message was refused, by its place) and `settled` may be read
    from any thread meanwhile.
    """

    def __init__(
        self,
        messages: Sequence[Outgoing],
        layout: Layout,
        *,
        missing: Collection[str],
        unavailable: Mapping[str, str],
    ) -> None:
        self.results: list[PublishResult] = ["not sent"] * len(messages)
        self.reasons: dict[int, str] = {}
        self.settled = 0
        self._messages = messages
        self._layout = layout
        self._missing = missing
        self._unavailable = unavailable
        self._done = asyncio.Event()
        self._closed_addresses: dict[tuple[str, str], tuple[Outcome, str]] = {}
        self._denial: BrokerError | None = None

    async def publish(self, session: Session) -> None:
        """Send all messages and wait until each has been answered, or the connection is lost."""
        try:
            exchanges = await self._exchanges(session)
            outgoing = await session.outgoing()
            for index, message in enumerate(self._messages):
                if message.target in self._missing:
                    self._end(index, "unroutable")
                    continue
                if message.target in self._unavailable:
                    self._end(index, "refused", self._unavailable[message.target])
                    continue
                exchange = exchanges[message.delay] if message.queue is None else ""
                await self._publish(outgoing, index, message, exchange)
                if index % _TURN_MESSAGES == 0:
                    await asyncio.sleep(0)  # let what was written go out, and answers come in
        except ConnectionLost as lost:
            unsent = (n for n, result in enumerate(self.results) if result == "not sent")
            self.reasons |= dict.fromkeys(unsent, str(lost))
            return
        if self.settled < len(self._messages):
            await self._done.wait()
        if self._denial is not None and not {"confirmed", "in doubt"} & {*self.results}:
            raise self._denial

    async def _publish(
        self, outgoing: PublishingConnection, index: int, message: Outgoing, exchange: str
    ) -> None:
        try:
            properties = pika_border.properties_out(message.properties)
        except ValueError as error:
            self._end(index, "refused", f"its properties cannot be written ({error})")
            return
        alone = not _is_harmless(message.properties)
        size, key = len(message.body), message.target
        publisher = await self._publisher(outgoing, exchange, key, size, alone=alone)
        closed = self._closed_addresses.get((exchange, key))
        if closed is not None:
            self._end(index, *closed)
            return
        self.results[index] = "in doubt"
        settled = functools.partial(self._settle, index, (exchange, key), publisher)
        publisher.send(exchange, key, message.body, properties, settled, alone=alone)

    async def _publisher(
        self,
        outgoing: PublishingConnection,
        exchange: str,
        routing_key: str,
        size: int,
        *,
        alone: bool,
    ) -> Publisher:
        """Return a publisher with room for this message; during an alarm, wait for its end."""
        while True:
            try:
                publisher = await outgoing.publisher()
            except PublishingBlocked:
                if not {"confirmed", "in doubt"} & {*self.results}:
                    raise
                await asyncio.sleep(_ALARM_SECONDS)
                continue
            await publisher.room(exchange, routing_key, size, alone=alone)
            if publisher.is_open:  # else somebody's message has closed its channel meanwhile
                return publisher

    async def _exchanges(self, session: Session) -> dict[float, str]:
        """Return the exchange for each delay, once its delay queue is declared."""
        exchanges = {0.0: self._layout.task_exchange}
        for delay in {message.delay for message in self._messages if message.delay}:
            topics = {message.topic for message in self._messages if message.delay == delay}
            topics -= {*self._missing, *self._unavailable}
            exchanges[delay] = await delays.prepare(session, self._layout, delay, topics)
        return exchanges

    def _settle(
        self, index: int, address: tuple[str, str], publisher: Publisher, outcome: Outcome
    ) -> None:
        reason = None if outcome == "confirmed" else publisher.reason
        if outcome in ("refused", "unroutable") and not publisher.is_open:
            # Of an exchange that may not be used, or is not there, one error tells enough.
            if isinstance(publisher.closed_by, PermissionDenied):
                self._denial = publisher.closed_by
            if isinstance(publisher.closed_by, PermissionDenied | QueueNotFound):
                self._closed_addresses[address] = outcome, reason or _NO_EXCHANGE
        self._end(index, outcome, reason)

    def _end(self, index: int, outcome: Outcome, reason: str | None = None) -> None:
        if reason is not None:
            self.reasons[index] = reason
        self.results[index] = outcome
        self.settled += 1
        if self.settled == len(self._messages):
            self._done.set()


def publish(
    connection: Connection,
    facts: QueueInspector,
    layout: Layout,
    messages: Sequence[Outgoing],
    progress: Callable[[int], object] | None,
) -> PublishResults:
    """Publish *messages* over *connection*, and wait for their outcomes.

    *facts* has what the management API knows of a queue, to explain why the queue took nothing.
    """
    queues = {message.target for message in messages}
    missing, unavailable = connection.run(lambda session: topology.missing(session, queues))
    reasons = {queue: facts.trouble(queue) or why for queue, why in unavailable.items()}
    batch = PublishBatch(messages, layout, missing=missing, unavailable=reasons)
    ended = threading.Event()

    async def work() -> None:
        try:
            await connection.once(batch.publish)
        finally:
            ended.set()

    future = connection.start(work())
    try:
        _wait(batch, future, progress or (lambda _settled: None), connection.timeout)
    finally:
        # Also when interrupted: once this returns or raises, nothing more is sent.
        future.cancel()
        ended.wait(connection.timeout)
    return PublishResults(batch.results, _reasons(connection, facts, messages, batch))


def _wait(
    batch: PublishBatch,
    future: concurrent.futures.Future[None],
    progress: Callable[[int], object],
    timeout: float,
) -> None:
    """Wait until *batch* has ended, or RabbitMQ has answered nothing for *timeout* seconds."""
    reported, answered_at = 0, time.monotonic()
    while not future.done():
        concurrent.futures.wait([future], _PROGRESS_SECONDS)
        settled = batch.settled
        if settled > reported:
            progress(settled - reported)
            reported, answered_at = settled, time.monotonic()
        elif time.monotonic() - answered_at > timeout:
            return
    if batch.settled > reported:
        progress(batch.settled - reported)
    with contextlib.suppress(concurrent.futures.CancelledError):  # closed meanwhile
        future.result()


def _reasons(
    connection: Connection, facts: QueueInspector, messages: Sequence[Outgoing], batch: PublishBatch
) -> dict[int, str]:
    """Return the reason why each message was not taken: RabbitMQ's own, an alarm, or the state of
    its queue (a queue without a majority does not answer)."""
    results, reasons = list(batch.results), dict(batch.reasons)
    if connection.blocked is not None:
        unsettled = (n for n, result in enumerate(results) if result in ("in doubt", "not sent"))
        reasons |= dict.fromkeys(unsettled, str(connection.blocked))
    trouble = functools.cache(facts.trouble)
    for index, result in enumerate(results):
        if result in ("refused", "in doubt") and index not in reasons:
            reason = trouble(messages[index].target)
            if reason is not None:
                reasons[index] = reason
    return reasons


def _is_harmless(properties: Properties) -> bool:
    """Whether RabbitMQ has no reason to refuse a message with these *properties*."""
    expiration = properties.expiration
    if expiration is not None and not (
        expiration.isascii() and expiration.isdecimal() and int(expiration) <= _MAX_EXPIRATION_MS
    ):
        return False
    return properties.user_id is None and not {"CC", "BCC"} & properties.headers.keys()
