"""Dead letters as rows: what they, the broker and worker events say of a death."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.amqp import failure_headers, replay_header, x_death
from tasktools.core.frames.messages import DeadLetters, ErrorText, fingerprint_of
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import DEAD_LETTERS
from tasktools.core.models import SeenMessage
from tasktools.core.redaction import MASKED, Redaction
from tasktools.core.tasks import codec
from tasktools.monitor.caches import ErrorCache
from tasktools.testing import PUBLISHED, death, properties, task_body, task_event, task_payload
from tasktools.testing.factories import failure

LATER = PUBLISHED + timedelta(seconds=5)
FAILED: dict[str, Any] = failure_headers.to_headers(failure(failed_at=LATER))


def seen(body: bytes | None = None, **headers: Any) -> SeenMessage:
    body = task_body() if body is None else body
    message_properties = properties(headers=headers)
    return SeenMessage(
        key="k0",
        position=0,
        task=codec.decode(body, message_properties),
        properties=message_properties,
        deaths=x_death.parse(headers),
        redelivered=True,
        size=len(body),
    )


def died(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"x-death": list(entries)}


def row(
    message: SeenMessage,
    *,
    errors: Callable[[str], ErrorText | None] = lambda _task_id: None,
    topic: str | None = "emails",
    reveal: bool = False,
) -> dict[str, Any]:
    rows = DeadLetters(
        "emails.dead", topic=topic, heard_error=errors, redaction=Redaction(reveal=reveal)
    )
    rows.add(message, b"")
    (record,) = rows.table().frame().to_dict("records")
    return {str(name): None if value is pd.NA else value for name, value in record.items()}


# --- what the message says -----------------------------------------------------------


def test_a_row_has_all_that_the_message_says_of_its_task() -> None:
    body = task_body(payload=task_payload(task_id="t", args=[1], kwargs={"to": "a"}), attempts=2)
    record = row(seen(body))
    assert {name: record[name] for name in ("key", "queue", "position", "task_id", "topic")} == {
        "key": "k0",
        "queue": "emails.dead",
        "position": 0,
        "task_id": "t",
        "topic": "emails",
    }
    assert (record["args"], record["kwargs"], record["attempts"]) == ([1], {"to": "a"}, 2)
    assert (record["published_at"], record["size"]) == (PUBLISHED, len(body))
    assert record["task_name"] == "send_email"
    assert record["problem"] is None


def test_a_worker_of_ours_says_what_went_wrong() -> None:
    record = row(seen(**FAILED))
    assert (record["reason"], record["deaths"], record["replays"]) == ("failed", 1, 0)
    assert record["error_type"] == "smtplib.SMTPServerDisconnected"
    assert record["error"] == "please run connect() first"
    assert record["fingerprint"] == "SMTPServerDisconnected: please run connect() first"
    assert record["first_death"] == record["last_death"] == LATER


def test_an_error_with_a_traceback_says_where_it_was_raised() -> None:
    trace = 'Traceback (most recent call last):\n  File "/srv/mail.py", line 3, in send\nE: x\n'
    headers: dict[str, Any] = dict(
        failure_headers.to_headers(failure(error="late", traceback=trace))
    )
    record = row(seen(**headers))
    assert record["error_kind"] == "SMTPServerDisconnected in mail.py:send"
    assert record["fingerprint"] == "SMTPServerDisconnected: late"
    assert record["fingerprint_why"].startswith("kind: the type, and the innermost frame")
    without = row(seen(**died(death())))
    assert without["error_kind"] == without["fingerprint"] == "rejected in emails"
    assert without["fingerprint_why"].startswith("no error was reported")


def test_the_broker_says_why_how_often_and_since_when() -> None:
    entries = (death(reason="expired", time=LATER, count=2), death(reason="rejected", count=3))
    record = row(seen(**died(*entries)))
    assert (record["reason"], record["deaths"]) == ("expired", 5)
    assert (record["first_death"], record["last_death"]) == (PUBLISHED, LATER)
    assert (record["error_type"], record["error"]) == (None, None)
    assert record["fingerprint"] == "expired in emails"


def test_deaths_of_both_kinds_add_up() -> None:
    record = row(seen(**died(death(count=2)), **FAILED))
    assert (record["deaths"], record["reason"]) == (3, "failed")
    assert (record["first_death"], record["last_death"]) == (PUBLISHED, LATER)


def test_an_error_of_a_former_life_is_not_told() -> None:
    since = LATER + timedelta(seconds=1)
    record = row(seen(**died(death(reason="delivery_limit", time=since)), **FAILED))
    assert (record["reason"], record["deaths"], record["error"]) == ("delivery_limit", 1, None)
    assert record["fingerprint"] == "delivery_limit in emails"


def test_a_death_whose_time_is_not_known_leaves_the_workers_word() -> None:
    assert row(seen(**died(death(time=None)), **FAILED))["reason"] == "failed"


def test_an_error_of_which_only_half_is_told() -> None:
    headers: dict[str, Any] = failure_headers.to_headers(
        failure(error_type="", error="the bank said no")
    )
    record = row(seen(**headers))
    assert (record["error_type"], record["error"]) == (None, "the bank said no")
    headers = dict(failure_headers.to_headers(failure(error_type="", error="", reason="timed out")))
    bare = row(seen(**headers))
    assert (bare["error"], bare["fingerprint"]) == (None, "timed out")


def test_replays_are_counted() -> None:
    header: dict[str, Any] = {replay_header.HEADER: '{"count": 3}'}
    assert row(seen(**header))["replays"] == 3


def test_what_is_no_task_has_a_row_that_says_why() -> None:
    record = row(seen(b"\xff", **died(death())))
    assert record["problem"] == "the body is not JSON"
    assert record["fingerprint"] == "no task: the body is not JSON"
    assert (record["topic"], record["task_id"], record["kwargs"]) == ("emails", None, None)


def test_a_message_that_did_not_die_says_so() -> None:
    record = row(seen())
    assert (record["deaths"], record["reason"], record["fingerprint"]) == (0, None, "did not die")
    assert record["first_death"] is pd.NaT


@pytest.mark.parametrize(
    "lies",
    [
        {"x-death": "lies"},
        {"x-death": [{"count": "lies", "queue": 3}, None]},
        {"x-tasktools-reason": "lies", "x-tasktools-failed-at": "never"},
        {"x-tasktools-reason": "failed"},
        {replay_header.HEADER: "lies"},
        {replay_header.HEADER: 7},
    ],
    ids=str,
)
def test_headers_that_lie_are_not_believed(lies: dict[str, Any]) -> None:
    record = row(seen(**lies))
    assert (record["deaths"], record["reason"], record["replays"]) == (0, None, 0)


# --- secrets -------------------------------------------------------------------------

SECRET = seen(
    task_body(payload=task_payload(kwargs={"password": "geheim", "dsn": "geheim"})),
    **failure_headers.to_headers(failure(error="amqp://u:geheim@host refused")),
)


def test_secrets_are_masked_in_arguments_and_errors() -> None:
    record = row(SECRET)
    assert record["kwargs"] == {"password": MASKED, "dsn": MASKED}
    assert record["error"] == "amqp://u:•••@host refused"
    assert "geheim" not in f"{record} {fingerprint_of(SECRET)}"


def test_secrets_are_shown_where_that_was_asked_for() -> None:
    record = row(SECRET, reveal=True)
    assert record["kwargs"]["password"] == "geheim"
    assert record["error"] == "amqp://u:geheim@host refused"
    assert "geheim" not in record["fingerprint"]


def test_a_long_error_is_shown_in_part() -> None:
    headers: dict[str, Any] = failure_headers.to_headers(failure(error="x" * 5000))
    error = row(seen(**headers))["error"]
    assert (len(error), error[-3:]) == (500, "xx…")


# --- what events say -----------------------------------------------------------------


def test_the_error_that_was_heard_is_told_where_the_message_has_none() -> None:
    record = row(seen(**died(death())), errors=lambda _task_id: ("Timeout", "after 5 s"))
    assert (record["error_type"], record["error"]) == ("Timeout", "after 5 s")
    assert (record["reason"], record["fingerprint"]) == ("rejected", "Timeout: after <n> s")


def test_the_messages_own_word_goes_first() -> None:
    record = row(seen(**FAILED), errors=lambda _task_id: ("Timeout", "after 5 s"))
    assert record["error_type"] == "smtplib.SMTPServerDisconnected"


def test_events_of_a_peer_are_joined_by_the_id_of_the_task() -> None:
    with Cluster(MemoryBroker()) as cluster:
        cluster.create_topic("emails")
        cluster.topics()  # from now on it hears
        ids = [cluster.publish("emails", "send") for _ in range(2)]
        event = task_event("task_failed", ids[1], error="no <b> 7", error_type="OSError")
        cluster.broker.broadcast(event)
        cluster.broker.broadcast(task_event("task_completed", ids[0]))
        for _ in ids:
            delivery = cluster.broker.claim("emails", "w")
            assert delivery is not None
            cluster.broker.nack(delivery.id, requeue=False)
        dead = cluster.dead_letters("emails")
    assert dead["error"].tolist() == [pd.NA, "no <b> 7"]
    assert dead["fingerprint"].tolist() == ["rejected in emails", "OSError: no <b> <n>"]


def test_the_last_error_that_was_heard_counts_and_no_other_event() -> None:
    errors = ErrorCache()
    errors.handle_event(task_event("task_failed", "t", error="first", error_type="A"))
    errors.handle_event(task_event("task_failed", "t", error="y" * 9999, error_type="B"))
    errors.handle_event(task_event("task_completed", "u"))
    errors.handle_event(task_event("task_failed", "v"))
    assert errors.get("t") == ("B", "y" * 1999 + "…")
    assert errors.get("u") is None
    assert errors.get("v") is None


def test_errors_are_remembered_in_bounded_memory() -> None:
    errors = ErrorCache(max_errors=2)
    for task_id in ("a", "b", "a", "c"):
        errors.handle_event(task_event("task_failed", task_id, error=task_id))
    assert [errors.get(task_id) for task_id in "abc"] == [(None, "a"), None, (None, "c")]


# --- frames --------------------------------------------------------------------------


def test_the_frame_has_its_schema_also_when_it_is_empty() -> None:
    dtypes = {c.name: DTYPES[c.kind] for c in DEAD_LETTERS.columns}
    rows = DeadLetters("q", topic=None, heard_error=lambda _task_id: None, redaction=Redaction())
    assert dict(rows.table().frame().dtypes.astype(str)) == dtypes
    rows.add(seen(), b"")
    rows.add(seen(b"\xff", **FAILED), b"")
    assert dict(rows.table().frame().dtypes.astype(str)) == dtypes
    assert rows.table().frame()["topic"].tolist() == ["emails", pd.NA]


def test_what_the_columns_come_from_and_what_the_look_cost_is_told() -> None:
    with Cluster(MemoryBroker()) as cluster:
        cluster.create_topic("emails")
        frame = cluster.dead_letters("emails")
    columns = frame.attrs["sources"]["look"]["columns"]
    assert columns == [column.name for column in DEAD_LETTERS.columns]
    assert frame.attrs["looks"][0]["queue"] == "emails.dead"
    assert frame.attrs["looks"][0]["cost"] == "harmless"


def test_one_message_is_found_by_its_key_with_its_secrets() -> None:
    with Cluster(MemoryBroker()) as cluster:
        for n in range(3):
            cluster.publish("emails", "send", kwargs={"password": f"geheim{n}"}, create=True)
        key = cluster.peek("emails")["key"][1]
        message = cluster.message("emails", key)
        assert message is not None
        assert message.task.kwargs == {"password": "geheim1"}
        assert cluster.message("emails", "no such key") is None
