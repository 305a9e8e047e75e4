"""Changes that a replay makes in a message: the edits of its plan, and what its dialect resets."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.errors import InvalidPlan
from tasktools.core.models import Properties
from tasktools.core.redaction import MASKED
from tasktools.core.tasks import codec
from tasktools.core.tasks.amendment import amended
from tasktools.core.tasks.edits import REMOVE, EditDoesNotFit
from tasktools.testing import celery_message, document_body, properties, task_body, task_payload
from tests.unit.json_values import ARGUMENTS, NAMES

MANY = settings(max_examples=200, deadline=None, derandomize=True)


def native(args: Any = (), kwargs: Any = None, **more: Any) -> bytes:
    payload = task_payload(kwargs={"to": "a@b"}) | {"args": list(args)}
    return task_body(payload=payload | ({} if kwargs is None else {"kwargs": kwargs}), **more)


def edited(
    body: bytes, changes: dict[str, Any], message_properties: Properties | None = None
) -> Any:
    return json.loads(applied(body, message_properties or properties(), changes))


def applied(body: bytes, properties: Properties, edits: dict[str, Any]) -> bytes:
    return both(body, properties, edits)[0]


def both(
    body: bytes,
    properties: Properties,
    edits: dict[str, Any],
    default: Dialect = FASTPLUGGY,
    queue: str = "mail",
) -> tuple[bytes, Properties]:
    """Return body and properties after *edits*, as they are sent to *queue*."""
    raw = amqp_properties.encode(properties)
    body, raw = amended(body, raw, edits, default, queue=queue)
    return body, amqp_properties.decode(raw)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("args.0", 7, ("payload", "args", 0)),
        ("args.1", "appended", ("payload", "args", 1)),
        ("kwargs.to", "x", ("payload", "kwargs", "to")),
        ("kwargs.new", "x", ("payload", "kwargs", "new")),
        ("kwargs.address.city", "Ulm", ("payload", "kwargs", "address", "city")),
        ("kwargs.address.lines.1", "b", ("payload", "kwargs", "address", "lines", 1)),
        ("headers.type", "x", ("headers", "type")),
        ("task_name", "x", ("payload", "task_name")),
        ("func_name", "m:f", ("payload", "func_name")),
        ("max_retries", 3, ("payload", "max_retries")),
        ("retry_delay", 1.5, ("payload", "retry_delay")),
        ("attempts", 0, ("attempts",)),
        ("args", [1, 2], ("payload", "args")),
        ("kwargs", {"a": None}, ("payload", "kwargs")),
    ],
)
def test_a_path_leads_to_its_place(path: str, value: Any, place: tuple[Any, ...]) -> None:
    body = native(["a"], {"to": "a@b", "address": {"lines": ["x", "y"]}}, attempts=3)
    expected = json.loads(body)
    *above, last = place
    parent = expected
    for key in above:
        parent = parent[key]
    if isinstance(parent, list):
        parent[last:] = [value]
    else:
        parent[last] = value
    assert edited(body, {path: value}) == expected


def test_a_document_has_the_same_paths() -> None:
    body = document_body(args=[1], kwargs={"to": "a@b"})
    result = edited(body, {"args.0": 2, "kwargs.to": REMOVE, "task_name": "x"})
    assert result["payload"] == {"task_name": "x", "args": [2], "kwargs": {}}


@given(
    args=st.lists(ARGUMENTS, max_size=3),
    kwargs=st.dictionaries(NAMES, ARGUMENTS, min_size=1, max_size=4),
    new=ARGUMENTS,
    data=st.data(),
)
@MANY
def test_only_the_edited_path_changes(
    args: list[Any], kwargs: dict[str, Any], new: Any, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(list(kwargs)))
    body = native(args, kwargs)
    assert applied(body, properties(), {f"kwargs.{name}": new}) == native(
        args, kwargs | {name: new}
    )
    others = {key: value for key, value in kwargs.items() if key != name}
    assert applied(body, properties(), {f"kwargs.{name}": REMOVE}) == native(args, others)


def test_without_edits_a_body_stays_as_it_is_written() -> None:
    assert applied(native(), properties(), {}) == native()


@pytest.mark.parametrize(
    "raw",
    [b"1.0", b"1e400", b"-0", b"NaN", b"9" * 4_000, b'"\\ud800"', b'"\\u00e4"', '"ä"'.encode(),
     b'"\xed\xa0\x80"', b'{"b":1, "a":2,"b":3}', b'{ "password" : "hunter2" }'],
)  # fmt: skip
def test_what_is_beside_an_edit_keeps_its_bytes(raw: bytes) -> None:
    body = native(kwargs={"beside": "RAW", "to": "a@b"}).replace(b'"RAW"', raw)
    result = applied(body, properties(), {"kwargs.to": "x"})
    assert result == body.replace(b"a@b", b"x")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kwargs.gone": REMOVE}, "kwargs.gone is not there"),
        ({"kwargs.address.city": "x"}, "kwargs.address is not there"),
        ({"kwargs.to.city": "x"}, "kwargs.to is neither an object nor an array"),
        ({"args.1": "x"}, "args.1 is not there"),
        ({"args.0": REMOVE}, "args.0 is not there"),
        ({"kwargs.list.x": 1}, "kwargs.list.x is not there"),
        ({"kwargs.twice": 1}, "kwargs.twice is there more than once"),
    ],
)
def test_an_edit_that_does_not_fit_says_why(change: dict[str, Any], why: str) -> None:
    body = native(kwargs={"to": "a@b", "list": [], "twice": 1, "TWICE": 2})
    with pytest.raises(EditDoesNotFit, match=why):
        applied(body.replace(b"TWICE", b"twice"), properties(), change)


@pytest.mark.parametrize(
    ("body", "message_properties"),
    [
        (b"no JSON", properties()),
        (b"{}", properties()),
        (native().decode().encode("utf-16"), properties()),
        (b"\x80\x04.", celery_message(content_type="application/x-python-serialize")[1]),
        (b"[[], {}, {}]", celery_message(content_type="text/plain")[1]),
        (b"[[]]", celery_message()[1]),
    ],
)
def test_a_body_that_is_no_task_cannot_be_edited(
    body: bytes, message_properties: Properties
) -> None:
    with pytest.raises(EditDoesNotFit, match=r"no task that can be edited|not JSON in UTF-8"):
        applied(body, message_properties, {"args.0": 1})


def test_arguments_that_are_none_can_be_mended() -> None:
    assert edited(native(kwargs="lost"), {"kwargs": {"to": "x"}})["payload"]["kwargs"] == {
        "to": "x"
    }


# --- fields of other dialects --------------------------------------------------------------


def test_a_masked_secret_is_never_written() -> None:
    with pytest.raises(InvalidPlan, match="stands for a secret"):
        applied(native(), properties(), {"kwargs.x": [MASKED]})


def test_a_field_of_celery_is_in_its_body_or_in_its_headers() -> None:
    body, sent = celery_message(args=[1, 2], kwargs={"to": "a@b"}, retries=3)
    changes = {"args.0": REMOVE, "kwargs.cc": "c@d", "attempts": 0, "task_name": "shop.mail",
               "expires_at": "2999-01-01T00:00:00+00:00", "headers.lang": REMOVE}  # fmt: skip
    new_body, new = both(body, sent, changes)
    assert json.loads(new_body) == [[2], {"to": "a@b", "cc": "c@d"}, json.loads(body)[2]]
    expires = {"expires": "2999-01-01T00:00:00+00:00"}
    assert new.headers == {"id": sent.headers["id"], "retries": 0, "task": "shop.mail", **expires}
    task = codec.decode(new_body, new)
    assert (task.task_name, task.attempts, str(task.expires_at)[:4]) == ("shop.mail", 0, "2999")
    assert both(new_body, new, {"expires_at": REMOVE})[1].headers.keys() & expires == set()


def test_what_celery_repeats_of_edited_arguments_is_taken_out() -> None:
    """Its worker would show the old ones in its log and events."""
    body, sent = celery_message(kwargs={"to": "a@b"})
    reprs = {"argsrepr": "()", "kwargsrepr": "{'to': 'a@b'}"}
    sent = properties(headers={**sent.headers, **reprs})
    _, new = both(body, sent, {"kwargs.to": "c@d"})
    assert new.headers.keys() & reprs.keys() == {"argsrepr"}


def test_the_headers_of_a_pickle_are_edited_and_its_body_is_not() -> None:
    _, sent = celery_message(content_type="application/x-python-serialize")
    body, new = both(b"\x80\x04.", sent, {"attempts": 7})
    assert (body, new.headers["retries"]) == (b"\x80\x04.", 7)


def test_the_paths_of_plain_json_are_its_own() -> None:
    order = b'{"order": 7.10, "customer": {"id": "c-1"}}'
    changes = {"kwargs.customer.id": "c-2", "headers.tenant": "t-2"}
    body, new = both(order, Properties(headers={"tenant": "t-1", "x": 1}), changes, PLAIN)
    assert (body, new.headers) == (order.replace(b"c-1", b"c-2"), {"tenant": "t-2", "x": 1})
    assert both(b"[1, 2]", Properties(), {"args.1": 3}, PLAIN)[0] == b"[1, 3]"
    assert both(b"no JSON", Properties(), {"headers.tenant": "t"}, PLAIN)[1].headers == {
        "tenant": "t"
    }


@pytest.mark.parametrize(
    ("body", "change", "default", "why"),
    [
        (b"7", {"kwargs.x": 1}, PLAIN, "kwargs is no field of a message of other programs"),
        (b"{}", {"kwargs.x": 1}, DRAMATIQ, "no message of Dramatiq"),
        (b"[]", {"headers.x.y": 1}, PLAIN, "headers.x.y is within a header"),
        (b"[]", {"headers.x": REMOVE}, PLAIN, "headers.x is not there"),
        (b"[]", {"headers.x-death": []}, PLAIN, "headers.x-death belongs to RabbitMQ"),
        (b"[]", {"headers.x": 2**64}, PLAIN, "its headers cannot be written: .* 64 bits"),
        (b"[]", {"headers.x": 1}, CELERY, "names no task of Celery"),
    ],
)
def test_what_a_dialect_has_no_place_for_is_refused(
    body: bytes, change: dict[str, Any], default: Dialect, why: str
) -> None:
    with pytest.raises(EditDoesNotFit, match=why):
        both(body, Properties(), change, default)


# --- what is reset -----------------------------------------------------------------------

ACTED = (
    b'{"queue_name":"mail.DQ","actor_name":"send","args":[1.50],"kwargs":{},"options":{"retries":'
    b'3, "max_retries":3,"traceback":"Traceback","eta":1,"requeue_timestamp":2,"mine":1E2},'
    b'"message_id":"m-1","message_timestamp":3}'
)
FRESH = (
    b'{"queue_name":"mail", "actor_name":"send", "args":[1.50], "kwargs":{}, "options":{"retries":0'
    b', "max_retries":3, "mine":1E2}, "message_id":"m-1", "message_timestamp":3}'
)


def test_a_message_of_dramatiq_begins_anew() -> None:
    assert applied(ACTED, Properties(), {}) == FRESH
    assert applied(FRESH, Properties(), {}) == FRESH


@pytest.mark.parametrize(
    ("queue", "name"), [("bills", "bills"), ("mail.DQ", "mail.DQ"), ("mail.XQ", "mail")]
)
def test_a_message_of_dramatiq_names_the_queue_that_it_is_sent_to(queue: str, name: str) -> None:
    body, _ = both(ACTED, Properties(), {}, DRAMATIQ, queue)
    assert body == FRESH.replace(b'"mail"', json.dumps(name).encode())
    assert both(b'{"a": 1}', Properties(), {}, DRAMATIQ, queue)[0] == b'{"a": 1}'


def test_an_edit_wins_over_what_is_reset() -> None:
    changes = {"attempts": 2, "headers.traceback": REMOVE, "kwargs.to": "a@b"}
    expected = FRESH.replace(b'"retries":0', b'"retries":2')
    assert applied(ACTED, Properties(), changes) == expected.replace(b"{}", b'{"to": "a@b"}')


@pytest.mark.parametrize(
    "lie", [{"options": []}, {"options": None}, {"queue_name": 7}, {"options": {"retries": "x"}}]
)
def test_a_strange_message_of_dramatiq_is_reset_as_far_as_it_goes(lie: dict[str, Any]) -> None:
    body = json.dumps({**json.loads(FRESH), **lie}).encode()
    result = applied(body, Properties(), {})
    assert json.loads(result)["options"] in (lie.get("options"), {"retries": 0}, {
        "retries": 0, "max_retries": 3, "mine": 100.0
    })  # fmt: skip
    assert applied(result, Properties(), {}) == result


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (native(), properties()),
        celery_message(retries=3),
        (b"\xff no JSON", Properties()),
        (b"no gzip", Properties(content_encoding="gzip")),
        (gzip.compress(b"{}", mtime=0), Properties(content_encoding="gzip")),
    ],
)
def test_without_edits_all_others_stay_byte_for_byte(body: bytes, sent: Properties) -> None:
    raw = amqp_properties.encode(sent)
    for default in (FASTPLUGGY, CELERY, DRAMATIQ, PLAIN):
        assert amended(body, raw, {}, default, queue="mail") == (body, raw)
