"""The dialect of the workers of a shop: a job is a JSON object, in a queue `jobs.…`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tasktools.core import untrusted
from tasktools.core.dialects.dialect import Dialect, Header, Places, undecodable
from tasktools.core.dialects.draft import Draft, dumps
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.errors import InvalidTask
from tasktools.core.models import Outgoing, Properties, TaskMessage
from tasktools.core.tasks.json_edit import Change


class ShopJobs(Dialect):
    """Jobs like ``{"job": "send", "uid": "…", "with": {"to": "a@b"}, "tries": 0}``."""

    name: ClassVar[str] = "shop_jobs"
    title: ClassVar[str] = "the shop's jobs"
    resetting: ClassVar[str | None] = "tries is 0 again"
    fate: ClassVar[str] = "a worker of the shop would drop it"

    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        del vhost, ends
        return {queue for queue in queues if queue.startswith("jobs.")}

    def recognises(self, message: MessageBody) -> bool:
        return message.object().keys() >= {"job", "uid", "with"}

    def decode(self, message: MessageBody) -> TaskMessage:
        if not self.recognises(message):
            return undecodable(message, "it is no job")
        data = message.object()
        values = data["with"] if isinstance(data["with"], dict) else None
        return TaskMessage(
            dialect=self.name,
            task_id=untrusted.text(data["uid"]),
            task_name=untrusted.text(data["job"]),
            args=None if values is None else [],
            kwargs=values,
            headers=dict(message.properties.headers),
            attempts=untrusted.count(data.get("tries", 0)),
            published_at=message.properties.timestamp,
            problem="with is no object" if values is None else None,
        )

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        del message
        return task.problem

    def compose(self, draft: Draft) -> Outgoing:
        draft.check_no_more((), self.title)
        if draft.args or draft.due:
            raise InvalidTask("a job has neither args nor a delay; nothing was published.")
        job = {"job": draft.task_name, "uid": draft.task_id, "with": draft.kwargs, "tries": 0}
        return Outgoing(
            topic=draft.topic,
            queue=draft.topic,
            message_id=draft.task_id,
            body=dumps(job),
            properties=Properties(
                headers=draft.headers,
                delivery_mode=2,
                priority=draft.priority,
                expiration=draft.expiration,
                timestamp=draft.now,
            ),
            task_id=draft.task_id,
            task_name=draft.task_name,
        )

    def places(self, message: MessageBody) -> Places | None:
        if not self.recognises(message):
            return None
        return {
            "kwargs": ("with",),
            "task_name": ("job",),
            "attempts": ("tries",),
            "headers": Header(),
        }

    def resets(self, message: MessageBody, queue: str) -> Mapping[str, Change]:
        del queue  # its messages do not name it
        tries: Any = message.object().get("tries", 0)
        return {} if tries == 0 else {"tries": "0"}


SHOP_JOBS = ShopJobs()
