"""Messages to and from RabbitMQ: publishing them, and being handed them to work on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tasktools.brokers.base import changes, raise_unless_confirmed
from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.batch import Batch
from tasktools.brokers.rabbitmq.connection import Session
from tasktools.brokers.rabbitmq.consumers import RabbitMQConsumer
from tasktools.brokers.rabbitmq.topics import Topics
from tasktools.core.errors import QueueNotFound, WouldBeLost
from tasktools.core.models import Delivery, Failure, Outgoing, PublishResult

_PROGRESS_EVERY: Final = 0.05


class Delivering(Topics):
    """The part of the broker that publishes, and takes messages for workers."""

    @changes
    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        ttl: float | None = None,
        delay: float = 0.0,
    ) -> str:
        message = self.composer.compose(
            topic, payload, headers, priority=priority, ttl=ttl, delay=delay
        )
        if topic not in self._ensured:
            self.ensure_topic(topic)
        result = self.publish_many([message])[0]
        if result == "unroutable":  # deleted since we made sure of it
            self.ensure_topic(topic)
            result = self.publish_many([message])[0]
        raise_unless_confirmed(result, topic)
        return message.message_id

    @changes
    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> list[PublishResult]:
        topics = {message.topic for message in messages}
        missing = self._main.run(lambda session: topology.missing(session, topics))
        batch = Batch(messages, self.layout, missing=missing)
        ended = threading.Event()

        async def work() -> None:
            try:
                await self._main.once(batch.publish)
            finally:
                ended.set()

        future = self._main.start(work())
        try:
            self._wait_for(batch, future, progress or (lambda _settled: None))
        finally:
            # Also when interrupted: once this returns or raises, nothing more is sent.
            future.cancel()
            ended.wait(self._timeout)
        return list(batch.results)

    def _wait_for(
        self,
        batch: Batch,
        future: concurrent.futures.Future[None],
        progress: Callable[[int], object],
    ) -> None:
        """Return when *batch* is through, or when RabbitMQ has said nothing for too long."""
        reported, heard = 0, time.monotonic()
        while not future.done():
            concurrent.futures.wait([future], _PROGRESS_EVERY)
            settled = batch.settled
            if settled > reported:
                progress(settled - reported)
                reported, heard = settled, time.monotonic()
            elif time.monotonic() - heard > self._timeout:
                return
        if batch.settled > reported:
            progress(batch.settled - reported)
        with contextlib.suppress(concurrent.futures.CancelledError):  # closed meanwhile
            future.result()

    @changes
    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        del worker_id  # what a worker holds shows in its own heartbeats
        if topic == "*":
            return self._claim_any()
        return self._main.run(lambda session: self._claims.claim(session, topic), again=False)

    def _claim_any(self) -> Delivery | None:
        topics = sorted(filter(self.topic_exists, self.known_topics()))
        if not topics:
            raise QueueNotFound("No topic is known that exists; nothing was changed. Name one.")
        self._turn += 1
        first = self._turn % len(topics)
        for topic in (*topics[first:], *topics[:first]):
            delivery = self.claim(topic, "")
            if delivery is not None:
                return delivery
        return None

    @changes
    def consume(
        self,
        topic: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None = None,
    ) -> RabbitMQConsumer:
        consumer = RabbitMQConsumer(
            self._main, self._claims, topic, receive, prefetch=prefetch, limit=limit
        )
        consumer.start()
        return consumer

    @changes
    def ack(self, delivery_id: str) -> None:
        self._claims.ack(delivery_id)

    @changes
    def nack(
        self,
        delivery_id: str,
        *,
        requeue: bool = True,
        delay: float = 0.0,
        count_attempt: bool = True,
    ) -> bool:
        if not requeue:
            self._check_kept(delivery_id)
        if requeue and (delay or count_attempt):
            layout = self.layout
            published = self._main.run(
                lambda session: self._claims.publish_again(
                    session, layout, delivery_id, delay=delay, count=count_attempt
                ),
                again=False,
            )
            return published and delay > 0
        self._claims.give_back(delivery_id, requeue=requeue)
        return False

    @changes
    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        layout = self.layout
        self._main.run(
            lambda session: self._claims.dead_letter(
                session, layout, delivery_id, failure, retention
            ),
            again=False,
        )

    def _check_kept(self, delivery_id: str) -> None:
        topic = self._claims.topic_of(delivery_id)
        if not self._facts.dead_letters_kept(self.layout, topic):
            raise WouldBeLost(
                f"The queue {topic!r} is not known to dead-letter, so RabbitMQ would drop the "
                "message; it is still ours. Requeue it, or give the queue a dead-letter policy."
            )

    @changes
    def purge(self, queue: str) -> int:
        async def work(session: Session) -> int:
            if await topology.queue_ok(session, queue) is None:
                raise QueueNotFound(f"There is no queue {queue!r}; nothing was changed.")
            async with session.asking() as channel:
                answer = await channel.call(channel.raw.queue_purge, queue)
                return int(answer.method.message_count)

        return self._main.run(work, again=False)
