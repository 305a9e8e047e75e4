"""The form of a message that a worker of fastpluggy can read, and the reasons why others cannot be
read.

Such a worker reads a body as strict UTF-8 and JSON and rebuilds its task with exactly the keys of
the payload as arguments. A message that it cannot read it gives back or publishes again, at once
and for ever (37 to 1,050 times a second were measured), or holds unacknowledged until it ends; a
task that it can read runs, or fails once. Read in and tried on fastpluggy-tasks-worker 0.3.318.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from tasktools.core.dialects.message_body import encoding_problem

PAYLOAD_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "task_id": (str,),
    "task_name": (str,),
    "func_name": (str,),
    "args": (list,),
    "kwargs": (dict,),
    "notifier_config": (list,),
    "parent_task_id": (str, type(None)),
    "max_retries": (int,),
    "retry_delay": (int,),
    "task_origin": (str,),
    "topic": (str,),
    "task_type": (str,),
    "allow_concurrent": (bool,),
    "extra_context": (dict,),
    "created_at": (str,),
}
"""The keys that a payload may have, with their types; no others."""
REQUIRED_FIELDS: Final = ("task_id", "task_name", "func_name")
_ENVELOPE: Final[dict[str, tuple[type, ...]]] = {
    "id": (str,),
    "topic": (str,),
    "payload": (dict,),
    "created_at": (str,),
}
_OPTIONAL: Final[dict[str, tuple[type, ...]]] = {"headers": (dict,), "attempts": (int, float)}
_CONTAINERS: Final[dict[str, tuple[type, ...]]] = {
    "args": (list, type(None)),
    "kwargs": (dict, type(None)),
    "extra_context": (dict, type(None)),
}
_Payload = msgspec.defstruct(
    "_Payload",
    [
        ("task_id", Annotated[str, msgspec.Meta(min_length=1)]),
        ("task_name", str),
        ("func_name", str),
        *(
            (name, Any, None)
            for name in PAYLOAD_FIELDS
            if name not in (*REQUIRED_FIELDS, *_CONTAINERS)
        ),
        *((name, types[0] | None, None) for name, types in _CONTAINERS.items()),
    ],
    forbid_unknown_fields=True,
)


class _Envelope(msgspec.Struct):
    """The fields of a body that a worker of fastpluggy asks for."""

    id: str
    topic: str
    payload: _Payload  # type: ignore[valid-type]
    created_at: str
    headers: dict[str, Any] = {}
    attempts: int | float = 0


_loads: Final = msgspec.json.Decoder().decode
_MAX_DEPTH: Final = 100  # lists and dicts within each other; a peer's recursion ends at some 300
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_TIME: Final = re.compile(  # what `fromisoformat` of Python 3.10 reads, with which a peer may run
    r"\d{4}-\d\d-\d\d(.\d\d(:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?)?([+-]\d\d:\d\d(:\d\d(\.\d{6})?)?)?)?",
    re.ASCII | re.DOTALL,
)


def problem(body: bytes) -> str | None:
    """Return why a worker of fastpluggy could not read *body*; `None` if it can.

    >>> problem(b"[]")
    'its body is JSON, but not an object'
    """
    data, why = _read(body)
    return why or problem_of(body, data)


def envelope_problem(body: bytes) -> str | None:
    """Return why a worker by the document, which is less strict than a peer, could not read
    *body*."""
    data, why = _read(body)
    return why or _envelope_problem(body, data)


def _read(body: bytes) -> tuple[Any, str | None]:
    """Return the JSON in *body*, or the reason why a peer could not read it."""
    try:
        return _loads(body), None  # quick, and stricter than a peer, apart from the depth
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    why = encoding_problem(body)
    if why is not None:
        return None, why
    try:
        return json.loads(body), None
    except (ValueError, RecursionError):
        return None, "its body is not JSON"


def problem_of(body: bytes, data: Any) -> str | None:
    """Return why a worker of fastpluggy could not read *data*, the JSON that a strict decoder has
    read in *body*; `None` if it can."""
    if _has_form(data):  # as nearly all; what is wrong with others takes longer to say
        return _time_problem(data) or _text_problem(body, data)
    return _envelope_problem(body, data) or _payload_problem(data["payload"])


def _envelope_problem(body: bytes, data: Any) -> str | None:
    if not isinstance(data, dict):
        return "its body is JSON, but not an object"
    return _field_problem(data) or _text_problem(body, data)


def _field_problem(data: Mapping[str, Any]) -> str | None:
    for name, types in _ENVELOPE.items():
        if name not in data:
            return f"its body lacks {name}"
        if not isinstance(data[name], types):
            return _not_a(name, data[name], types)
    for name, types in _OPTIONAL.items():
        if name in data and (isinstance(data[name], bool) or not isinstance(data[name], types)):
            return _not_a(name, data[name], types)
    return _time_problem(data)


def _time_problem(data: Mapping[str, Any]) -> str | None:
    if not _is_time(data["created_at"]):
        return "its created_at is not a time as a peer writes it"
    return None


def _has_form(data: Any) -> bool:
    """Whether all fields are there, of the right types, and no others in the payload."""
    try:
        msgspec.convert(data, _Envelope)
    except (ValueError, RecursionError):  # also of texts that are none, with half of a character
        return False
    return True


def _text_problem(body: bytes, data: Any) -> str | None:
    if _is_deep(body):
        return f"its body has more than {_MAX_DEPTH} levels"
    if _ESCAPED_SURROGATE.search(body) and not _is_printable(data):
        return "its body holds half of a surrogate pair, which is no character"
    return None


def _payload_problem(payload: Mapping[str, Any]) -> str | None:
    missing = [name for name in REQUIRED_FIELDS if name not in payload]
    if missing:
        return f"its payload lacks {', '.join(missing)}"
    extra = sorted(payload.keys() - PAYLOAD_FIELDS.keys())
    if extra:
        return f"its payload has {', '.join(extra)}, which no payload may have"
    for name in REQUIRED_FIELDS:
        if not isinstance(payload[name], str):
            return _not_a(name, payload[name], (str,))
    if not payload["task_id"]:
        return "its task_id is empty"
    for name, types in _CONTAINERS.items():
        if not isinstance(payload.get(name), types):
            return _not_a(name, payload[name], types)
    return None


def _not_a(name: str, value: Any, types: tuple[type, ...]) -> str:
    return f"its {name} is {json_type(type(value))}, not {json_type(types[0])}"


_JSON_TYPES: Final[dict[type, str]] = {
    str: "text",
    dict: "an object",
    list: "an array",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def json_type(kind: type) -> str:
    """Return JSON's name for the type of a value."""
    return _JSON_TYPES.get(kind, kind.__name__)


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= _MAX_DEPTH:
        return False
    depth = deepest = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", body)):
        depth += 1 if bracket[0] in (b"[", b"{") else -1
        deepest = max(deepest, depth)
    return deepest > _MAX_DEPTH


def _is_printable(data: Any) -> bool:
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True
