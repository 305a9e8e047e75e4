"""Changes of single values in a JSON text; the rest keeps its bytes.

Unchanged parts are copied byte for byte. That keeps what parsing and writing would lose: numbers
that no float can hold, `1.0`, NaN, escapes, the order of keys, duplicate keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

Change = str | None | Mapping[str, "Change"]
"""The JSON text to put there, `None` to take out what is there, or changes within it by key."""

# Numbers are only passed over, so they need not be numbers that Python can hold.
_scan: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode
_space: Final = re.compile(r"[ \t\n\r]+").match
_sign: Final = re.compile(r"[ \t\n\r]*([,:}\]])[ \t\n\r]*").match


class Misplaced(ValueError):
    """A change does not fit the JSON; *path* is its position, the message says why."""

    def __init__(self, path: tuple[str, ...], why: str) -> None:
        super().__init__(why)
        self.path = path


class _Item(NamedTuple):
    """An item of an object or array: in the text from *start* to *end*, its value from *value*
    on."""

    key: str
    start: int
    value: int
    end: int


def changed(text: str, changes: Mapping[str, Change]) -> str:
    """Return *text*, an object or array, with *changes*, whose positions all refer to the original
    text.

    Items of an array have their index as key. New items are put at the end: a key that an object
    does not have, or the index after an array's last. Raises `Misplaced`, `json.JSONDecodeError`
    and, where *text* is nested too deeply, `RecursionError`.
    """
    result, end = _within(text, _skip(text, 0), changes, ())
    if _skip(text, end) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return result


def _within(
    text: str, start: int, changes: Mapping[str, Change], path: tuple[str, ...]
) -> tuple[str, int]:
    if text[start : start + 1] not in ("{", "["):
        raise Misplaced(path, "is neither an object nor an array")
    items, end = _items(text, start)
    known = [item.key for item in items]
    for key in changes:
        if known.count(key) > 1:
            raise Misplaced((*path, key), "is there more than once")
    written = []
    for item in items:
        match changes.get(item.key, text[item.value : item.end]):
            case str(value):
                written.append(text[item.start : item.value] + value)
            case Mapping() as inner:
                value, _ = _within(text, item.value, inner, (*path, item.key))
                written.append(text[item.start : item.value] + value)
    written += [
        _new(key, changes[key], None if text[start] == "{" else len(items), path)
        for key in changes
        if key not in known
    ]
    return text[start] + ", ".join(written) + text[end - 1], end


def _new(key: str, change: Change, length: int | None, path: tuple[str, ...]) -> str:
    """Return a new item of an object, or of an array that has *length* items."""
    if not isinstance(change, str) or (length is not None and key != str(length)):
        raise Misplaced((*path, key), "is not there")
    return change if length is not None else f"{json.dumps(key, ensure_ascii=False)}: {change}"


# --- reading -----------------------------------------------------------------------------


def _items(text: str, start: int) -> tuple[list[_Item], int]:
    """Return the items of the object or array that begins at *start*, and where it ends."""
    items: list[_Item] = []
    closing = "}" if text[start] == "{" else "]"
    at = _skip(text, start + 1)
    if text[at : at + 1] == closing:
        return items, at + 1
    while True:
        item = _member(text, at) if closing == "}" else _element(text, at, len(items))
        items.append(item)
        sign = _sign(text, item.end)
        if sign is None or sign[1] not in (closing, ","):
            raise json.JSONDecodeError(f"Expecting ',' or {closing!r}", text, item.end)
        if sign[1] == closing:
            return items, sign.end(1)
        at = sign.end()


def _element(text: str, start: int, index: int) -> _Item:
    return _Item(str(index), start, start, _scan(text, start)[1])


def _member(text: str, start: int) -> _Item:
    if text[start : start + 1] != '"':
        raise json.JSONDecodeError("Expecting a key", text, start)
    key, end = _scan(text, start)
    sign = _sign(text, end)
    if sign is None or sign[1] != ":":
        raise json.JSONDecodeError("Expecting ':'", text, end)
    return _Item(key, start, sign.end(), _scan(text, sign.end())[1])


def _skip(text: str, at: int) -> int:
    space = _space(text, at)
    return at if space is None else space.end()
