"""The real Celery peer: it runs what is sent, and what dies goes where each queue says."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.testing import eventually
from tests.peer.celery_peer import CeleryPeer
from tests.support import Raw
from tests.vhosts import Vhost

NOTE = "h\u00e9 \U0001f600"
AS_SENT: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"serializer": "base64"},
    {"serializer": "pickle"},
    {"protocol": 1},
    {"countdown": 0.5},
    {"headers": {"tenant": "acme"}, "priority": 3},
]


@pytest.fixture
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


def test_a_task_is_run_as_it_was_sent(celery: CeleryPeer) -> None:
    """Compressed, in base64, pickled, of protocol 1, later, and with headers of its own."""
    ids = celery.submit_many(
        *(("shop.send_email", ["a@b"], {"note": NOTE}, options) for options in AS_SENT)
    )
    eventually(lambda: {line["id"] for line in celery.executed()} >= set(ids))
    for task_id in ids:
        (execution,) = celery.executed(task_id)
        assert (execution["args"], execution["kwargs"]) == (["a@b"], {"note": NOTE})
    assert celery.executed(ids[-1])[0]["headers"]["tenant"] == "acme"


def test_a_refused_task_dies_by_argument_or_by_policy(celery: CeleryPeer, raw: Raw) -> None:
    """A task that fails is acknowledged all the same; one that nobody knows dies as well."""
    in_mail = [
        celery.submit("shop.refuse"),
        celery.submit("shop.fail_late"),
        celery.submit("shop.no_such_task"),
    ]
    in_reports = celery.submit("shop.refuse", _options={"queue": "reports"})
    failed = celery.submit("shop.fail")
    eventually(lambda: raw.depth("mail.dlq") == 3)
    eventually(lambda: raw.depth("reports.dlq") == 1)
    eventually(lambda: celery.executed(failed))
    dead = [properties.headers["id"] for properties, _ in raw.read_all("mail.dlq")]
    assert sorted(dead) == sorted(in_mail)
    ((properties, _),) = raw.read_all("reports.dlq")
    assert properties.headers["id"] == in_reports


def test_a_message_that_a_worker_cannot_decode_is_lost(celery: CeleryPeer, raw: Raw) -> None:
    """It is acknowledged, although what dies in the queue has a queue to go to."""
    raw.put(
        "mail",
        b"no JSON",
        headers={"task": "shop.send_email", "id": "t-1"},
        content_type="application/json",
        content_encoding="utf-8",
    )
    after = celery.submit("shop.send_email", "a@b")
    eventually(lambda: celery.executed(after))
    assert [raw.depth("mail"), raw.depth("mail.dlq")] == [0, 0]


def test_a_task_is_tried_again_and_one_is_held_until_it_is_let_go(celery: CeleryPeer) -> None:
    charged, held = celery.submit("shop.charge", 7), celery.submit("shop.held", "a@b")
    eventually(lambda: [line["retries"] for line in celery.executed(charged)] == [0, 1])
    eventually(lambda: celery.executed(held))
    (running,) = celery.client("control", "active")
    assert [task["id"] for tasks in running.values() for task in tasks] == [held]
    celery.let_go()
    eventually(lambda: celery.client("control", "active") == [{"w0@shop": []}])
