"""Queues and bindings: routing, dead-lettering, expiry and delays.

Used under the server's lock; the server passes the time.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from msgspec import structs

from tasktools.brokers.memory.delays import DelayedMessages
from tasktools.brokers.memory.queue import (
    MAX_SAMPLES,
    SAMPLE_SECONDS,
    DeadLetter,
    Message,
    Queue,
)
from tasktools.brokers.memory.stream import Streams
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import x_death
from tasktools.core.clock import moment
from tasktools.core.errors import QueueNotFound
from tasktools.core.layout import Layout
from tasktools.core.models import Death, Properties, PublishResult
from tasktools.core.routes import Binding, Exchange, Routes

_SAMPLED_SECONDS: Final = SAMPLE_SECONDS * (MAX_SAMPLES - 1)
_log = logging.getLogger("tasktools.broker")


class Overhearer:
    """Gets a copy of all that is published to *exchange*, for *owner*."""

    def __init__(
        self, exchange: str, receive: Callable[[str, bytes, bytes], object], owner: object
    ) -> None:
        self.exchange = exchange
        self.owner = owner
        self._receive = receive

    def put(self, key: str, properties: Properties, body: bytes) -> None:
        """Receive a copy."""
        try:
            self._receive(key, amqp_properties.encode(as_on_the_wire(properties)), body)
        except Exception:  # noqa: BLE001 - a stranger's code; the message is published
            _log.exception("the receiver of copies of messages failed")


class Exchanges:
    """All queues of a server, and their bindings. Keys match exactly, without wildcards."""

    def __init__(self, now: float) -> None:
        self.queues: dict[str, Queue] = {}
        self.unroutable = 0
        self._sampled_at = _step_before(now)
        first = (self._sampled_at, 0)
        self.unroutable_samples: deque[tuple[float, int]] = deque([first], maxlen=MAX_SAMPLES)
        self._bindings: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._may_expire: set[str] = set()
        self._delayed = DelayedMessages()
        self._numbers = itertools.count(1)
        self.overhearers: list[Overhearer] = []
        self.streams = Streams()

    def queue(self, name: str) -> Queue:
        """Return the queue called *name*; raises `QueueNotFound`."""
        queue = self.queues.get(name)
        if queue is None:
            raise QueueNotFound(f"There is no queue {name!r}; nothing was changed.")
        return queue

    def declare(
        self,
        name: str,
        *,
        dead_letter: DeadLetter | None = None,
        max_length: int | None = None,
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create a queue, if there is none of that name."""
        if name not in self.queues:
            queue = self.queues[name] = Queue(
                name,
                dead_letter=dead_letter,
                max_length=max_length,
                max_priority=max_priority,
                message_ttl=message_ttl,
            )
            queue.sample(self._sampled_at)

    def declare_topic(
        self,
        layout: Layout,
        topic: str,
        *,
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create the missing parts of *topic*."""
        dead, key = layout.dead_queue(topic), layout.dead_key(topic)
        way = DeadLetter(layout.dead_letter_exchange, key)
        self.declare(topic, dead_letter=way, max_priority=max_priority, message_ttl=message_ttl)
        self.bind(topic, layout.task_exchange, topic)
        self.declare(dead)
        self.bind(dead, layout.dead_letter_exchange, key)

    def delete(self, name: str) -> int:
        """Delete a queue and its bindings; returns how many messages were in it."""
        queue = self.queues.pop(name, None)
        self._may_expire.discard(name)
        if queue is None:
            return 0
        for bound in self._bindings.values():
            if name in bound:
                bound.remove(name)
        return len(queue) + queue.held

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind *queue* to *exchange* with *key*."""
        bound = self._bindings[exchange, key]
        if queue not in bound:
            bound.append(queue)

    def bound_by_name(self, exchange: str) -> set[str]:
        """Return the queues that are bound to *exchange* with their own name."""
        return {
            key
            for (source, key), bound in self._bindings.items()
            if source == exchange and key in bound
        }

    def routes(self) -> Routes:
        """Return the exchanges and bindings, as a value."""
        exchanges = {source for source, _ in self._bindings}
        return Routes(
            [Exchange(name=name, type="direct") for name in sorted(exchanges)],
            [
                Binding(source=source, destination=queue, key=key)
                for (source, key), bound in self._bindings.items()
                for queue in bound
            ],
        )

    def route(self, exchange: str, key: str) -> list[Queue]:
        """Return the queues that take *key*; the exchange ``""`` knows queues by their names."""
        names = [key] if exchange == "" else self._bindings.get((exchange, key), [])
        return [self.queues[name] for name in names if name in self.queues]

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, now: float
    ) -> PublishResult:
        """Route one message; return its result."""
        queues = self.route(exchange, key)
        is_copied = self._copy(exchange, key, properties, body, now)
        if not queues:
            self.unroutable += not is_copied
            return "confirmed" if is_copied else "unroutable"
        if not _is_valid(properties.expiration):
            return "refused"
        willing = [queue for queue in queues if not queue.is_full]
        for queue in queues:
            queue.published.count(now)  # what is refused, too, as in RabbitMQ
        for queue in willing:
            self._put(queue, self._message(body, properties, exchange, key), now)
        # As in RabbitMQ: refused when any of them is full, although the others have it.
        return "confirmed" if willing == queues else "refused"

    def _copy(
        self, exchange: str, key: str, properties: Properties, body: bytes, now: float
    ) -> bool:
        """Copy a message to all overhearers and streams; returns whether there are any."""
        overhearers = [each for each in self.overhearers if each.exchange == exchange]
        for overhearer in overhearers:
            overhearer.put(key, properties, body)
        is_kept = self.streams.put(exchange, key, as_on_the_wire(properties), body, now)
        return is_kept or bool(overhearers)

    def park(
        self, exchange: str, key: str, body: bytes, properties: Properties, due: float
    ) -> None:
        """Publish one message at the time *due*.

        Its own TTL is dropped, as it is in a delay queue on RabbitMQ.
        """
        without_ttl = structs.replace(properties, expiration=None)
        self._delayed.add(self._message(body, without_ttl, exchange, key), due)

    def _message(self, body: bytes, properties: Properties, exchange: str, key: str) -> Message:
        return Message(
            number=next(self._numbers),
            body=bytes(body),
            properties=as_on_the_wire(properties),
            exchange=exchange,
            key=key,
        )

    def _put(self, queue: Queue, message: Message, now: float) -> None:
        expiration = message.properties.expiration
        of_message = None if expiration is None else int(expiration) / 1000
        ttls = [ttl for ttl in (queue.message_ttl, of_message) if ttl is not None]
        if ttls:
            message.expires_at = now + min(ttls)
            self._may_expire.add(queue.name)
        queue.put(message)

    def sample(self, now: float) -> None:
        """Take all samples of queues that have become due by *now*, each with the state of its
        time: no thread runs to take them earlier."""
        if now < self._sampled_at:  # the clock was set back
            self.unroutable_samples.clear()
            for queue in self.queues.values():
                queue.samples.clear()
            self._sampled_at = _step_before(now)
        while self._sampled_at + SAMPLE_SECONDS <= now:
            # After a long pause those of the last minute are enough.
            next_step = self._sampled_at + SAMPLE_SECONDS
            self._sampled_at = max(next_step, _step_before(now - _SAMPLED_SECONDS))
            self.advance(self._sampled_at)
            self.unroutable_samples.append((self._sampled_at, self.unroutable))
            for queue in self.queues.values():
                queue.sample(self._sampled_at)

    @property
    def due(self) -> float:
        """The time at which the next message expires or is due; infinity for never."""
        heads = (self.queues[name].expires_at for name in self._may_expire)
        times = [time for time in (self._delayed.due, *heads) if time is not None]
        return min(times, default=math.inf)

    def advance(self, now: float) -> None:
        """Queue the delayed messages that are due, and dead-letter expired messages at the head of
        their queue."""
        for due, parked in self._delayed.take_due(now):
            self._copy(parked.exchange, parked.key, parked.properties, parked.body, due)
            for queue in self.route(parked.exchange, parked.key):
                queue.published.count(now)
                self._put(queue, replace(parked, number=next(self._numbers)), due)
        for name in list(self._may_expire):
            queue = self.queues[name]
            for message in queue.take_expired(now):
                self.dead_letter(queue, message, "expired", now)

    def dead_letter(self, queue: Queue, message: Message, reason: str, now: float) -> None:
        """Dead-letter *message*; without a dead-letter exchange it is dropped, as in RabbitMQ."""
        to, properties = queue.dead_letter, message.properties
        if to is None:
            return
        headers = x_death.record(
            properties.headers,
            queue=queue.name,
            reason=reason,
            at=moment(now),
            exchange=message.exchange,
            routing_key=message.key,
        )
        if properties.expiration is not None:
            headers["x-death"][0]["original-expiration"] = properties.expiration
        properties = structs.replace(properties, headers=headers, expiration=None)
        died = x_death.parse(headers)
        for target in self.route(to.exchange, to.key):
            if not _goes_in_circles(died, target.name):
                self._put(target, self._message(message.body, properties, to.exchange, to.key), now)


def as_on_the_wire(properties: Properties) -> Properties:
    """Return a copy that shares nothing mutable; its timestamp is in whole seconds, as in AMQP."""
    time = properties.timestamp
    return structs.replace(
        properties,
        headers=copy.deepcopy(dict(properties.headers)),
        timestamp=None if time is None else time.replace(microsecond=0),
    )


def _step_before(now: float) -> float:
    return now // SAMPLE_SECONDS * SAMPLE_SECONDS


def _is_valid(expiration: str | None) -> bool:
    return expiration is None or (expiration.isascii() and expiration.isdigit())


def _goes_in_circles(died: Iterable[Death], target: str) -> bool:
    """Whether a message was in *target* before and has not been rejected since.

    RabbitMQ drops such a message.
    """
    for death in died:
        if death.reason == "rejected":
            return False
        if death.queue == target:
            return True
    return False
