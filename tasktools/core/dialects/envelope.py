"""The composer of fastpluggy's envelopes; it refuses tasks that a peer could not read.

A peer rebuilds its task with exactly the payload's keys as arguments. A payload that lacks
one of three keys, or has one too many, is republished there forever; so what goes to layout
`fp` is completed here, or refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tasktools.core.dialects import peer_form
from tasktools.core.dialects.draft import Draft, dumps
from tasktools.core.dialects.peer_form import PAYLOAD_FIELDS
from tasktools.core.errors import InvalidTask
from tasktools.core.models import Outgoing, Properties

FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""The form of the name of a function, ``module:function``."""


def of_peers(draft: Draft) -> Outgoing:
    """Return the message for *draft* as a peer reads it; its payload names the function.

    Raises `InvalidTask` for a key or type that a peer cannot read.
    """
    created_at = str(draft.now.replace(tzinfo=None))
    complete = {**_peer_defaults(draft.topic, created_at), **_payload(draft)}
    _check_for_peer(complete)
    _check(complete, ("task_id", "args", "kwargs"))
    message = _enveloped(draft, complete)
    why = peer_form.problem(message.body)
    if why is not None:
        raise InvalidTask(f"a peer cannot read the task: {why}; nothing was published.")
    return message


def of_document(draft: Draft) -> Outgoing:
    """Return the message for *draft* in the form of the document; raises `InvalidTask`."""
    payload = _payload(draft)
    _check(payload, ("task_id", "args", "kwargs"))
    return _enveloped(draft, payload)


def _payload(draft: Draft) -> dict[str, Any]:
    return {"args": [], "kwargs": {}, **draft.payload, "task_name": draft.task_name}


def _enveloped(draft: Draft, payload: Mapping[str, Any]) -> Outgoing:
    if draft.ttl is not None and draft.delay:
        raise InvalidTask(
            "a task has a ttl or a delay, not both, since RabbitMQ forgets the ttl of a message "
            "that was parked; nothing was published."
        )
    return Outgoing(
        topic=draft.topic,
        message_id=draft.message_id,
        body=dumps(
            {
                "id": draft.message_id,
                "topic": draft.topic,
                "payload": payload,
                "headers": dict(draft.headers),
                "attempts": 0,
                "created_at": draft.now.isoformat(),
            }
        ),
        properties=Properties(
            message_id=draft.message_id,
            timestamp=draft.now,
            delivery_mode=2,
            priority=draft.priority,
            expiration=draft.expiration,
        ),
        task_id=payload["task_id"],
        task_name=payload["task_name"],
        delay=draft.delay,
    )


def _peer_defaults(topic: str, created_at: str) -> dict[str, Any]:
    return {
        "notifier_config": [],
        "parent_task_id": None,
        "max_retries": 0,
        "retry_delay": 0,
        "task_origin": "tasktools",
        "topic": topic,
        "task_type": "native",
        "allow_concurrent": True,
        "extra_context": {},
        "created_at": created_at,
    }


def _check_for_peer(payload: Mapping[str, Any]) -> None:
    extra = sorted(payload.keys() - PAYLOAD_FIELDS.keys())
    if extra:
        raise InvalidTask(
            f"the payload has {', '.join(extra)}, with which a peer would republish it forever; "
            "nothing was published. Put values of your own into headers."
        )
    _check(payload, tuple(PAYLOAD_FIELDS))
    if not FUNCTION.fullmatch(payload["func_name"]):
        raise InvalidTask(
            f"func_name {payload['func_name']!r} is not module:function; nothing was published."
        )


def _check(payload: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for name in fields:
        value, types = payload[name], PAYLOAD_FIELDS[name]
        wrong_bool = isinstance(value, bool) and bool not in types
        if wrong_bool or not isinstance(value, types) or (name == "task_id" and not value):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise InvalidTask(
                f"{name} is {type(value).__name__}, not {expected}; nothing was published."
            )
