"""Task messages: bytes to values and back.

Three forms are read: the native one (`fastpluggy-tasks-worker`), the document's (the same
envelope, whose payload has only `task_name`, `args` and `kwargs`) and Celery's protocols 2 and 1
with a JSON body. Anything else stays bytes, with a `problem`. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from tasktools.core import untrusted
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.tasks import compression, peer_form

ENVELOPE: Final = ("id", "topic", "payload", "created_at")
"""Fields without which a peer redelivers a message forever."""
OF_CELERY: Final = "it is a message of Celery"
"""Why a worker of fastpluggy cannot read such a message."""

_ENVELOPE: Final = frozenset(ENVELOPE)
_loads = msgspec.json.Decoder().decode


def decode(body: bytes, properties: Properties) -> TaskMessage:
    """Return what *body* says about its task, to be shown to people. Never raises.

    A compressed body and one of Celery's protocol 1 are read as well.
    """
    try:
        plain = compression.plain(body, properties)
    except ValueError as error:
        return _undecodable(properties, str(error))
    task = _decoded(plain, properties, shows_protocol_1=True)
    if plain is body or task.form == "celery":
        return task
    return msgspec.structs.replace(task, unreadable="its body is compressed")


def decode_for_worker(body: bytes, properties: Properties) -> TaskMessage:
    """Return the task in *body* as a worker of tasktools can run it. Never raises.

    A worker must be able to publish a task again with its attempts counted. So a compressed body
    and one of Celery's protocol 1 come back as unreadable.
    """
    return _decoded(body, properties, shows_protocol_1=False)


def is_of_protocol_1(task: TaskMessage, properties: Properties) -> bool:
    """Whether a *task* of Celery has all that it says in its body."""
    return task.form == "celery" and not isinstance(properties.headers.get("task"), str)


def _decoded(  # noqa: PLR0911 - one return a reason
    body: bytes, properties: Properties, *, shows_protocol_1: bool
) -> TaskMessage:
    if isinstance(properties.headers.get("task"), str):
        return _celery(body, properties)
    try:
        data, is_strict = _json(body)
    except ValueError as error:
        return _undecodable(properties, str(error))
    if not isinstance(data, dict):
        return _undecodable(properties, "the body is JSON, but not an object")
    if shows_protocol_1 and _is_celery_1(data):
        return _celery_1(data, properties)
    if not data.keys() >= _ENVELOPE:
        missing = ", ".join(name for name in ENVELOPE if name not in data)
        return _undecodable(properties, f"the body lacks {missing}")
    if not isinstance(data["payload"], dict):
        return _undecodable(properties, "the payload is not an object")
    created_at = untrusted.time(data["created_at"])
    if created_at is None:
        return _undecodable(properties, "created_at is not a time")
    unreadable = peer_form.problem_of(body, data) if is_strict else peer_form.problem(body)
    return _native(data, properties, created_at, unreadable=unreadable)


def _json(body: bytes) -> tuple[Any, bool]:
    """Return what *body* says, and whether it is JSON in every respect."""
    try:
        return _loads(body), True
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        raise ValueError("the body is JSON nested too deeply") from None
    try:  # peers write with the standard library, which also writes NaN
        # ... and lone surrogates, which nothing can print
        printable = json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace")
        return json.loads(printable), False
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None


def _undecodable(properties: Properties, problem: str) -> TaskMessage:
    return TaskMessage(
        form="unknown",
        message_id=properties.message_id,
        published_at=properties.timestamp,
        problem=problem,
        unreadable=problem,
    )


def _native(
    data: Mapping[str, Any], properties: Properties, created_at: datetime, *, unreadable: str | None
) -> TaskMessage:
    payload: Mapping[str, Any] = data["payload"]
    headers = untrusted.mapping(data.get("headers"))
    message_id = untrusted.text(data["id"]) or properties.message_id
    task_id, func_name = (
        untrusted.text(payload.get("task_id")),
        untrusted.text(payload.get("func_name")),
    )
    args, kwargs = payload.get("args", []), payload.get("kwargs", {})
    problem = None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        problem = "args is not an array or kwargs not an object"
    return TaskMessage(
        form="document" if task_id is None and func_name is None else "native",
        message_id=message_id,
        task_id=task_id or message_id,
        task_name=untrusted.text(payload.get("task_name")) or func_name,
        func_name=func_name,
        topic=untrusted.text(data["topic"]),
        args=args if problem is None else None,
        kwargs=kwargs if problem is None else None,
        headers=dict(headers),
        attempts=untrusted.count(data.get("attempts", 0)),
        published_at=untrusted.time(payload.get("created_at")) or created_at,
        max_retries=untrusted.count(payload.get("max_retries")) or None,
        retry_delay=untrusted.number(payload.get("retry_delay")) or None,
        lock=_lock(payload, headers, func_name),
        problem=problem,
        unreadable=unreadable,
    )


def _lock(
    payload: Mapping[str, Any], headers: Mapping[str, Any], func_name: str | None
) -> str | None:
    """Return the lock the peer takes for this task: one by name, or one for the function."""
    context = untrusted.mapping(payload.get("extra_context"))
    named = untrusted.text(context.get("lock_name")) or untrusted.text(headers.get("lock_name"))
    return func_name if named is None and payload.get("allow_concurrent") is False else named


def _celery(body: bytes, properties: Properties) -> TaskMessage:
    headers = properties.headers
    name = headers["task"]
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    problem = None
    if "json" not in (properties.content_type or "application/json"):
        problem = f"a Celery body of type {properties.content_type}, which is never unpickled"
    else:
        try:
            args, kwargs = _celery_arguments(_json(body)[0])
        except ValueError as error:
            problem = str(error)
    return TaskMessage(
        form="celery",
        message_id=properties.message_id or properties.correlation_id,
        task_id=untrusted.text(headers.get("id")) or properties.correlation_id,
        task_name=name,
        func_name=None,
        args=args,
        kwargs=kwargs,
        headers={
            k: v for k, v in headers.items() if k not in ("x-death", "argsrepr", "kwargsrepr")
        },
        attempts=untrusted.count(headers.get("retries")),
        published_at=properties.timestamp,
        problem=problem,
        unreadable=OF_CELERY,
        expires_at=untrusted.time(headers.get("expires")),
    )


def _is_celery_1(data: Mapping[str, Any]) -> bool:
    has_names = isinstance(data.get("task"), str) and isinstance(data.get("id"), str)
    return has_names and "payload" not in data


def _celery_1(data: Mapping[str, Any], properties: Properties) -> TaskMessage:
    args, kwargs = data.get("args") or [], data.get("kwargs") or {}
    is_sound = isinstance(args, list) and isinstance(kwargs, dict)
    return TaskMessage(
        form="celery",
        message_id=properties.message_id or properties.correlation_id,
        task_id=data["id"],
        task_name=data["task"],
        args=args if is_sound else None,
        kwargs=kwargs if is_sound else None,
        attempts=untrusted.count(data.get("retries")),
        published_at=properties.timestamp,
        problem=None if is_sound else "args is not an array or kwargs not an object",
        unreadable=OF_CELERY,
        expires_at=untrusted.time(data.get("expires")),
    )


def _celery_arguments(data: Any) -> tuple[list[Any], dict[str, Any]]:
    match data:
        case [list() as args, dict() as kwargs, *_]:
            return args, kwargs
        case _:
            raise ValueError("the Celery body is not [args, kwargs, embed]")


def count_attempt(body: bytes) -> bytes | None:
    """Return *body* with `attempts` raised by one, else as it was; `None` if it is no task.

    This is how a peer requeues: a new publish of the body, then an ack of the original.
    """
    try:
        data, _ = _json(body)
    except ValueError:
        return None
    if not isinstance(data, dict) or any(name not in data for name in ENVELOPE):
        return None
    data["attempts"] = (untrusted.count(data.get("attempts", 0)) or 0) + 1
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")
