"""Queues and the bindings between them: routing, dead-lettering, and what time brings.

The server locks and says what time it is; nothing here does.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from msgspec import structs

from tasktools.brokers.memory.parking import Parking
from tasktools.brokers.memory.queue import DeadLetter, Message, Queue
from tasktools.brokers.memory.stream import Streams
from tasktools.core import deaths, wire
from tasktools.core.clock import moment
from tasktools.core.errors import QueueNotFound
from tasktools.core.layout import Layout
from tasktools.core.models import Death, Properties, PublishResult

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
        """Hand a copy over."""
        try:
            self._receive(key, wire.encode(as_on_the_wire(properties)), body)
        except Exception:  # noqa: BLE001 - a stranger's code; the message is published
            _log.exception("what overhears the messages failed")


class Exchanges:
    """All queues of a server, and what is bound to what. Keys match exactly, without wildcards."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self._bindings: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._may_expire: set[str] = set()
        self._parking = Parking()
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
            self.queues[name] = Queue(
                name,
                dead_letter=dead_letter,
                max_length=max_length,
                max_priority=max_priority,
                message_ttl=message_ttl,
            )

    def declare_topic(
        self,
        layout: Layout,
        topic: str,
        *,
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create what is missing of *topic*."""
        dead, key = layout.dead_queue(topic), layout.dead_key(topic)
        way = DeadLetter(layout.dead_letter_exchange, key)
        self.declare(topic, dead_letter=way, max_priority=max_priority, message_ttl=message_ttl)
        self.bind(topic, layout.task_exchange, topic)
        self.declare(dead)
        self.bind(dead, layout.dead_letter_exchange, key)

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Let *queue* take what is published to *exchange* with *key*."""
        bound = self._bindings[exchange, key]
        if queue not in bound:
            bound.append(queue)

    def bound_by_name(self, exchange: str) -> set[str]:
        """Return the queues that are bound to *exchange* with their own name."""
        return {
            key
            for (ours, key), bound in self._bindings.items()
            if ours == exchange and key in bound
        }

    def route(self, exchange: str, key: str) -> list[Queue]:
        """Return the queues that take *key*; the exchange ``""`` knows queues by their names."""
        names = [key] if exchange == "" else self._bindings.get((exchange, key), [])
        return [self.queues[name] for name in names if name in self.queues]

    def publish(
        self, exchange: str, key: str, body: bytes, properties: Properties, now: float
    ) -> PublishResult:
        """Route one message, and say what became of it."""
        queues = self.route(exchange, key)
        is_copied = self._copy(exchange, key, properties, body, now)
        if not queues:
            return "confirmed" if is_copied else "unroutable"
        if not _is_valid(properties.expiration):
            return "refused"
        willing = [queue for queue in queues if not queue.is_full]
        for queue in willing:
            queue.published.count(now)
            self._put(queue, self._message(body, properties, exchange, key), now)
        # As in RabbitMQ: refused when any of them is full, although the others have it.
        return "confirmed" if willing == queues else "refused"

    def _copy(
        self, exchange: str, key: str, properties: Properties, body: bytes, now: float
    ) -> bool:
        """Hand copies of a message to all that take every one; says whether there are such."""
        overhearers = [one for one in self.overhearers if one.exchange == exchange]
        for overhearer in overhearers:
            overhearer.put(key, properties, body)
        is_kept = self.streams.put(exchange, key, as_on_the_wire(properties), body, now)
        return is_kept or bool(overhearers)

    def park(
        self, exchange: str, key: str, body: bytes, properties: Properties, due: float
    ) -> None:
        """Publish one message when it is *due*. Its time to live is forgotten, as RabbitMQ's
        parking queues have it."""
        told = structs.replace(properties, expiration=None)
        self._parking.add(self._message(body, told, exchange, key), due)

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

    @property
    def due(self) -> float:
        """When something happens next by itself; infinity for never."""
        heads = (self.queues[name].expires_at for name in self._may_expire)
        times = [time for time in (self._parking.due, *heads) if time is not None]
        return min(times, default=math.inf)

    def advance(self, now: float) -> None:
        """Queue the parked messages that are due, and dead-letter what has expired at the head
        of its queue."""
        for due, parked in self._parking.take_due(now):
            self._copy(parked.exchange, parked.key, parked.properties, parked.body, due)
            for queue in self.route(parked.exchange, parked.key):
                queue.published.count(now)
                self._put(queue, replace(parked, number=next(self._numbers)), due)
        for name in list(self._may_expire):
            queue = self.queues[name]
            for message in queue.take_expired(now):
                self.dead_letter(queue, message, "expired", now)

    def dead_letter(self, queue: Queue, message: Message, reason: str, now: float) -> None:
        """Send *message* on its way; without a way it is gone, as in RabbitMQ."""
        to, properties = queue.dead_letter, message.properties
        if to is None:
            return
        headers = deaths.record(
            properties.headers,
            queue=queue.name,
            reason=reason,
            at=moment(now),
            exchange=message.exchange,
            routing_key=message.key,
        )
        if properties.expiration is not None:
            headers["x-death"][0]["original-expiration"] = properties.expiration
        told = structs.replace(properties, headers=headers, expiration=None)
        died = deaths.parse(headers)
        for target in self.route(to.exchange, to.key):
            if not _goes_in_circles(died, target.name):
                self._put(target, self._message(message.body, told, to.exchange, to.key), now)


def as_on_the_wire(properties: Properties) -> Properties:
    """Return a copy that shares nothing mutable, with a time of whole seconds as AMQP has it."""
    time = properties.timestamp
    return structs.replace(
        properties,
        headers=copy.deepcopy(dict(properties.headers)),
        timestamp=None if time is None else time.replace(microsecond=0),
    )


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
