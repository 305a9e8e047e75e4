"""Messages that are composed for other workers: decoded again they say the same."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.clock import ManualClock, moment
from tasktools.core.dialects import registry
from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.errors import InvalidTask
from tasktools.core.models import Outgoing, Properties
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import Composer, FunctionNames

MANY = settings(max_examples=100, deadline=None, derandomize=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
ARGS, KWARGS = st.lists(JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=3)
HEADERS = st.dictionaries(
    TEXT.filter(bool).map("own-{}".format), st.booleans() | st.integers(-9, 9) | TEXT, max_size=3
)
NOW = moment(ManualClock().time())
ALL = (CELERY, DRAMATIQ, FASTPLUGGY, TASKWORKER, PLAIN)
OTHERS = (CELERY, DRAMATIQ, PLAIN)
NAME = "shop.mail:send"


def composed(dialect: Dialect, payload: dict[str, Any], **options: Any) -> Outgoing:
    composer = Composer(lambda _topic: dialect, ManualClock(), FunctionNames())
    return composer.compose("mail", {"task_name": NAME} | payload, **options)


@pytest.mark.parametrize("dialect", ALL, ids=lambda each: each.name)
@given(args=ARGS, kwargs=KWARGS, headers=HEADERS)
@MANY
def test_what_is_composed_is_decoded_as_it_was(
    dialect: Dialect, args: Any, kwargs: Any, headers: Any
) -> None:
    if dialect is PLAIN and args:
        kwargs = {}
    message = composed(dialect, {"args": args, "kwargs": kwargs}, headers=headers)
    task = codec.decode(message.body, message.properties, dialect)
    assert (task.problem, task.unreadable) == (None, None)
    assert dialect.reads(registry.named(task.dialect or ""))
    assert (task.args or [], task.kwargs or {}) == (args, kwargs)
    assert headers.items() <= task.headers.items()
    assert (task.task_id, task.task_name) == (message.task_id, message.task_name)
    assert (task.published_at, task.expires_at, task.error) == (NOW, None, None)
    assert task.attempts in (0, None)


def test_a_message_of_celery_has_all_headers_of_its_protocol() -> None:
    message = composed(CELERY, {"args": [1], "kwargs": {"to": "a@b"}}, priority=3)
    body, sent = json.loads(message.body), message.properties
    assert body[:2] == [[1], {"to": "a@b"}]
    assert body[2] == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert sent.headers == {
        "lang": "py", "task": NAME, "id": message.task_id, "shadow": None, "eta": None,
        "expires": None, "group": None, "group_index": None, "retries": 0,
        "timelimit": [None, None], "root_id": message.task_id, "parent_id": None,
        "argsrepr": "(1,)", "kwargsrepr": "{'to': 'a@b'}", "origin": sent.headers["origin"],
        "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    assert sent.headers["origin"].startswith("tasktools@")
    assert sent.correlation_id == message.task_id
    assert (sent.content_type, sent.content_encoding) == ("application/json", "utf-8")
    assert (sent.delivery_mode, sent.priority, sent.expiration) == (2, 3, None)
    assert (message.topic, message.queue, message.delay) == ("mail", "mail", 0.0)


def test_a_task_of_celery_has_a_delay_and_a_ttl_in_its_headers() -> None:
    message = composed(CELERY, {}, delay=60, ttl=3600)
    task = codec.decode(message.body, message.properties, CELERY)
    assert task.expires_at == NOW + timedelta(hours=1)
    assert message.properties.headers["eta"] == (NOW + timedelta(minutes=1)).isoformat()
    assert (message.properties.expiration, message.delay) == (None, 0.0)


def test_long_arguments_are_repeated_in_part() -> None:
    headers = composed(CELERY, {"args": ["x" * 5_000]}).properties.headers
    assert len(headers["argsrepr"]) == 1_024
    assert headers["argsrepr"].endswith("...")


def test_a_message_of_dramatiq_is_as_its_client_writes_it() -> None:
    message = composed(DRAMATIQ, {"args": [1]}, headers={"max_retries": 3}, priority=3)
    assert json.loads(message.body) == {
        "queue_name": "mail", "actor_name": NAME, "args": [1], "kwargs": {},
        "options": {"max_retries": 3, "broker_priority": 3}, "message_id": message.task_id,
        "message_timestamp": round(NOW.timestamp() * 1000),
    }  # fmt: skip
    assert message.properties == Properties(delivery_mode=2, priority=3)
    assert (message.topic, message.queue) == ("mail", "mail")


def test_a_delayed_message_of_dramatiq_waits_in_a_queue_of_its_own() -> None:
    message = composed(DRAMATIQ, {}, delay=60, ttl=3600)
    data, now = json.loads(message.body), round(NOW.timestamp() * 1000)
    assert (message.topic, message.queue, data["queue_name"]) == ("mail", "mail.DQ", "mail.DQ")
    assert data["options"] == {"eta": now + 60_000, "max_age": 3_600_000}
    task = codec.decode(message.body, message.properties, DRAMATIQ)
    assert (task.topic, task.expires_at) == ("mail", NOW + timedelta(hours=1))


def test_a_plain_message_needs_no_name() -> None:
    composer = Composer(lambda _topic: PLAIN, ManualClock(), FunctionNames())
    message = composer.compose("orders", {"kwargs": {"order": 7}}, {"tenant": "t-1"}, ttl=5)
    sent = message.properties
    assert (message.body, message.queue, sent.type) == (b'{"order": 7}', "orders", None)
    assert (sent.headers, sent.expiration, sent.content_type) == (
        {"tenant": "t-1"}, "5000", "application/json"
    )  # fmt: skip
    assert sent.message_id == message.task_id
    assert composed(PLAIN, {"args": [1]}).properties.type == NAME


@pytest.mark.parametrize("dialect", OTHERS, ids=lambda each: each.name)
def test_queues_of_others_may_have_any_name(dialect: Dialect) -> None:
    composer = Composer(lambda _topic: dialect, ManualClock(), FunctionNames())
    assert composer.compose("a.*.dead", {"task_name": NAME}).queue == "a.*.dead"
    for name in ("", "\ud800", "a\x00b"):
        with pytest.raises(InvalidTask, match=r"cannot be a queue: .* nothing was published"):
            composer.compose(name, {"task_name": NAME})


@pytest.mark.parametrize(
    ("dialect", "payload", "options", "why"),
    [
        (CELERY, {"task_name": None}, {}, "no task_name"),
        (DRAMATIQ, {"task_name": None}, {}, "no task_name"),
        (CELERY, {"task_name": ""}, {}, "task_name is empty"),
        (PLAIN, {"task_name": 7}, {}, "task_name is int, not str"),
        (CELERY, {"args": {}}, {}, "args is dict, not list"),
        (DRAMATIQ, {"kwargs": []}, {}, "kwargs is list, not dict"),
        (CELERY, {"task_id": 7}, {}, "task_id is int, not str"),
        (DRAMATIQ, {"lock_name": "x"}, {}, "lock_name, for which a message of Dramatiq has no pla"),
        (CELERY, {}, {"headers": {"expires": "x"}}, "expires, which a message of Celery has for i"),
        (DRAMATIQ, {}, {"headers": {"eta": 1}}, "eta, which a message of Dramatiq has for itself"),
        (CELERY, {}, {"headers": {"own": 2**64}}, "the headers cannot be written .*64 bits"),
        (PLAIN, {}, {"headers": {1: 2}}, "the headers cannot be written"),
        (PLAIN, {"args": [1], "kwargs": {"a": 1}}, {}, "not both"),
        (PLAIN, {}, {"delay": 1}, "no delay"),
        (CELERY, {"args": [{1, 2}]}, {}, "cannot be written as JSON"),
        (DRAMATIQ, {"args": [float("nan")]}, {}, "cannot be written as JSON"),
        (PLAIN, {"args": ["x" * 17_000_000]}, {}, "RabbitMQ 4 takes 16 MiB"),
        (CELERY, {}, {"priority": 256}, "priority 256"),
        (DRAMATIQ, {}, {"ttl": 0}, "ttl is 0 s"),
    ],
)
def test_what_a_dialect_cannot_say_is_refused(
    dialect: Dialect, payload: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidTask, match=why) as refused:
        composed(dialect, payload, **options)
    assert "nothing was published" in str(refused.value)
