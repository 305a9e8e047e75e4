"""Facts that were gathered while a fault was injected, as files: a line of JSON a look.

Rules are tried on them again without a broker.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self, get_type_hints

import msgspec

from tasktools.core.models import DurationReading
from tasktools.diagnosis.facts import Facts

_LEVEL: Final = 6  # of compression: a look of 30 kB takes 3 ms


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What was run. *version* is RabbitMQ's."""

    fault: str
    version: str
    loud: bool


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Facts, and how many seconds it took to gather them; *cold*: by a process that has just
    connected."""

    facts: Facts
    seconds: float
    cold: bool = False


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """When the fault was there; *is_true*: what the broker said, `None` if it was not asked."""

    at: float
    is_true: bool | None


class _Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A line of a file: an injection, or a look."""

    injection: Injection | None = None
    facts: msgspec.Raw = msgspec.Raw()
    seconds: float = 0.0
    cold: bool = False


# JSON has no tuples as keys: the durations become a list of (worker, task name, readings).
_Durations = list[tuple[str, str, tuple[DurationReading, ...]]]
_FIELDS: Final = {**get_type_hints(Facts), "durations": _Durations}
_ADDED: Final = ("earlier_ends",)
"""Fields that facts of earlier runs do not have."""
_StoredFacts: Final[Any] = msgspec.defstruct(
    "StoredFacts",
    [(name, kind, ()) if name in _ADDED else (name, kind) for name, kind in _FIELDS.items()],
    kw_only=True,
)
_facts_decoder: Final = msgspec.json.Decoder(_StoredFacts)
_line_decoder: Final = msgspec.json.Decoder(_Line)


class Recording:
    """A file that is being written."""

    def __init__(self, file: Path, header: Header) -> None:
        self.file = file
        self._part = file.with_suffix(".part")
        file.parent.mkdir(parents=True, exist_ok=True)
        self._out = gzip.GzipFile(self._part, "wb", _LEVEL)
        self._write(header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_exc: object) -> None:
        self._out.close()
        if failed is None:
            self._part.replace(self.file)
        else:
            self._part.unlink()

    def look(self, look: Look) -> None:
        """Append a look."""
        facts = msgspec.Raw(encode(look.facts))
        self._write(_Line(facts=facts, seconds=look.seconds, cold=look.cold))

    def injection(self, injection: Injection) -> None:
        """Append the injection."""
        self._write(_Line(injection=injection))

    def _write(self, value: Any) -> None:
        self._out.write(msgspec.json.encode(value) + b"\n")


def encode(facts: Facts) -> bytes:
    """Return *facts* as JSON."""
    fields = {name: getattr(facts, name) for name in _FIELDS}
    fields["durations"] = [(*key, readings) for key, readings in facts.durations.items()]
    return msgspec.json.encode(_StoredFacts(**fields))


def decode(text: bytes | msgspec.Raw) -> Facts:
    """Return the facts in *text*."""
    stored = _facts_decoder.decode(text)
    fields = {name: getattr(stored, name) for name in _FIELDS}
    fields["durations"] = {
        (worker, name): readings for worker, name, readings in fields["durations"]
    }
    return Facts(**fields)


def header(file: Path) -> Header:
    """Return the header of a file."""
    with gzip.open(file) as lines:
        return msgspec.json.decode(lines.readline(), type=Header)


def entries(file: Path) -> Iterator[Look | Injection]:
    """Yield what happened, in order."""
    with gzip.open(file) as lines:
        next(lines)
        for text in lines:
            line = _line_decoder.decode(text)
            if line.injection is not None:
                yield line.injection
            else:
                yield Look(facts=decode(line.facts), seconds=line.seconds, cold=line.cold)
