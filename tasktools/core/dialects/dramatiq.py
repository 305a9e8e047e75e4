"""The dialect of Dramatiq: a message is a JSON object that names its actor and counts its
retries."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from tasktools.core import untrusted
from tasktools.core.dialects import tracebacks
from tasktools.core.dialects.dialect import Dialect, Places, undecodable
from tasktools.core.dialects.draft import Draft, dumps
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.models import Outgoing, Properties, ReportedError, TaskMessage
from tasktools.core.tasks.json_edit import Change

DELAYED_SUFFIX: Final = ".DQ"
"""End of the name of the queue in which tasks of a queue wait for their time."""
DEAD_SUFFIX: Final = ".XQ"
"""End of the name of the queue with the dead letters of a queue."""

_SUFFIXES: Final = (DELAYED_SUFFIX, DEAD_SUFFIX)
_FIELDS: Final = frozenset(
    {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}
)
_PLACES: Final[Places] = {
    "args": ("args",),
    "kwargs": ("kwargs",),
    "task_name": ("actor_name",),
    "headers": ("options",),
    "attempts": ("options", "retries"),
    "max_retries": ("options", "max_retries"),
    "expires_at": ("options", "max_age"),
}
_NOT_SHOWN: Final = "traceback"
_OF_FAILURE: Final = ("traceback", "eta", "requeue_timestamp")
_OF_CLIENT: Final = ("eta", "max_age", "broker_priority", "retries", *_OF_FAILURE)
_MILLISECONDS: Final = 1000


class Dramatiq(Dialect):
    """The dialect of Dramatiq's workers."""

    name: ClassVar[str] = "dramatiq"
    title: ClassVar[str] = "Dramatiq"
    fate_of_unknown: ClassVar[str | None] = f"move it to the queue with the end {DEAD_SUFFIX}"
    resetting: ClassVar[str | None] = (
        "options.retries is 0 again, without traceback, eta and requeue_timestamp, and "
        "queue_name is the queue that it is sent to"
    )
    fate: ClassVar[str] = "a worker of Dramatiq would reject it"
    rejects_failures: ClassVar[bool] = True

    def is_own_queue(self, queue: str, queues: Collection[str]) -> bool:
        suffix = next((each for each in _SUFFIXES if queue.endswith(each)), None)
        return suffix is not None and queue.removesuffix(suffix) in queues

    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        del ends  # they are known by their names
        return {
            name
            for name in queues
            if any(name + each in vhost.queues for each in _SUFFIXES)
            or vhost.queues[name].dead_letter_key == self.dead_queue(name)
        }

    def dead_queue(self, topic: str) -> str | None:
        return f"{topic}{DEAD_SUFFIX}"

    def home_of(self, queue: str) -> str | None:
        home = queue.removesuffix(DEAD_SUFFIX)
        return None if home == queue else home

    def recognises(self, message: MessageBody) -> bool:
        return message.object().keys() >= _FIELDS

    def decode(self, message: MessageBody) -> TaskMessage:
        if message.problem is not None:
            return undecodable(message, message.problem)
        data = message.object()
        if not data.keys() >= _FIELDS:
            missing = ", ".join(sorted(_FIELDS - data.keys()))
            return undecodable(message, f"it is no message of Dramatiq: its body lacks {missing}")
        return _task(data)

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        return task.problem or message.encoding_problem

    def compose(self, draft: Draft) -> Outgoing:
        draft.check_no_more(_OF_CLIENT, self.title)
        queue = f"{draft.topic}{DELAYED_SUFFIX}" if draft.due else draft.topic
        options: dict[str, Any] = {
            **draft.headers,
            "eta": draft.due and _milliseconds(draft.due),
            "max_age": draft.ttl and round(draft.ttl * _MILLISECONDS),
            "broker_priority": draft.priority,
        }
        message = {
            "queue_name": queue,
            "actor_name": draft.task_name,
            "args": draft.args,
            "kwargs": draft.kwargs,
            "options": {name: value for name, value in options.items() if value is not None},
            "message_id": draft.task_id,
            "message_timestamp": _milliseconds(draft.now),
        }
        return Outgoing(
            topic=draft.topic,
            queue=queue,
            message_id=draft.task_id,
            body=dumps(message),
            properties=Properties(delivery_mode=2, priority=draft.priority),
            task_id=draft.task_id,
            task_name=draft.task_name,
        )

    def places(self, message: MessageBody) -> Places | None:
        return _PLACES if self.recognises(message) else None

    def written(self, message: MessageBody, field: str, value: Any) -> Any:
        time = untrusted.time(value) if field == "expires_at" else None
        if time is None:
            return value
        return _milliseconds(time) - round(untrusted.number(_timestamp(message)) or 0)

    def resets(self, message: MessageBody, queue: str) -> Mapping[str, Change]:
        data = message.object()
        options = untrusted.mapping(data.get("options"))
        in_options: dict[str, Change] = {name: None for name in _OF_FAILURE if name in options}
        if options.get("retries", 0) != 0:
            in_options["retries"] = "0"
        changes: dict[str, Change] = {"options": in_options} if in_options else {}
        # A worker settles a message with the consumer of its `queue_name`. Dramatiq 2.2: another
        # name than that of its queue ends the thread that ran it, or leaves it unacknowledged.
        name = queue.removesuffix(DEAD_SUFFIX)
        if data.get("queue_name", name) != name:
            changes["queue_name"] = json.dumps(name)
        return changes


DRAMATIQ: Final = Dramatiq()


def _task(data: dict[str, Any]) -> TaskMessage:
    options = untrusted.mapping(data["options"])
    args, kwargs = data["args"], data["kwargs"]
    is_sound = isinstance(args, list) and isinstance(kwargs, dict)
    published_at, max_age = (
        _time(data["message_timestamp"]),
        untrusted.number(options.get("max_age")),
    )
    queue = untrusted.text(data["queue_name"])
    message_id = untrusted.text(data["message_id"])
    return TaskMessage(
        dialect=DRAMATIQ.name,
        message_id=message_id,
        task_id=message_id,
        task_name=untrusted.text(data["actor_name"]),
        topic=None if queue is None else queue.removesuffix(DELAYED_SUFFIX),
        args=args if is_sound else None,
        kwargs=kwargs if is_sound else None,
        headers={name: value for name, value in options.items() if name != _NOT_SHOWN},
        attempts=untrusted.count(options.get("retries", 0)),
        published_at=published_at,
        max_retries=untrusted.count(options.get("max_retries")) or None,
        problem=None if is_sound else "args is not an array or kwargs not an object",
        error=_error(options.get("traceback")),
        expires_at=None if max_age is None else _later(published_at, max_age),
    )


def _error(traceback: object) -> ReportedError | None:
    text = untrusted.text(traceback)
    if text is None:
        return None
    error_type, error = tracebacks.last_error(text)
    return ReportedError(error_type=error_type, text=error, traceback=text)


def _timestamp(message: MessageBody) -> object:
    return message.object()["message_timestamp"]


def _later(time: datetime | None, milliseconds: float) -> datetime | None:
    return time and untrusted.moment(time.timestamp() + milliseconds / _MILLISECONDS)


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * _MILLISECONDS)


def _time(milliseconds: object) -> datetime | None:
    number = untrusted.number(milliseconds)
    return None if number is None else untrusted.moment(number / _MILLISECONDS)
