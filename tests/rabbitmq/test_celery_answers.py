"""The first answers of Celery's workers: who is waited for, and for how long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pika
import pytest

from tasktools.testing import eventually
from tests.conftest import Connect
from tests.support import Raw
from tests.timing import within
from tests.vhosts import Vhost

PIDBOX: Final = "celery.pidbox"
QUIET_SECONDS: Final = 0.3
"""The wait for further answers where it is not known who is to answer."""
QUICK, SLOW = "w1@host", "w2@host"
ANSWERS: Final[dict[str, Any]] = {
    "scheduled": [],
    "reserved": [],
    "active": [],
    "active_queues": [{"name": "mail", "exchange": {"name": "mail"}, "routing_key": "mail"}],
    "stats": {"pid": 7, "pool": {"max-concurrency": 2}, "uptime": 5},
}


class Pidboxes:
    """The pidboxes of workers in the place of Celery's; SLOW answers once it is let go."""

    def __init__(self, dsn: str, *workers: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(dsn))
        self._channel = self._connection.channel()
        self._channel.exchange_declare("celeryev", "topic", durable=True)
        self._channel.exchange_declare(PIDBOX, "fanout")
        self._channel.exchange_declare(f"reply.{PIDBOX}", "direct")
        self._held: list[dict[str, Any]] | None = []
        """The questions that SLOW has not answered yet; `None` once it answers."""
        for worker in workers:
            queue = f"{worker}.{PIDBOX}"
            self._channel.queue_declare(queue, exclusive=True)
            self._channel.queue_bind(queue, PIDBOX)
            self._channel.basic_consume(queue, self._asked, auto_ack=True, consumer_tag=worker)
        self._thread = threading.Thread(target=self._channel.start_consuming)
        self._thread.start()

    def _asked(self, _channel: object, method: Any, _properties: object, body: bytes) -> None:
        question = json.loads(body)
        if method.consumer_tag == SLOW and self._held is not None:
            self._held.append(question)
        else:
            self._answer(method.consumer_tag, question)

    def _answer(self, worker: str, question: dict[str, Any]) -> None:
        reply_to = question["reply_to"]
        self._channel.basic_publish(
            reply_to["exchange"],
            reply_to["routing_key"],
            json.dumps({worker: ANSWERS[question["method"]]}).encode(),
            pika.BasicProperties(headers={"ticket": question["ticket"]}),
        )

    def let_go(self) -> None:
        """Let SLOW answer what it was asked, and what it will be."""

        def answer() -> None:
            held, self._held = self._held or [], None
            for question in held:
                self._answer(SLOW, question)

        self._connection.add_callback_threadsafe(answer)

    def close(self) -> None:
        """End the workers."""
        self._connection.add_callback_threadsafe(self._channel.stop_consuming)
        self._thread.join()
        self._connection.close()


@pytest.fixture
def quick(vhost: Vhost) -> Iterator[Pidboxes]:
    """A worker that answers at once."""
    pidboxes = Pidboxes(vhost.dsn, QUICK)
    yield pidboxes
    pidboxes.close()


@pytest.fixture
def quick_and_slow(vhost: Vhost) -> Iterator[Pidboxes]:
    """A worker that answers at once, and one that does so once it is let go."""
    pidboxes = Pidboxes(vhost.dsn, QUICK, SLOW)
    yield pidboxes
    pidboxes.close()


def seconds_to_workers(connect: Connect, **options: Any) -> float:
    """Return the seconds from `connect` to the first frame, in which the quick worker is."""
    began = time.perf_counter()
    workers = connect(**options).workers()
    took = time.perf_counter() - began
    assert workers["worker_id"].tolist() == [QUICK]
    assert workers["capacity"].tolist() == [2]
    return took


@pytest.mark.usefixtures("quick")
def test_nobody_waits_once_all_that_are_asked_have_answered(connect: Connect) -> None:
    """Nor for a list of workers from another that looks at the cluster of Celery."""
    connect().workers()
    eventually(lambda: seconds_to_workers(connect) < QUIET_SECONDS)


@pytest.mark.usefixtures("quick")
def test_where_others_may_answer_they_are_waited_for(connect: Connect, raw: Raw) -> None:
    """Without the management API it is not known who is asked, nor what is behind an exchange."""
    assert seconds_to_workers(connect, management_url=False) >= QUIET_SECONDS
    raw.channel.exchange_declare("elsewhere", "fanout")
    raw.channel.exchange_bind("elsewhere", PIDBOX)
    assert seconds_to_workers(connect) >= QUIET_SECONDS


def test_a_worker_that_answers_late_costs_no_more_and_is_heard(
    connect: Connect, quick_and_slow: Pidboxes
) -> None:
    with within(2.0, "the first look at workers of which one does not answer"):
        assert seconds_to_workers(connect) >= QUIET_SECONDS
    cluster = connect()
    assert cluster.workers()["worker_id"].tolist() == [QUICK]
    quick_and_slow.let_go()
    eventually(lambda: cluster.workers()["capacity"].tolist() == [2, 2])
    assert cluster.workers()["worker_id"].tolist() == [QUICK, SLOW]
