"""The dialects of `fastpluggy-tasks-worker` and of the document: an envelope around a payload.

Both have the same envelope; a payload of the document has only `task_name`, `args` and `kwargs`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

from tasktools.core import layout as layouts
from tasktools.core import untrusted
from tasktools.core.dialects import envelope, peer_form
from tasktools.core.dialects.dialect import Dialect, Places, undecodable
from tasktools.core.dialects.draft import Draft
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.layout import Layout
from tasktools.core.models import Outgoing, TaskMessage

ENVELOPE: Final = ("id", "topic", "payload", "created_at")
"""Fields without which a peer redelivers a message forever."""

_ENVELOPE: Final = frozenset(ENVELOPE)
_OF_PAYLOAD: Final = ("args", "kwargs", "task_name", "func_name", "max_retries", "retry_delay")
_PLACES: Final[Places] = {name: ("payload", name) for name in _OF_PAYLOAD} | {
    "headers": ("headers",),
    "attempts": ("attempts",),
}


class Fastpluggy(Dialect):
    """The dialect of layout `fp`, in which whole payloads are written."""

    name: ClassVar[str] = "fastpluggy"
    title: ClassVar[str] = "fastpluggy"
    creates_topics: ClassVar[bool] = True
    names_functions: ClassVar[bool] = True
    layout: ClassVar[Layout] = layouts.FP
    exchanges: ClassVar[Collection[str]] = (layouts.FP.task_exchange,)
    takes_again: ClassVar[bool] = True
    fate: ClassVar[str] = "a worker of the peers would take it again for ever"
    has_task_exchange: ClassVar[bool] = True
    has_heartbeats: ClassVar[bool] = True
    has_beats: ClassVar[bool] = True
    rejects_failures: ClassVar[bool] = True
    consuming: ClassVar[str] = (
        "Name the topic, not `*`: a worker of fastpluggy consumes only the topics that are named."
    )
    at_a_stop: ClassVar[str] = (
        "looks the same: a worker of fastpluggy says no goodbye when it is terminated"
    )

    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        del ends  # they are known by their names
        exchange = self.layout.task_exchange
        bound = frozenset() if vhost.routes is None else vhost.routes.bound_by_name(exchange)
        bound = layouts.only_topics(self.layout, bound & vhost.queues.keys())
        return {
            name
            for name in queues
            if name in bound
            or self.layout.dead_queue(name) in vhost.queues
            or vhost.queues[name].dead_letter_key == self.layout.dead_key(name)
        }

    def dead_queue(self, topic: str) -> str | None:
        return self.layout.dead_queue(topic)

    def dead_letter_arguments(self, topic: str) -> Mapping[str, str]:
        return self.layout.queue_arguments(topic)

    def home_of(self, queue: str) -> str | None:
        return self.layout.topic_of(queue) if self.layout.is_dead_queue(queue) else None

    def recognises(self, message: MessageBody) -> bool:
        return message.object().keys() >= _ENVELOPE

    def decode(self, message: MessageBody) -> TaskMessage:
        if message.problem is not None:
            return undecodable(message, message.problem)
        data = message.json()
        if not isinstance(data, dict):
            return undecodable(message, "the body is JSON, but not an object")
        if not data.keys() >= _ENVELOPE:
            missing = ", ".join(name for name in ENVELOPE if name not in data)
            return undecodable(message, f"the body lacks {missing}")
        if not isinstance(data["payload"], dict):
            return undecodable(message, "the payload is not an object")
        created_at = untrusted.time(data["created_at"])
        if created_at is None:
            return undecodable(message, "created_at is not a time")
        return _task(message, data, created_at)

    def reads(self, other: Dialect) -> bool:
        return isinstance(other, Fastpluggy)

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        if message.is_compressed:
            return "its body is compressed"
        if task.dialect is None:
            return task.problem
        if message.is_strict:
            return peer_form.problem_of(message.plain, message.json())
        return peer_form.problem(message.plain)

    def compose(self, draft: Draft) -> Outgoing:
        return envelope.of_peers(draft)

    def places(self, message: MessageBody) -> Places | None:
        return None if self.decode(message).dialect is None else _PLACES


class Taskworker(Fastpluggy):
    """The dialect of layout `taskworker`, in which payloads are those of the document."""

    name: ClassVar[str] = "taskworker"
    layout: ClassVar[Layout] = layouts.TASKWORKER
    exchanges: ClassVar[Collection[str]] = (layouts.TASKWORKER.task_exchange,)
    names_functions: ClassVar[bool] = False

    def compose(self, draft: Draft) -> Outgoing:
        return envelope.of_document(draft)

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        if message.is_compressed or task.dialect is None:
            return super().unreadable(message, task)
        return peer_form.envelope_problem(message.plain)


FASTPLUGGY: Final = Fastpluggy()
TASKWORKER: Final = Taskworker()


def of_layout(layout: Layout) -> Dialect:
    """Return the dialect of the clusters that use *layout*."""
    return FASTPLUGGY if layout is layouts.FP else TASKWORKER


def _task(message: MessageBody, data: Mapping[str, Any], created_at: datetime) -> TaskMessage:
    payload: Mapping[str, Any] = data["payload"]
    headers = untrusted.mapping(data.get("headers"))
    message_id = untrusted.text(data["id"]) or message.properties.message_id
    task_id, func_name = (
        untrusted.text(payload.get("task_id")),
        untrusted.text(payload.get("func_name")),
    )
    args, kwargs = payload.get("args", []), payload.get("kwargs", {})
    problem = None
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        problem = "args is not an array or kwargs not an object"
    dialect = TASKWORKER if task_id is None and func_name is None else FASTPLUGGY
    return TaskMessage(
        dialect=dialect.name,
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
    )


def _lock(
    payload: Mapping[str, Any], headers: Mapping[str, Any], func_name: str | None
) -> str | None:
    """Return the lock the peer takes for this task: one by name, or one for the function."""
    context = untrusted.mapping(payload.get("extra_context"))
    named = untrusted.text(context.get("lock_name")) or untrusted.text(headers.get("lock_name"))
    return func_name if named is None and payload.get("allow_concurrent") is False else named
