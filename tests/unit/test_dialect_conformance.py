"""The dialects of the package keep what every dialect promises."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.models import Properties
from tasktools.testing import (
    DialectConformance,
    celery_message,
    document_body,
    properties,
    task_body,
)

OF_PROTOCOL_1 = {
    "id": "old-1", "task": "shop.send", "args": [1], "kwargs": {"to": "a@b"}, "retries": 2,
    "eta": None, "expires": None, "utc": True, "callbacks": None, "errbacks": None,
    "timelimit": [None, None], "taskset": None, "chord": None,
}  # fmt: skip
DEAD = {
    "queue_name": "mail.DQ", "actor_name": "send", "args": [7], "kwargs": {"to": "a@b"},
    "options": {"retries": 3, "traceback": "Traceback …", "eta": 1, "requeue_timestamp": 2},
    "message_id": "m-1", "message_timestamp": 1_753_000_000_123,
}  # fmt: skip


class TestCelery(DialectConformance):
    dialect: ClassVar[Dialect] = CELERY
    written = (
        celery_message(args=[1], kwargs={"to": "a@b"}, retries=2),
        (json.dumps(OF_PROTOCOL_1).encode(), Properties(content_type="application/json")),
    )


class TestDramatiq(DialectConformance):
    dialect: ClassVar[Dialect] = DRAMATIQ
    written = ((json.dumps(DEAD).encode(), Properties(delivery_mode=2)),)


class TestFastpluggy(DialectConformance):
    dialect: ClassVar[Dialect] = FASTPLUGGY
    written = ((task_body(), properties()),)


class TestTaskworker(DialectConformance):
    dialect: ClassVar[Dialect] = TASKWORKER
    written = ((task_body(), properties()), (document_body(), properties()))


class TestPlain(DialectConformance):
    dialect: ClassVar[Dialect] = PLAIN
    written = (
        (b'{"order": 7}', Properties(message_id="m-1", type="OrderPlaced")),
        (b"[7]", Properties(message_id="m-2", headers={"tenant": "t-1"})),
    )
    arguments: ClassVar[Any] = (([], {}), ([1, None, [True]], {}), ([], {"to": "a@b", "ü": [1.5]}))
