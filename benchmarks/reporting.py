"""The duration of a report, as processor time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import tasktools as tt
from benchmarks.measure import Result, at_most
from tests.recorded_day import record_day

_BOUND_SECONDS: Final = 5.0
_READING_SECONDS: Final = 1.84
"""The time that reading all samples of queues takes on the machine for which the bound was set."""


def reporting(*, rounds: int) -> Result:
    """`report` of a day of 100 topics: on another machine all takes longer by what reading does."""
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder, "day.db")
        record_day(recording)
        with tt.connect(f"sqlite:///{recording}") as history:
            pairs = [
                (
                    _cpu_seconds(lambda: history.queue_depth(since="1D")),
                    _cpu_seconds(lambda: _report(history, Path(folder, "day.html"))),
                )
                for _ in range(rounds)
            ]
    reading, took = map(min, zip(*pairs, strict=True))  # a busy machine only adds to either
    return at_most(
        "report() of a day of 100 topics, in processor time, against 5 s where reading the length "
        f"of its queues takes {_READING_SECONDS} s",
        (took / _BOUND_SECONDS) / (reading / _READING_SECONDS),
        1,
        f"{took:.1f} s, reading {reading:.2f} s",
    )


def _report(history: tt.Cluster, file: Path) -> None:
    tt.report(history, file, since="1D", overwrite=True)


def _cpu_seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
