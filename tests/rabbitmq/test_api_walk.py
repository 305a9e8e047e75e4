"""The public API with a broker that answers with each AMQP error code, at each of its methods."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.models import Failure
from tasktools.testing import eventually, task_body, worker_event
from tests.conftest import Connect
from tests.rabbitmq.answering import WORDS, AnsweringProxy, Scope
from tests.support import Raw
from tests.timing import within
from tests.vhosts import Vhost

TIMEOUT: Final = 2.0  # seconds: that of `connect`
LIMIT: Final = 10.0  # seconds: a call may connect again, ask again and look for what comes back
ERRORS: Final[list[tuple[Scope, int]]] = [
    *(("channel", code) for code in (311, 312, 313, 403, 404, 405, 406, 500, 506, 540, 541)),
    *(
        ("connection", code)
        for code in (320, 402, 403, 404, 501, 502, 503, 504, 505, 506, 530, 540, 541)
    ),
]
FAILURE: Final = Failure(
    reason="failed", error_type="E", error="e", failed_at=pd.Timestamp.now("UTC").to_pydatetime()
)

Call = Callable[[tt.Cluster], Any]


def a_lock(cluster: tt.Cluster) -> None:
    lock = cluster.broker.acquire_lock("backup")
    if lock is not None:
        lock.release()


def a_claim(settle: Callable[[Any, str], Any]) -> Call:
    def call(cluster: tt.Cluster) -> None:
        delivery = cluster.broker.claim("claimed", "w")
        assert delivery is not None
        settle(cluster.broker, delivery.id)

    return call


def a_run(cluster: tt.Cluster) -> None:
    frame = cluster.dead_letters("emails")
    if len(frame):
        cluster.run(cluster.plan_replay(frame), reason="walk", progress=False)


CALLS: Final[dict[str, Call]] = {
    "workers": lambda c: c.workers(),
    "topics": lambda c: c.topics(),
    "stats": lambda c: c.stats(),
    "locks": lambda c: c.locks(),
    "active_tasks": lambda c: c.active_tasks(),
    "active_tasks_of": lambda c: c.active_tasks("emails"),
    "topic_settings": lambda c: c.topic_settings(),
    "dead_letters": lambda c: c.dead_letters("emails"),
    "peek": lambda c: c.peek("emails"),
    "message": lambda c: c.message("emails", "no such key"),
    "run": a_run,
    "publish": lambda c: c.publish("emails", "shop:send"),
    "publish_create": lambda c: c.publish("emails", "shop:send", create=True),
    "publish_later": lambda c: c.publish("emails", "shop:send", delay=600),
    "publish_many": lambda c: c.publish_many(
        pd.DataFrame({"topic": ["emails"] * 3, "task_name": ["shop:send"] * 3})
    ),
    "create_topic": lambda c: c.create_topic("emails"),
    "configure_topic": lambda c: c.configure_topic("emails", max_retries=1),
    "tap": lambda c: c.tap("tasktools.tap.walk"),
    "published": lambda c: c.published(tap="tasktools.tap.walk"),
    "untap": lambda c: c.untap("tasktools.tap.walk"),
    "setup": lambda c: c.broker.setup(),
    "connect": lambda c: c.broker.connect(),
    "ensure_topic": lambda c: c.broker.ensure_topic("emails"),
    "topic_exists": lambda c: c.broker.topic_exists("emails"),
    "queue_exists": lambda c: c.broker.queue_exists("emails.dead"),
    "known_topics": lambda c: c.broker.known_topics(),
    "look_verdict": lambda c: c.broker.look_verdict("emails"),
    "purge": lambda c: c.broker.purge("purged"),
    "broadcast": lambda c: c.broker.broadcast(worker_event()),
    "listen": lambda c: c.broker.listen(lambda _event: None)(),
    "overhear": lambda c: c.broker.overhear(lambda *_message: None)(),
    "consume": lambda c: c.broker.consume("idle", lambda _: None, prefetch=1).cancel(),
    "acquire_lock": a_lock,
    "force_release_lock": lambda c: c.broker.force_release_lock("backup"),
    "ack": a_claim(lambda broker, name: broker.ack(name)),
    "nack": a_claim(lambda broker, name: broker.nack(name)),
    "nack_later": a_claim(lambda broker, name: broker.nack(name, delay=600)),
    "dead_letter": a_claim(lambda broker, name: broker.dead_letter(name, FAILURE)),
}
SLOW: Final = ("published", "topics", "stats", "active_tasks", "active_tasks_of")
"""Calls that try again for seconds, which get a sixth of the errors."""


@pytest.fixture
def answering(vhost: Vhost) -> Iterator[AnsweringProxy]:
    proxy = AnsweringProxy(urlsplit(vhost.dsn).port or 5672)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("name", CALLS)
def test_no_amqp_error_gets_out_as_anything_but_an_error_of_ours(
    connect: Connect, vhost: Vhost, raw: Raw, answering: AnsweringProxy, name: str
) -> None:
    """Issue 11, rule behind them: whatever code RabbitMQ answers to whatever method, a call returns
    or raises an error of ours in time, and the next call works."""
    cluster = connect()
    for topic in ("emails", "purged", "claimed", "idle"):
        cluster.create_topic(topic)
    cluster.configure_topic("emails", max_retries=2)
    cluster.tap("tasktools.tap.walk")
    for n in range(len(ERRORS) + 5):
        raw.put("claimed", task_body(message_id=f"m{n}", topic="claimed"))
    for n in range(3):
        raw.put("emails.dead", task_body(message_id=f"d{n}", topic="emails"))
    dsn = vhost.dsn.replace(f":{urlsplit(vhost.dsn).port}", f":{answering.port}")
    walker = connect(dsn, management_url=False, topics=["emails"], timeout=TIMEOUT)
    call = CALLS[name]
    call(walker)
    answering.pass_all()
    call(walker)
    methods = max(answering.pass_all(), 1)
    errors = ERRORS[::6] if name in SLOW else ERRORS
    for at, (scope, code) in zip(itertools.cycle(range(methods)), errors, strict=False):
        answering.fail(at, scope, code)
        error = error_of(lambda: call(walker))
        answering.pass_all()
        if error is not None:
            assert "guest:guest" not in str(error)
            # A 404 is said in other words; a look is refused where arguments cannot be seen.
            # A 405 of an exclusive queue says that somebody else has it.
            is_plain = code in (404, 405) or isinstance(error, tt.LookRefused)
            # RabbitMQ has not closed the channel that the proxy says is closed, so its number
            # may be opened a second time.
            is_plain = is_plain or "second 'channel.open' seen" in str(error)
            assert is_plain or WORDS in str(error), (at, scope, code, error)
        eventually(lambda: error_of(lambda: walker.broker.topic_exists("emails")) is None)
    assert walker.broker.topic_exists("emails")
    eventually(lambda: walker.broker.cluster_state().events.ok)


def error_of(call: Callable[[], Any]) -> tt.TaskToolsError | None:
    """Return the error of ours that *call* raises, in time; any other is raised."""
    with within(LIMIT):
        try:
            call()
        except tt.TaskToolsError as error:
            return error
    return None
