"""The dialect of Celery: protocol 2, with the name of the task in the headers, and protocol 1, with
everything in the body."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final

from tasktools.core import untrusted
from tasktools.core.dialects import celery_control
from tasktools.core.dialects.dialect import Dialect, Header, Places
from tasktools.core.dialects.draft import Draft, dumps
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.models import Outgoing, Properties, TaskMessage
from tasktools.core.routes import Binding

_PLACES_IN_HEADERS: Final[Places] = {
    "headers": Header(),
    "task_name": Header("task"),
    "attempts": Header("retries"),
    "expires_at": Header("expires"),
}
_PLACES_OF_PROTOCOL_2: Final[Places] = {"args": ("0",), "kwargs": ("1",), **_PLACES_IN_HEADERS}
_PLACES_OF_PROTOCOL_1: Final[Places] = {
    "args": ("args",),
    "kwargs": ("kwargs",),
    "task_name": ("task",),
    "attempts": ("retries",),
    "expires_at": ("expires",),
}
_PROTOCOL_2: Final = (
    "lang",
    "task",
    "id",
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",
    "parent_id",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "ignore_result",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
)
_EMBED: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_MAX_REPR_CHARS: Final = 1024
_NO_TASK: Final = "it names no task of Celery, neither in its headers nor in its body"
_OWN_PREFIXES: Final = ("celeryev.", "celery_delayed_")
_PIDBOX: Final = celery_control.pidbox("")
_NOT_SHOWN: Final = ("x-death", "argsrepr", "kwargsrepr")


class Celery(Dialect):
    """The dialect of Celery's workers."""

    name: ClassVar[str] = "celery"
    title: ClassVar[str] = "Celery"
    fate_of_unknown: ClassVar[str | None] = (
        "reject it with a line in their log: it dies, or is dropped where its queue dead-letters "
        "into none"
    )
    repeats: ClassVar[Mapping[str, str]] = {"args": "argsrepr", "kwargs": "kwargsrepr"}
    exchanges: ClassVar[Collection[str]] = ("celeryev", celery_control.EXCHANGE)
    fate: ClassVar[str] = "a worker of Celery would reject it, or acknowledge it unrun"
    has_heartbeats: ClassVar[bool] = True
    publishes_to_nobody: ClassVar[bool] = True
    commands: ClassVar[Collection[str]] = celery_control.COMMANDS
    holds_scheduled: ClassVar[bool] = True
    events_setting: ClassVar[str | None] = celery_control.EVENTS_SETTING
    tells_prefetched: ClassVar[bool] = True
    prefetch_setting: ClassVar[str] = "worker_prefetch_multiplier"
    processes: ClassVar[str] = "the pool's child process that runs it"
    after_death: ClassVar[str] = (
        "the messages that it held and had not begun are delivered again; a task that it was "
        "running is lost, unless it has acks_late"
    )
    consuming: ClassVar[str] = (
        "Workers of Celery are asked for their queues every 30 s: somebody may have called "
        "`cancel_consumer` since, and then `add_consumer` is enough."
    )
    at_a_stop: ClassVar[str] = (
        "a worker of Celery says goodbye when it is stopped: it was killed, or lost its connection"
    )

    def is_own_queue(self, queue: str, queues: Collection[str]) -> bool:
        del queues
        return queue.startswith(_OWN_PREFIXES) or queue.endswith(_PIDBOX)

    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        if vhost.routes is None:
            return set(queues - ends)
        # Its workers bind each queue by its name, also to the exchange that is called like it.
        by_name = {each.destination for each in vhost.routes.bindings if _is_by_name(each)}
        return {queue for queue in queues - ends if queue in by_name}

    def recognises(self, message: MessageBody) -> bool:
        return is_of_protocol_2(message) or _is_of_protocol_1(message)

    def decode(self, message: MessageBody) -> TaskMessage:
        old = message.object() if _is_of_protocol_1(message) else {}
        if old:
            return _task_of_protocol_1(message, old)
        return _task_of_protocol_2(message)

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        if not self.recognises(message):
            return _NO_TASK
        # What is pickled it may read. A body of JSON that is none it acknowledges: 5.7 loses it.
        if not _is_json(message.properties):
            return None
        return task.problem or message.encoding_problem

    def compose(self, draft: Draft) -> Outgoing:
        draft.check_no_more(_PROTOCOL_2, self.title)
        task_id, task_name, args, kwargs = draft.task_id, draft.task_name, draft.args, draft.kwargs
        headers: dict[str, Any] = {
            "lang": "py",
            "task": task_name,
            "id": task_id,
            "shadow": None,
            "eta": draft.due and draft.due.isoformat(),
            "expires": draft.expires_at and draft.expires_at.isoformat(),
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": task_id,
            "parent_id": None,
            "argsrepr": _shortened(tuple(args)),
            "kwargsrepr": _shortened(kwargs),
            "origin": draft.origin,
            "ignore_result": False,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        return Outgoing(
            topic=draft.topic,
            queue=draft.topic,
            message_id=task_id,
            body=dumps([args, kwargs, _EMBED]),
            properties=Properties(
                headers=headers | dict(draft.headers),
                correlation_id=task_id,
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=2,
                priority=draft.priority or 0,
                timestamp=draft.now,
            ),
            task_id=task_id,
            task_name=task_name,
        )

    def places(self, message: MessageBody) -> Places | None:
        has_arguments = self.decode(message).problem is None
        if is_of_protocol_2(message):
            return _PLACES_OF_PROTOCOL_2 if has_arguments else _PLACES_IN_HEADERS
        return _PLACES_OF_PROTOCOL_1 if has_arguments else None


CELERY: Final = Celery()


def _is_by_name(binding: Binding) -> bool:
    return binding.source != "" and binding.key == binding.destination and not binding.to_exchange


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_REPR_CHARS else f"{text[: _MAX_REPR_CHARS - 3]}..."


def _is_json(properties: Properties) -> bool:
    return "json" in (properties.content_type or "application/json")


def is_of_protocol_2(message: MessageBody) -> bool:
    """Whether *message* names its task in its headers."""
    return isinstance(message.properties.headers.get("task"), str)


def _is_of_protocol_1(message: MessageBody) -> bool:
    if is_of_protocol_2(message):
        return False
    data = message.object()
    has_names = isinstance(data.get("task"), str) and isinstance(data.get("id"), str)
    return has_names and "payload" not in data


def _task_of_protocol_2(message: MessageBody) -> TaskMessage:
    headers, properties = message.properties.headers, message.properties
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    problem = None
    if not is_of_protocol_2(message):
        problem = _NO_TASK
    elif not _is_json(properties):
        problem = f"a Celery body of type {properties.content_type}, which is never unpickled"
    else:
        try:
            args, kwargs = _arguments(message.json())
        except ValueError as error:
            problem = str(error)
    return TaskMessage(
        dialect=CELERY.name,
        message_id=properties.message_id or properties.correlation_id,
        task_id=untrusted.text(headers.get("id")) or properties.correlation_id,
        task_name=untrusted.text(headers.get("task")),
        args=args,
        kwargs=kwargs,
        headers={name: value for name, value in headers.items() if name not in _NOT_SHOWN},
        attempts=untrusted.count(headers.get("retries")),
        published_at=properties.timestamp,
        problem=problem,
        expires_at=untrusted.time(headers.get("expires")),
    )


def _arguments(data: Any) -> tuple[list[Any], dict[str, Any]]:
    match data:
        case [list() as args, dict() as kwargs, *_]:
            return args, kwargs
        case _:
            raise ValueError("the Celery body is not [args, kwargs, embed]")


def _task_of_protocol_1(message: MessageBody, data: dict[str, Any]) -> TaskMessage:
    args, kwargs = data.get("args") or [], data.get("kwargs") or {}
    is_sound = isinstance(args, list) and isinstance(kwargs, dict)
    properties = message.properties
    return TaskMessage(
        dialect=CELERY.name,
        message_id=properties.message_id or properties.correlation_id,
        task_id=data["id"],
        task_name=data["task"],
        args=args if is_sound else None,
        kwargs=kwargs if is_sound else None,
        attempts=untrusted.count(data.get("retries")),
        published_at=properties.timestamp,
        problem=None if is_sound else "args is not an array or kwargs not an object",
        expires_at=untrusted.time(data.get("expires")),
    )
