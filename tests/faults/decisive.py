"""The two looks of each run that decide about it, in one file beside the tests."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tasktools.diagnosis.facts import Facts
from tests.faults import judging, records
from tests.faults.registry import Fault

FILE: Final = Path(__file__).with_name("decisive.jsonl.xz")


class _Line(msgspec.Struct, frozen=True):
    fault: str
    version: str
    before: msgspec.Raw
    facts: msgspec.Raw


class Decisive(msgspec.Struct, frozen=True):
    """The last *facts* within the time that a fault has, and those of the look *before*."""

    fault: str
    version: str
    before: Facts
    facts: Facts


def write(runs: Iterable[tuple[Path, Fault]], file: Path = FILE) -> None:
    """Keep the decisive looks of *runs*, and those of all other faults that are in *file*."""
    lines = {
        msgspec.json.decode(text, type=_Line).fault: text
        for text in lzma.decompress(file.read_bytes()).splitlines()
    }
    for path, fault in runs:
        head = records.header(path)
        before, last = (msgspec.Raw(records.encode(each)) for each in judging.decisive(path, fault))
        lines[fault.name] = msgspec.json.encode(_Line(fault.name, head.version, before, last))
    file.write_bytes(lzma.compress(b"\n".join(lines.values())))  # the looks have much in common


def read(file: Path = FILE) -> Iterator[Decisive]:
    """Yield what is kept."""
    for text in lzma.decompress(file.read_bytes()).splitlines():
        line = msgspec.json.decode(text, type=_Line)
        before, facts = records.decode(line.before), records.decode(line.facts)
        yield Decisive(line.fault, line.version, before, facts)
