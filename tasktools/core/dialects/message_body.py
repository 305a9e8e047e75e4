"""A message's body and properties; the JSON in the body is read once for all dialects."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from tasktools.core.models import Properties

_loads: Final = msgspec.json.Decoder().decode
_NOT_READ: Final = object()


class MessageBody:
    """The plain bytes of a message's body, its properties, and the JSON in it."""

    __slots__ = ("_data", "_problem", "is_compressed", "is_strict", "plain", "properties")

    def __init__(
        self, plain: bytes, properties: Properties, *, is_compressed: bool = False
    ) -> None:
        self.plain = plain
        self.properties = properties
        self.is_compressed = is_compressed
        """Whether the body lies compressed or encoded in its queue."""
        self.is_strict = False
        """Whether the body, once read, is JSON in every respect."""
        self._data: Any = _NOT_READ
        self._problem = ""

    @property
    def problem(self) -> str | None:
        """The reason why the body is not JSON, in words; `None` if it is."""
        self._read()
        return self._problem or None

    def json(self) -> Any:
        """Return the JSON in the body. Raises `ValueError`, in words."""
        self._read()
        if self._problem:
            raise ValueError(self._problem)
        return self._data

    def object(self) -> dict[str, Any]:
        """Return the JSON object in the body; an empty one if there is none."""
        self._read()
        return self._data if isinstance(self._data, dict) else {}

    @property
    def encoding_problem(self) -> str | None:
        """The reason why a program that reads only plain UTF-8 JSON cannot read the body; `None` if
        it can."""
        self._read()
        return None if self.is_strict else encoding_problem(self.plain)

    def _read(self) -> None:
        if self._data is not _NOT_READ:
            return
        self._data = None
        try:
            self._data, self.is_strict = _loads(self.plain), True
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._read_loosely()
        except RecursionError:
            self._problem = "the body is JSON nested too deeply"

    def _read_loosely(self) -> None:
        """Read JSON as the standard library writes it: with NaN, and with halves of surrogate
        pairs, which nothing can print."""
        try:
            printable = json.dumps(json.loads(self.plain), ensure_ascii=False)
            self._data = json.loads(printable.encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            self._problem = "the body is not JSON"


def encoding_problem(body: bytes) -> str | None:
    """Return why *body* is not plain UTF-8; `None` if it is."""
    encoding = json.detect_encoding(body)  # also UTF-16 of ASCII, which is valid UTF-8 with NULs
    if encoding == "utf-8-sig":
        return "its body begins with a byte order mark"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "its body is not UTF-8"
    return None if encoding == "utf-8" else "its body is not UTF-8"
