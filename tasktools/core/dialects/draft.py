"""The draft of a task to be published, before a dialect has written it, and checks of its parts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from tasktools.core.errors import InvalidTask
from tasktools.core.escaping import exact
from tasktools.core.masked_repr import MaskedStruct

_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_OF_ALL: Final = frozenset({"task_id", "task_name", "args", "kwargs"})
_Value = TypeVar("_Value")
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Draft(MaskedStruct, frozen=True, kw_only=True):
    """A task to be published to *topic*, now.

    *payload* has the `task_id`, and all that the publisher wrote into it. A dialect may use
    *message_id* and *origin* or ignore them. *ttl* and *delay* are in seconds.
    """

    topic: str
    payload: Mapping[str, Any]
    headers: Mapping[str, Any]
    priority: int | None
    ttl: float | None
    delay: float
    now: datetime
    message_id: str
    origin: str

    @property
    def task_id(self) -> str:
        """The id of the task. Raises `InvalidTask`."""
        return checked(self.payload["task_id"], "task_id")

    @property
    def task_name(self) -> str:
        """The name of the task. Raises `InvalidTask` if it is missing."""
        if self.payload.get("task_name") is None:
            raise InvalidTask(
                "the payload has no task_name (on the command line: give TASK after TOPIC); "
                "nothing was published."
            )
        return checked(self.payload["task_name"], "task_name")

    @property
    def args(self) -> list[Any]:
        """The positional arguments. Raises `InvalidTask`."""
        return _typed(self.payload.get("args", []), list, "args")

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments. Raises `InvalidTask`."""
        return _typed(self.payload.get("kwargs", {}), dict, "kwargs")

    @property
    def due(self) -> datetime | None:
        """The time at which the task is to be run; `None`: at once."""
        return self.now + timedelta(seconds=self.delay) if self.delay else None

    @property
    def expires_at(self) -> datetime | None:
        """The time after which the task is not to be run; `None`: it does not expire."""
        return None if self.ttl is None else self.now + timedelta(seconds=self.ttl)

    @property
    def expiration(self) -> str | None:
        """The property `expiration`, in milliseconds."""
        return None if self.ttl is None else str(max(round(self.ttl * 1000), 1))

    def check_no_more(self, reserved: Collection[str], title: str) -> None:
        """Raise `InvalidTask` for payload keys that messages of *title* cannot hold, and for
        headers with *reserved* names."""
        extra = sorted(self.payload.keys() - _OF_ALL)
        if extra:
            raise InvalidTask(
                f"the payload has {', '.join(extra)}, for which a message of {title} has no place; "
                "nothing was published. Put values of your own into headers."
            )
        taken = sorted(self.headers.keys() & set(reserved))
        if taken:
            raise InvalidTask(
                f"the headers have {', '.join(taken)}, which a message of {title} has for itself; "
                "nothing was published."
            )


def checked(value: object, name: str) -> str:
    """Return *value*, a text that is not empty; raises `InvalidTask`."""
    if value is None:
        raise InvalidTask(f"the payload has no {name}; nothing was published.")
    text = exact(_typed(value, str, name))  # as it is, not as it is shown
    if not text:
        raise InvalidTask(f"{name} is empty; nothing was published.")
    return text


def _typed(value: object, wanted: type[_Value], name: str) -> _Value:
    if not isinstance(value, wanted):
        raise InvalidTask(
            f"{name} is {type(value).__name__}, not {wanted.__name__}; nothing was published."
        )
    return value


def dumps(data: object) -> bytes:
    """Return *data* as JSON; raises `InvalidTask`."""
    try:
        body = _encode(data).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(
            f"the task cannot be written as JSON ({error}); nothing was published."
        ) from error
    if len(body) > _MAX_BODY_BYTES:
        raise InvalidTask(
            f"the task is {len(body):,} bytes long, and RabbitMQ 4 takes 16 MiB; nothing was "
            "published. Put the data elsewhere and its address into the task."
        )
    return body
