"""The changes that a replay makes in a message: what its dialect resets, and its plan's edits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import replay_header
from tasktools.core.dialects import registry
from tasktools.core.dialects.dialect import Dialect, Header, Places
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.tasks import codec
from tasktools.core.tasks.edits import REMOVE, EditDoesNotFit, checked
from tasktools.core.tasks.json_edit import Change, Misplaced, changed

_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_NO_TASK: Final = "this is no task that can be edited"


def amended(
    body: bytes, properties: bytes, edits: Mapping[str, Any], default: Dialect, *, queue: str
) -> tuple[bytes, bytes]:
    """Return *body* and *properties*, as AMQP encodes them, as they are sent to *queue* by a replay
    with *edits*; headers about the message's death are changed elsewhere (`replay_header`).

    A message that no dialect recognises is of the dialect *default*. Whatever is not reset and not
    named in *edits* stays exactly as it is written. All paths refer to the original message; a new
    key of a dict is added, as is the item after the last one of a list. Raises `EditDoesNotFit`,
    and `InvalidPlan` as `checked` does.
    """
    decoded = amqp_properties.decode(properties)
    try:
        message = codec.opened(body, decoded)
    except ValueError as error:
        if edits:
            raise EditDoesNotFit(f"{_NO_TASK}: {error}") from None
        return body, properties
    changes = _Changes(message, registry.of_message(message, default), queue)
    changes.edit(checked(edits))
    return changes.of_body(body), changes.of_properties(properties)


class _Changes:
    """The changes of a message, by their place in the body or the headers."""

    def __init__(self, message: MessageBody, dialect: Dialect, queue: str) -> None:
        self._message = message
        self._dialect = dialect
        self._places: Places = {}
        self._in_body: dict[str, Any] = _copied(dialect.resets(message, queue))
        self._new_headers: dict[str, object] = {}
        self._removed_headers: set[str] = set()

    def edit(self, edits: Mapping[str, Any]) -> None:
        """Add *edits*, which override resets of the same field."""
        if not edits:
            return
        self._places = places = self._dialect.places(self._message) or {}
        for path, value in edits.items():
            field, *inner = path.split(".")
            place = places.get(field)
            if place is None:
                raise EditDoesNotFit(self._why_not(field))
            is_new = value is not REMOVE
            written = self._dialect.written(self._message, path, value) if is_new else REMOVE
            if isinstance(place, Header):
                self._edit_header(path, place.name, inner, written)
            else:
                self._edit_body((*place, *inner), written)
            repeated = self._dialect.repeats.get(field)
            if repeated is not None:
                self._removed_headers.add(repeated)

    def _why_not(self, field: str) -> str:
        problem = self._dialect.decode(self._message).problem
        if problem is not None:
            return f"{_NO_TASK}: {problem}"
        return f"{field} is no field of a message of {self._dialect.title}"

    def _edit_body(self, path: tuple[str, ...], value: Any) -> None:
        *above, last = path
        parent = self._in_body
        for key in above:
            parent = parent.setdefault(key, {})
        parent[last] = None if value is REMOVE else _encode(value)

    def _edit_header(self, path: str, name: str, inner: list[str], value: Any) -> None:
        if not name:
            name, *inner = inner
        if inner:
            raise EditDoesNotFit(f"{path} is within a header, which is changed as a whole")
        if replay_header.is_left_out(name) or name == replay_header.HEADER:
            raise EditDoesNotFit(f"{path} belongs to RabbitMQ, or to the replay itself")
        if value is not REMOVE:
            self._new_headers[name] = value
        elif name in self._message.properties.headers:
            self._removed_headers.add(name)
        else:
            raise EditDoesNotFit(f"{path} is not there")

    def of_body(self, body: bytes) -> bytes:
        """Return *body* with the changes made."""
        if not self._in_body:
            return body
        if self._message.is_compressed:
            raise EditDoesNotFit("its body is compressed, and is sent as it is or not at all")
        try:
            text = body.decode("utf-8", "surrogatepass")  # as the standard library reads JSON
            return changed(text, self._in_body).encode("utf-8", "surrogatepass")
        except Misplaced as error:
            raise EditDoesNotFit(f"{_spoken(error.path, self._places)} {error}") from None
        except (ValueError, RecursionError):
            raise EditDoesNotFit("the body is not JSON in UTF-8") from None

    def of_properties(self, properties: bytes) -> bytes:
        """Return *properties* with the changes of headers made."""
        if not self._new_headers and not self._removed_headers:
            return properties
        try:
            return amqp_properties.edited(
                properties,
                without=self._removed_headers.__contains__,
                added=self._new_headers,
            )
        except ValueError as error:
            raise EditDoesNotFit(f"its headers cannot be written: {error}") from None


def _copied(changes: Mapping[str, Change]) -> dict[str, Any]:
    return {
        key: _copied(change) if isinstance(change, Mapping) else change
        for key, change in changes.items()
    }


def _spoken(path: tuple[str, ...], places: Places) -> str:
    """Return *path* in a body in the notation of edits."""
    for field, place in places.items():
        if isinstance(place, tuple) and path[: len(place)] == place:
            return ".".join((field, *path[len(place) :]))
    return ".".join(path) or "the body"
