"""Programs on the vhost that are no workers: publishers, consumers, and beats that are made."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import pika
from pika.exceptions import AMQPError

from tasktools.testing import task_body, task_payload

_BEAT_SECONDS: Final = 3.0
_CATCH_UP_SECONDS: Final = 1.0
"""A publisher that is this late, on a busy machine, does not publish what it has missed."""

Action = Literal["ack", "nack", "reject", "hold"]


def body_of(
    topic: str, *, task: str | None = None, payload: Mapping[str, Any] | None = None, **kwargs: Any
) -> bytes:
    """Return a task's message as the peer publishes it; *payload* are fields beside the usual."""
    now = datetime.now(UTC)
    name = task or ("report" if topic == "reports" else "send_email")
    content = task_payload(
        task_id=str(uuid.uuid4()),
        func_name=f"fault_tasks:{name}",
        topic=topic,
        kwargs=kwargs,
        created_at=str(now.replace(tzinfo=None)),
        **payload or {},
    )
    message_id = f"rmq:fault:{uuid.uuid4().hex[:8]}"
    return task_body(
        message_id=message_id, topic=topic, payload=content, created_at=now.isoformat()
    )


class Publisher:
    """Publishes and declares, from any thread."""

    def __init__(self, dsn: str) -> None:
        self._lock = threading.Lock()
        self._connection = pika.BlockingConnection(_parameters(dsn))
        self._channel = self._connection.channel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def task(
        self,
        topic: str,
        *,
        key: str | None = None,
        body: bytes | None = None,
        exchange: str = "fp.tasks",
        **task: Any,
    ) -> None:
        """Publish one task; *key* instead of the topic, *body* instead of a task."""
        content = body_of(topic, **task) if body is None else body
        with self._lock:
            self._channel.basic_publish(
                exchange, key or topic, content, pika.BasicProperties(delivery_mode=2)
            )
            self._connection.process_data_events(0)

    def declare(self, queue: str, exchange: str, key: str, arguments: Mapping[str, Any]) -> None:
        """Declare a queue that *exchange*, which is declared too, fills."""
        with self._lock:
            self._channel.exchange_declare(exchange, "topic", durable=True)
            self._channel.queue_declare(queue, durable=True, arguments=dict(arguments))
            self._channel.queue_bind(queue, exchange, key)

    def counts(self, queue: str) -> tuple[int, int]:
        """Return ready messages and consumers of *queue*; zeros if it does not exist."""
        return self.counts_or_none(queue) or (0, 0)

    def counts_or_none(self, queue: str) -> tuple[int, int] | None:
        """Return ready messages and consumers of *queue*; `None` if it does not exist."""
        with self._lock:
            channel = self._connection.channel()
            try:
                answer = channel.queue_declare(queue, passive=True).method
            except pika.exceptions.ChannelClosedByBroker:
                return None
            channel.close()
            return int(answer.message_count), int(answer.consumer_count)

    def run(self, action: Callable[[Any], object]) -> None:
        """Do *action* with the channel."""
        with self._lock:
            action(self._channel)


class Traffic:
    """Publishes tasks of one topic at `rate` a second; rate and task may be changed."""

    def __init__(self, dsn: str, topic: str, rate: float, **task: Any) -> None:
        self.rate = rate
        self.task = task
        self._topic = topic
        self._publisher = Publisher(dsn)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        with contextlib.suppress(AMQPError):
            while not self._over.is_set():
                rate = self.rate
                if rate == 0:
                    self._over.wait(0.2)
                    due = time.monotonic()
                    continue
                self._publisher.task(self._topic, **self.task)
                now = time.monotonic()
                due = max(due + 1 / rate, now - _CATCH_UP_SECONDS)
                self._over.wait(max(0.0, due - now))
            self._publisher.close()

    def stop(self) -> None:
        """Publish no more."""
        self._over.set()
        self._thread.join(30)


class Consumer:
    """Consumes *queue* without being a worker: no event tells of it.

    It takes *prefetch* messages at once (0: all), and after *pause* s settles each by *action*.
    """

    def __init__(
        self,
        dsn: str,
        queue: str,
        action: Action = "ack",
        *,
        prefetch: int = 1,
        pause: float = 0.0,
        no_ack: bool = False,
    ) -> None:
        self._action, self._pause = action, pause
        self._over = threading.Event()
        self._connection = pika.BlockingConnection(_parameters(dsn))
        self._channel = self._connection.channel()
        self._channel.basic_qos(prefetch_count=prefetch)
        self._channel.basic_consume(queue, self._settle, auto_ack=no_ack)
        self._no_ack = no_ack
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _settle(self, channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        if self._pause:
            self._connection.sleep(self._pause)
        if self._no_ack:
            return
        match self._action:
            case "ack":
                channel.basic_ack(method.delivery_tag)
            case "nack":
                channel.basic_nack(method.delivery_tag, requeue=True)
            case "reject":
                channel.basic_reject(method.delivery_tag, requeue=False)
            case "hold":
                pass

    def _run(self) -> None:
        with contextlib.suppress(AMQPError):
            while not self._over.is_set():
                self._connection.process_data_events(0.2)
            self._connection.close()

    def stop(self) -> None:
        """Close the connection; what is held goes back."""
        self._over.set()
        self._thread.join(30)


class MadeWorker:
    """Beats as a worker of the peer does, and consumes nothing.

    *offset* is by how many seconds its clock is ahead.
    """

    def __init__(
        self,
        dsn: str,
        worker_id: str,
        topics: Sequence[str],
        *,
        role: str = "worker",
        host: str = "made-host",
        capacity: int = 4,
        offset: float = 0.0,
    ) -> None:
        self._worker_id, self._topics, self._offset = worker_id, list(topics), offset
        self._worker = {"role": role, "host": host, "capacity": capacity}
        self._started_at = _moment(offset)
        self._publisher = Publisher(dsn)
        self._publisher.run(
            lambda channel: channel.exchange_declare(
                "fp.workers", "fanout", durable=False, auto_delete=True
            )
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(AMQPError):
            self._tell("register")
            while not self._over.wait(_BEAT_SECONDS):
                self._tell("heartbeat")
            self._publisher.close()

    def _tell(self, event: str) -> None:
        telemetry = {
            "running": 0,
            "running_per_topic": {},
            "running_tasks": [],
            "submitted_total": 0,
            "completed_total": 0,
            "failed_total": 0,
        }
        worker = {
            "worker_id": self._worker_id,
            "pid": 4711,
            "running": 0,
            "running_hint": 0,
            "topics": self._topics,
            "started_at": self._started_at,
            "last_heartbeat": _moment(self._offset),
            "meta": {"wildcard_topics": "*" in self._topics, "hb": {"telemetry": telemetry}},
            **self._worker,
        }
        content = {"event": event, "sender_id": f"node-{self._worker_id}", "worker": worker}
        self._publisher.task("", key="x", exchange="fp.workers", body=json.dumps(content).encode())

    def stop(self) -> None:
        """Fall silent, without a goodbye."""
        self._over.set()
        self._thread.join(30)


def _moment(offset: float) -> str:
    return datetime.fromtimestamp(time.time() + offset, UTC).isoformat()


def _parameters(dsn: str) -> pika.URLParameters:
    parameters = pika.URLParameters(dsn)
    parameters.heartbeat = 0  # a publisher at rest serves no heartbeats
    return parameters
