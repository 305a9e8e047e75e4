"""Hostile messages: they cost no more than their length, and secrets are masked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.support import Raw
from tests.vhosts import Vhost

HOSTILE = (
    "://" * 20_000,
    json.dumps([f"https://shop.example/{n}?size=xl" for n in range(5_000)], separators=(",", ":")),
    "password=" * 7_000,
    "http://u:p@h " * 5_000,
    "A" * 60_000,
)
_MAX_SECONDS = 2.0  # of the processor, for all of them; `'://' * 20000` alone took 17


def _body(*args: Any, **kwargs: Any) -> bytes:
    payload = {"task_name": "send", "args": list(args), "kwargs": kwargs}
    envelope = {"id": "m-1", "topic": "emails", "payload": payload}
    return json.dumps(envelope | {"created_at": "2026-11-24T12:00:00"}).encode()


@pytest.mark.parametrize("look", ["active_tasks", "dead_letters"])
def test_a_look_at_hostile_texts_is_quick(cluster: Any, raw: Raw, look: str) -> None:
    """Issue 11, row 18: one such message held up every look, the widgets and the board."""
    queue = raw.declare("emails" if look == "active_tasks" else "emails.dead")
    raw.declare("emails")
    for text in HOSTILE:
        error = {"x-tasktools-error": text[:20_000], "x-tasktools-error-type": text[:20_000]}
        failed = {"x-tasktools-reason": "failed", "x-tasktools-failed-at": "2026-11-24T12:00:00"}
        raw.put(queue, _body(text, to=text), headers={**error, **failed})
    begin = time.process_time()
    frame = getattr(cluster, look)("emails")
    assert time.process_time() - begin < _MAX_SECONDS
    assert len(frame) == len(HOSTILE)


SECRET = "hunter2-0f8Q"


def _dead(raw: Raw) -> None:
    kwargs = {
        "dsn": f"amqp://u:p@{SECRET}@h",
        "url": f"https://x/?a=1&password={SECRET}",
        "hook": f"https://{SECRET}@h/x",
        "env": [{"name": "PASSWORD", "value": SECRET}],
        "db_pass": SECRET,
        "nested": json.dumps({"user_jwt": SECRET}),
        f"amqp://u:{SECRET}@key": 1,
        "to": "ann@shop.example",
    }
    headers = {
        "x-tasktools-reason": "failed",
        "x-tasktools-failed-at": "2026-11-24T12:00:00",
        "x-tasktools-error-type": f"Refused.amqp://u:p@{SECRET}@h",
        "x-tasktools-error": f"password={SECRET} at postgres://app:p@{SECRET}@db",
        "x-tasktools-traceback": f'connect(password="{SECRET}")\nAuthorization: Bearer {SECRET}',
        "x-dsn": f"amqp://u:{SECRET}@h".encode(),
        "x-table": {"dsn": [f"amqp://u:{SECRET}@h".encode()], "n": 7},
    }
    raw.declare("emails")
    raw.put(raw.declare("emails.dead"), _body(f"--password={SECRET}", **kwargs), headers=headers)
    celery = {"task": "send", "id": "c-1", "x-dsn": f"amqp://u:p@{SECRET}@h".encode()}
    raw.put("emails.dead", b'[["a"], {}, {}]', headers=celery, content_type="application/json")


def test_no_frame_no_json_and_no_repr_shows_a_secret(cluster: Any, raw: Raw, vhost: Vhost) -> None:
    """Issue 11, secrets: what was promised masked, and what any operator expects to be."""
    _dead(raw)
    frame = cluster.dead_letters("emails")
    shown = [frame.to_dict("records"), frame.to_html(), cluster.peek("emails.dead").to_dict()]
    shown += [cluster.message("emails.dead", key) for key in frame["key"]]
    for command in (["dead", "emails", "--json"], ["dead", "emails"]):
        done = subprocess.run(
            [sys.executable, "-m", "tasktools.cli", *command],
            env={**os.environ, "BROKER_DSN": vhost.dsn},
            capture_output=True,
            text=True,
            check=True,
        )
        shown.append(done.stdout + done.stderr)
    for text in map(repr, shown):
        assert SECRET not in text
        assert "ann@shop.example" in text or "celery" in text
    (message, _) = [cluster.message("emails.dead", key) for key in frame["key"]]
    assert message.properties.headers["x-dsn"] == f"amqp://u:{SECRET}@h".encode()  # by attribute
    revealed = json.dumps(message.task.kwargs)
    assert revealed.count(SECRET) == 7
