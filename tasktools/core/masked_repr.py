"""Representations without secrets, for whatever holds a message or a part of one.

Representations appear below notebook cells, in logs and in debuggers; the whole content is in the
attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

from tasktools.core.lazy_imports import is_frame
from tasktools.core.redaction import mask, mask_text


class MaskedStruct(msgspec.Struct, frozen=True):
    """A frozen struct with a masked representation."""

    def __repr__(self) -> str:
        return represented(self, self.__struct_fields__)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return rich_repr(self, self.__struct_fields__)


class MaskedRecord(msgspec.Struct):
    """A mutable struct with a masked representation."""

    def __repr__(self) -> str:
        return represented(self, self.__struct_fields__)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return rich_repr(self, self.__struct_fields__)


class MaskedRepr:
    """A base for a dataclass with ``repr=False``: its representation is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return represented(self, _names(self))

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return rich_repr(self, _names(self))


class _Words(str):
    """Words in place of a value, shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _names(thing: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(thing) if field.repr)


def represented(thing: object, names: Iterable[str]) -> str:
    """Return the representation of *thing* with its attributes *names*, without secrets."""
    shown = ", ".join(f"{name}={value!r}" for name, value in rich_repr(thing, names))
    return f"{type(thing).__name__}({shown})"


def rich_repr(thing: object, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Return the representation of *thing* for rich with its attributes *names*, without
    secrets."""
    return [(name, _Words(masked_repr(getattr(thing, name)))) for name in names]


def masked_repr(value: Any) -> str:
    """Return the representation of *value* without secrets; of a body and of a frame its size."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if is_frame(value):
        return f"<{len(value)} rows>"
    return mask_text(repr(mask(value)))
