"""Bodies of task messages, broken in many ways."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from tasktools.testing import celery_message, task_body, task_payload
from tasktools.testing.factories import document_body

FUNCTION = "peer_tasks:send_email"
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    float("nan"),
    10**30,
    "",
    "text",
    "\u0000",
    "\U0001f600",
    [],
    ["a"],
    {},
    {"a": 1},
)


def good(task_id: str, **changes: Any) -> bytes:
    """Return the body of a task that a worker of the peer runs."""
    return task_body(message_id=f"m-{task_id}", payload=_payload(task_id) | changes)


def _payload(task_id: str) -> dict[str, Any]:
    return task_payload(task_id=task_id, func_name=FUNCTION, kwargs={"to": task_id})


def unreadable() -> dict[str, bytes]:
    """Return bodies that a worker of the peer takes again for ever, by what is wrong."""
    text = good("t").decode()
    without_name = {k: v for k, v in _payload("t").items() if k != "func_name"}
    return {
        "the document's form": document_body(message_id="d"),
        "no func_name": task_body(payload=without_name),
        "a key too many": good("t", priority="high"),
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without a mark": text.encode("utf-16-le"),
        "Latin-1": good("t").replace(b'"unk"', b'"\xe4"'),
        "a raw surrogate": good("t").replace(b'"unk"', b'"\xed\xa0\x80"'),
        "a number that Python does not read": good("t").replace(b"[]", b"9" * 5000, 1),
        "a message of Celery": celery_message()[0],
        "a list": b"[1, 2]",
        "no JSON": b"hello",
        "no created_at": json.dumps({"id": "a", "topic": "emails", "payload": {}}).encode(),
        "a created_at that is none": task_body(payload=_payload("t"), created_at="yesterday"),
        "a payload that is null": json.dumps(json.loads(text) | {"payload": None}).encode(),
        "deep nesting": good("t").replace(b"[]", b"[" * 100_000 + b"]" * 100_000, 1),
    }


def mutated(count: int, seed: int) -> Iterator[bytes]:
    """Yield *count* bodies that are a good one with a few changes."""
    dice = random.Random(seed)
    for n in range(count):
        envelope = json.loads(good(f"task-{n}"))
        for _ in range(dice.randint(1, 2)):
            _change(envelope, dice)
        text = json.dumps(envelope, ensure_ascii=dice.random() < 0.5)
        yield text.encode("utf-8", "surrogatepass")


def _change(envelope: dict[str, Any], dice: random.Random) -> None:
    payload = envelope.get("payload")
    target = payload if isinstance(payload, dict) and dice.random() < 0.7 else envelope
    name = dice.choice([*target, "one_more"])
    if name == "id":
        return  # a peer knows its messages by it, so no two may have the same one
    match dice.choice(("remove", "replace", "nest", "escape")):
        case "remove":
            target.pop(name, None)
        case "replace":
            target[name] = copy.deepcopy(dice.choice(_VALUES))
        case "nest":
            value: Any = "deep"
            for _ in range(dice.randint(1, 120)):
                value = [value]
            target[name] = {"to": value} if name == "kwargs" else value
        case _:
            target[name] = dice.choice(("\ud800", "\ud83d\ude00", "a\ud800b"))
