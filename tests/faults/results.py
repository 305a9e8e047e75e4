"""The outcome of each run that is in the table, in one file beside the tests.

Facts of runs are large and stay on the machine; so some faults can be injected anew, and the rows
of all others stay in the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.judging import Outcome

FILE: Final = Path(__file__).with_name("results.jsonl")


def read(file: Path = FILE) -> list[Outcome]:
    """Return the outcomes in *file*."""
    return [msgspec.json.decode(line, type=Outcome) for line in file.read_bytes().splitlines()]


def write(outcomes: Iterable[Outcome], file: Path = FILE) -> None:
    """Write *outcomes*, a line each."""
    lines = sorted(msgspec.json.encode(outcome) for outcome in outcomes)
    file.write_bytes(b"\n".join(lines) + b"\n")


def renewed(stored: Iterable[Outcome], judged: Iterable[Outcome]) -> list[Outcome]:
    """Return *stored* with those that were *judged* in the place of the same runs."""
    by_run = {(each.fault, each.version, each.loud): each for each in (*stored, *judged)}
    return list(by_run.values())
