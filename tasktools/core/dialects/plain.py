"""The dialect of queues whose workers are not known: JSON is shown as it is."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from tasktools.core.dialects import foreign_errors
from tasktools.core.dialects.dialect import Dialect, Header, Places
from tasktools.core.dialects.draft import Draft, dumps
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.errors import InvalidTask
from tasktools.core.models import Outgoing, Properties, TaskMessage

_PLACES: Final[Places] = {"headers": Header()}
_PLACES_OF_OBJECT: Final[Places] = {"kwargs": (), **_PLACES}
_PLACES_OF_ARRAY: Final[Places] = {"args": (), **_PLACES}


class Plain(Dialect):
    """The dialect of messages that are no tasks of any known worker.

    A JSON object is shown, edited and grouped as `kwargs`, an array as `args`; any other body is
    only known by its size.
    """

    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "other programs"
    has_the_rest: ClassVar[bool] = True
    needs_names: ClassVar[bool] = False

    @property
    def workers(self) -> str:
        return "programs that are not known"

    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        del vhost
        return set(queues - ends)

    def recognises(self, message: MessageBody) -> bool:
        del message
        return False

    def decode(self, message: MessageBody) -> TaskMessage:
        properties = message.properties
        data: Any = None if message.problem is not None else message.json()
        return TaskMessage(
            dialect=self.name,
            message_id=properties.message_id,
            task_id=properties.message_id or properties.correlation_id,
            task_name=properties.type,
            args=data if isinstance(data, list) else None,
            kwargs=data if isinstance(data, dict) else None,
            headers=dict(properties.headers),
            published_at=properties.timestamp,
            error=foreign_errors.reported(properties.headers),
        )

    def reads(self, other: Dialect) -> bool:
        del other
        return True

    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        del message, task
        return None

    def compose(self, draft: Draft) -> Outgoing:
        draft.check_no_more((), self.title)
        args, kwargs = draft.args, draft.kwargs
        if args and kwargs:
            raise InvalidTask(
                "a plain message is an object (kwargs) or an array (args), not both; nothing was "
                "published."
            )
        if draft.due is not None:
            raise InvalidTask(
                "a plain queue has nowhere to wait, so there is no delay; nothing was published."
            )
        name = draft.task_name if draft.payload.get("task_name") is not None else None
        return Outgoing(
            topic=draft.topic,
            queue=draft.topic,
            message_id=draft.task_id,
            body=dumps(args or kwargs),
            properties=Properties(
                headers=draft.headers,
                message_id=draft.task_id,
                type=name,
                content_type="application/json",
                delivery_mode=2,
                priority=draft.priority,
                expiration=draft.expiration,
                timestamp=draft.now,
            ),
            task_id=draft.task_id,
            task_name=name,
        )

    def places(self, message: MessageBody) -> Places | None:
        match None if message.problem is not None else message.json():
            case dict():
                return _PLACES_OF_OBJECT
            case list():
                return _PLACES_OF_ARRAY
            case _:
                return _PLACES


PLAIN: Final = Plain()
