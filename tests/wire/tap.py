"""A reader of queues that keeps the properties of messages as the bytes that they came as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pika

from tasktools.testing import eventually
from tests.wire.samples import Sample


class Tap:
    """Takes messages out of queues, also of exchanges that it is bound to."""

    def __init__(self, dsn: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(dsn))
        self.channel = self._connection.channel()

    def bind(self, exchange: str, kind: str, key: str, *, durable: bool) -> str:
        """Return a new queue that hears *exchange*, which is declared as its owner does."""
        self.channel.exchange_declare(exchange, kind, durable=durable)
        queue = str(self.channel.queue_declare("", exclusive=True).method.queue)
        self.channel.queue_bind(queue, exchange, key)
        return queue

    def next(self, queue: str, name: str | None = None, **task: Any) -> Sample:
        """Wait for the next message of *queue*, and take it; its name is its routing key."""
        return eventually(lambda: self._get(queue, name, task))

    def all(self, queue: str) -> Iterator[Sample]:
        """Take what is in *queue*."""
        while (sample := self._get(queue, None, {})) is not None:
            yield sample

    def _get(self, queue: str, name: str | None, task: dict[str, Any]) -> Sample | None:
        with _raw_properties():
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
        if method is None:
            return None
        return Sample(
            name=name or method.routing_key,
            exchange=method.exchange,
            routing_key=method.routing_key,
            raw=properties.raw,
            body=body,
            task=task or None,
        )

    def send(self, sample: Sample) -> None:
        """Publish a sample as it came."""
        properties = pika.BasicProperties()
        properties.encode = lambda: [sample.raw]
        self.channel.basic_publish(sample.exchange, sample.routing_key, sample.body, properties)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def _raw_properties() -> Iterator[None]:
    """Let pika keep the bytes of properties: what it decodes has lost something (floats)."""

    def keep(self: Any, encoded: bytes, _offset: int = 0) -> Any:
        self.raw = encoded
        return self

    with mock.patch.object(pika.BasicProperties, "decode", keep):
        yield
