"""Dialects: each message is read by its own, and by the dialect of its queue if it has none."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tasktools.core.dialects import foreign_errors, registry, tracebacks
from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.errors import MalformedDSN
from tasktools.core.models import Properties, ReportedError
from tasktools.core.tasks import codec
from tasktools.testing import celery_message, document_body, task_body

ACTED: dict[str, Any] = {
    "queue_name": "mail.DQ",
    "actor_name": "send",
    "args": [7],
    "kwargs": {"to": "a@b"},
    "options": {
        "retries": 3,
        "max_retries": 3,
        "eta": 1_753_000_000_000,
        "traceback": "Traceback (most recent call last):\n"
        '  File "/srv/shop/mail.py", line 4, in send\n'
        "    raise OutOfStock(7)\n"
        "shop.OutOfStock: 7 of them\nare gone\n",
    },
    "message_id": "m-1",
    "message_timestamp": 1_753_000_000_123,
}


@pytest.mark.parametrize(
    ("body", "properties", "dialect"),
    [
        (task_body(), Properties(), FASTPLUGGY),
        (document_body(), Properties(), TASKWORKER),
        (*celery_message(), CELERY),
        (b'{"id": "c", "task": "shop.send", "args": [], "kwargs": {}}', Properties(), CELERY),
        (json.dumps(ACTED).encode(), Properties(), DRAMATIQ),
    ],
)
@pytest.mark.parametrize("of_queue", [FASTPLUGGY, CELERY, DRAMATIQ, PLAIN])
def test_a_message_is_read_by_its_own_dialect_in_any_queue(
    body: bytes, properties: Properties, dialect: Dialect, of_queue: Dialect
) -> None:
    task = codec.decode(body, properties, of_queue)
    assert (task.dialect, task.problem) == (dialect.name, None)
    is_for_others = task.unreadable == f"it is a message of {dialect.title}"
    assert is_for_others is not of_queue.reads(dialect)


def test_a_message_of_dramatiq_says_what_it_is_and_how_it_failed() -> None:
    task = codec.decode(json.dumps(ACTED).encode(), Properties(), DRAMATIQ)
    assert (task.task_id, task.task_name, task.topic) == ("m-1", "send", "mail")
    assert (task.args, task.kwargs) == ([7], {"to": "a@b"})
    assert (task.attempts, task.max_retries, task.unreadable) == (3, 3, None)
    assert f"{task.published_at:%Y-%m-%d %H:%M:%S.%f}" == "2025-07-20 08:26:40.123000"
    assert task.error is not None
    assert (task.error.error_type, task.error.text) == ("shop.OutOfStock", "7 of them\nare gone")
    assert "traceback" not in task.headers


@pytest.mark.parametrize(
    "lie", [{"options": []}, {"message_timestamp": "now"}, {"message_timestamp": 10**400}]
)
def test_a_strange_message_of_dramatiq_is_read_as_far_as_it_goes(lie: dict[str, Any]) -> None:
    body = json.dumps(ACTED | lie).encode()
    assert codec.decode(body, Properties(), DRAMATIQ).task_name == "send"


def test_the_json_of_a_plain_queue_is_shown_as_it_is() -> None:
    order = {"order": 7, "customer": {"id": "c-1"}}
    message_properties = Properties(message_id="m-1", type="OrderPlaced", headers={"tenant": "t-1"})
    task = codec.decode(json.dumps(order).encode(), message_properties, PLAIN)
    assert (task.kwargs, task.args, task.headers) == (order, None, {"tenant": "t-1"})
    assert (task.task_id, task.task_name) == ("m-1", "OrderPlaced")
    assert (task.problem, task.unreadable) == (None, None)
    assert codec.decode(gzip.compress(b"[1]"), Properties(content_encoding="gzip"), PLAIN).args == [
        1
    ]


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"7", b'"text"', b"[" * 100_000])
def test_any_other_body_of_a_plain_queue_has_no_arguments_and_no_problem(body: bytes) -> None:
    task = codec.decode(body, Properties(), PLAIN)
    assert (task.args, task.kwargs, task.problem, task.dialect) == (None, None, None, "plain")


@pytest.mark.parametrize("dialect", [CELERY, DRAMATIQ])
def test_what_is_no_message_of_its_queue_has_a_problem(dialect: Dialect) -> None:
    task = codec.decode(b'{"order": 7}', Properties(), dialect)
    assert task.problem is not None
    assert task.unreadable == task.problem


SPRING = (
    "org.springframework.amqp.ListenerExecutionFailedException: Listener failed\n"
    "\tat org.springframework.Adapter.invoke(Adapter.java:152)\n"
    "Caused by: com.shop.OutOfStock: no. 7\n\tat com.shop.Mail.send(Mail.java:12)\n\t... 12 more\n"
)


@pytest.mark.parametrize(
    ("headers", "error_type", "text"),
    [
        (
            {"x-exception-message": "Listener failed", "x-exception-stacktrace": SPRING},
            "com.shop.OutOfStock",
            "no. 7",
        ),
        ({"x-exception-message": "no. 7"}, None, "no. 7"),
        (
            {"MT-Fault-ExceptionType": "Shop.OutOfStock", "MT-Fault-Message": "no. 7"},
            "Shop.OutOfStock",
            "no. 7",
        ),
        (
            {
                "NServiceBus.ExceptionInfo.ExceptionType": "Shop.OutOfStock",
                "NServiceBus.ExceptionInfo.Message": "no. 7",
                "NServiceBus.ExceptionInfo.StackTrace": "at Shop.Mail.Send()",
            },
            "Shop.OutOfStock",
            "no. 7",
        ),
    ],
)
def test_the_error_headers_of_common_clients_are_read(
    headers: dict[str, Any], error_type: str | None, text: str
) -> None:
    reported = codec.decode(b"{}", Properties(headers=headers), PLAIN).error
    assert reported is not None
    assert (reported.error_type, reported.text) == (error_type, text)


def test_headers_that_are_no_texts_report_no_error() -> None:
    assert foreign_errors.reported({"x-exception-message": 7, "MT-Fault-Message": [1]}) is None


@pytest.mark.parametrize("text", ["", "\n", "  \n  ", "Traceback (most recent call last):"])
def test_a_traceback_without_an_error_names_none(text: str) -> None:
    assert tracebacks.last_error(text) == (None, None)
    assert tracebacks.root_cause(text) == (None, None)


def test_a_reported_error_shows_no_secret() -> None:
    error = ReportedError(error_type="E", text="password=hunter2-plain", traceback=None)
    assert "hunter2" not in repr(error)


def test_a_dialect_has_one_name() -> None:
    names = [dialect.name for dialect in registry.installed()]
    assert len(names) == len(set(names))
    assert all(registry.named(name).name == name for name in names)
    with pytest.raises(MalformedDSN, match=r"no dialect 'sidekiq', only celery, .*nothing was"):
        registry.named("sidekiq")


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (b"no JSON", "application/json", "the body is not JSON"),
        (b"[1]", "application/json", "the Celery body is not [args, kwargs, embed]"),
        (b"\x80\x04", "application/x-python-serialize", None),
        (b"[[], {}, {}]", "application/json", None),
    ],
)
def test_a_body_that_a_worker_of_celery_acknowledges_unrun_is_unreadable(
    body: bytes, content_type: str, why: str | None
) -> None:
    """Celery 5.7 acknowledges what it cannot decode, and what is pickled we cannot tell."""
    _, message_properties = celery_message(content_type=content_type)
    assert codec.decode(body, message_properties, CELERY).unreadable == why


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_json_that_is_no_plain_utf_8_is_shown_and_not_sent_to_who_cannot_read_it(
    encoding: str,
) -> None:
    """Issue 11, row 3: of Celery and Dramatiq, too, which read UTF-8 alone."""
    task = {"queue_name": "q", "actor_name": "a", "args": [], "kwargs": {}, "options": {}}
    of_dramatiq = json.dumps(task | {"message_id": "m", "message_timestamp": 1})
    headers = {"task": "a", "id": "c"}
    for dialect, text, sent in (
        (CELERY, "[[], {}, {}]", Properties(headers=headers, content_type="application/json")),
        (DRAMATIQ, of_dramatiq, Properties()),
    ):
        assert codec.decode(text.encode(), sent, dialect).unreadable is None
        read = codec.decode(text.encode(encoding), sent, dialect)
        assert (read.task_name, read.args, read.problem) == ("a", [], None)
        assert read.unreadable is not None
