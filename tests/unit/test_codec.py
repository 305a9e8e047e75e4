"""Task messages: three forms are read, everything else is kept with its problem."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.dialects import fastpluggy
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.tasks import codec
from tasktools.testing import (
    PUBLISHED,
    celery_message,
    document_body,
    properties,
    task_body,
    task_payload,
)

FEW = settings(max_examples=50, deadline=None, derandomize=True)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ENVELOPES = st.fixed_dictionaries(
    dict.fromkeys(fastpluggy.ENVELOPE, JSON),
    optional={"attempts": JSON, "headers": JSON, "more": JSON},
)


def decode(body: bytes, **message_properties: Any) -> TaskMessage:
    return codec.decode(body, properties(**message_properties))


def test_a_native_message_is_read() -> None:
    task = decode(task_body(payload=task_payload(args=[1], kwargs={"to": "ä"}), attempts=2))
    assert task == TaskMessage(
        dialect="fastpluggy",
        message_id="rmq:0d13e67f:1",
        task_id="b42a0d7e-7509-48f3-ac8b-d5af1248bbee",
        task_name="send_email",
        func_name="demo_tasks:send_email",
        topic="emails",
        args=[1],
        kwargs={"to": "ä"},
        headers={"type": "task"},
        attempts=2,
        published_at=PUBLISHED,
    )


def test_a_message_of_the_document_is_known_by_its_own_id() -> None:
    task = decode(document_body(kwargs={"to": "a@b"}))
    assert (task.dialect, task.task_name, task.func_name) == ("taskworker", "send_email", None)
    assert task.task_id == task.message_id == "rmq:0d13e67f:1"


def test_publication_is_the_inner_time_since_a_requeue_renews_the_outer_one() -> None:
    later = (PUBLISHED + timedelta(hours=2)).isoformat()
    assert decode(task_body(created_at=later)).published_at == PUBLISHED


def test_without_an_inner_time_publication_is_the_outer_one() -> None:
    later = PUBLISHED + timedelta(hours=2)
    assert decode(document_body(created_at=later.isoformat())).published_at == later


def test_a_celery_message_is_read() -> None:
    body, message_properties = celery_message(args=[1], kwargs={"to": "a@b"}, retries=2)
    task = codec.decode(body, message_properties)
    assert (task.dialect, task.task_name, task.attempts) == ("celery", "shop.tasks.send_email", 2)
    assert (task.args, task.kwargs, task.problem) == ([1], {"to": "a@b"}, None)
    assert task.task_id == task.message_id == message_properties.correlation_id


def test_a_pickled_celery_body_is_never_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("unpickled",))

    _, message_properties = celery_message(content_type="application/x-python-serialize")
    task = codec.decode(pickle.dumps(Bomb()), message_properties)
    assert (task.dialect, task.args, task.kwargs) == ("celery", None, None)
    assert "never unpickled" in (task.problem or "")


@pytest.mark.parametrize("body", [b"no JSON", b"{}", b"[1, {}]", b"[[], []]"])
def test_a_celery_body_that_is_no_call_has_a_problem(body: bytes) -> None:
    task = codec.decode(body, celery_message()[1])
    assert task.problem
    assert task.task_name == "shop.tasks.send_email"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'"\xff"', "not JSON"),
        (b"[1, 2]", "not an object"),
        (b"{}", "lacks id, topic, payload, created_at"),
        (task_body(payload={}).replace(b'"payload": {}', b'"payload": []'), "payload is not"),
        (task_body(created_at="yesterday"), "created_at is not a time"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_no_task_has_a_problem(body: bytes, problem: str) -> None:
    task = decode(body)
    assert task.dialect is None
    assert problem in (task.problem or "")
    assert (task.message_id, task.published_at) == ("rmq:0d13e67f:1", PUBLISHED)


@pytest.mark.parametrize("lie", [{"args": "abc"}, {"kwargs": [1]}, {"args": None}])
def test_arguments_of_the_wrong_type_are_a_problem(lie: dict[str, Any]) -> None:
    task = decode(task_body(payload=task_payload() | lie))
    assert (task.args, task.kwargs) == (None, None)
    assert task.problem
    assert task.task_name == "send_email"


def test_a_body_with_nan_is_read_as_a_peer_would() -> None:
    task = decode(task_body(payload=task_payload(kwargs={"ratio": float("nan")})))
    assert task.problem is None
    assert task.kwargs is not None
    assert task.kwargs["ratio"] != task.kwargs["ratio"]


def test_a_number_too_large_for_a_float_does_no_harm() -> None:
    body = task_body(attempts=0, more=float("nan")).replace(
        b'"attempts": 0', b'"attempts": 1' + b"0" * 400
    )
    assert decode(body).attempts is None


@FEW
@given(st.binary(), st.dictionaries(st.text(), JSON, max_size=3))
def test_decoding_never_raises_for_any_bytes(body: bytes, headers: dict[str, Any]) -> None:
    task = codec.decode(body, Properties(headers=headers))
    assert task.problem is not None or task.dialect == "celery"


@FEW
@given(ENVELOPES)
def test_decoding_never_raises_for_any_envelope(envelope: dict[str, Any]) -> None:
    task = codec.decode(json.dumps(envelope).encode(), Properties())
    assert task.problem is not None or isinstance(task.kwargs, dict)


@FEW
@given(ENVELOPES)
def test_counting_an_attempt_changes_nothing_else(envelope: dict[str, Any]) -> None:
    counted = codec.count_attempt(json.dumps(envelope).encode())
    assert counted is not None
    was, now = envelope.pop("attempts", 0), json.loads(counted)
    before = was if isinstance(was, int) and not isinstance(was, bool) and was >= 0 else None
    attempts = now.pop("attempts")
    assert now == envelope
    if before is not None and before < 2**53:
        assert attempts == before + 1


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"{}", b"\xff"])
def test_what_is_no_task_cannot_be_counted(body: bytes) -> None:
    assert codec.count_attempt(body) is None


def test_times_are_aware() -> None:
    published = decode(task_body()).published_at
    assert published == datetime(2026, 11, 24, 2, 49, 3, tzinfo=UTC)
    assert published.tzinfo is UTC
