"""The table of what came of all runs: `benchmarks/FAULTS.md`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tasktools.diagnosis.rules import RULES
from tests.faults.judging import Outcome
from tests.faults.registry import Fault

FILE: Final = Path(__file__).parents[2] / "benchmarks" / "FAULTS.md"
_INTRODUCTION: Final = """\
# Faults that were injected, and what `diagnose` said

Each fault was injected alone on a real node with real workers, and again (*loud*) while another
topic got a batch, a new worker, a setting and a mark. The cluster was judged every 5 s.
*Place* is that of the true cause among the rows at the end of the time it has; *at* is when it was
first among the first two, in seconds; *cold* is its place for a process that has just connected
(or what that names instead), and *AMQP* without the management API (`cannot tell` where the check
says so, - where it is silent).

This is no blind test: rules and thresholds were changed after looking at these faults, and kept
facts are judged again with the rules as they are now.
"""


def write(outcomes: Sequence[Outcome], faults: Mapping[str, Fault], file: Path = FILE) -> None:
    """Write the table."""
    versions = sorted({each.version for each in outcomes})
    lines = [
        _INTRODUCTION,
        f"RabbitMQ {' and '.join(versions)}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}. Made by `make faults`.",
        "",
        *summary(outcomes, faults),
        "",
        *_faults(outcomes, faults),
        "",
        f"Checks for which nothing was injected: {_not_injected(outcomes, faults)}.",
        "",
        *_quiet(outcomes, faults, "healthy", "Healthy clusters"),
        "",
        *_quiet(outcomes, faults, "unclear", "Not enough evidence"),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(outcomes: Sequence[Outcome], faults: Mapping[str, Fault]) -> list[str]:
    """Return the sums, as lines of a list."""
    lines = []
    for version in sorted({each.version for each in outcomes}):
        for loud in (False, True):
            runs = [
                each
                for each in outcomes
                if (each.version, each.loud) == (version, loud)
                and faults[each.fault].kind == "fault"
            ]
            if runs:
                first = sum(each.place == 1 for each in runs)
                second = sum(each.place in (1, 2) for each in runs)
                beside = ", with a loud change beside it" if loud else ""
                lines.append(
                    f"- RabbitMQ {version}{beside}: of {len(runs)} faults the cause was first in "
                    f"{first} ({first / len(runs):.0%}), in the first two rows in {second} "
                    f"({second / len(runs):.0%})"
                )
    healthy = [each for each in outcomes if faults[each.fault].kind != "unclear"]
    minutes = sum(each.watched_seconds for each in healthy) / 60
    false = sum(len(each.false) for each in healthy)
    unclear = [each for each in outcomes if faults[each.fault].kind == "unclear"]
    lines.append(f"- {minutes:.0f} healthy minutes: {false} rows `found`")
    lines.append(
        f"- {len(unclear)} runs without enough evidence: "
        f"{sum(len(each.false) for each in unclear)} rows `found`"
    )
    slowest = max((each.gather_seconds for each in outcomes), default=0.0)
    lines.append(f"- The slowest gathering of facts took {slowest:.1f} s")
    return lines


def _faults(outcomes: Sequence[Outcome], faults: Mapping[str, Fault]) -> list[str]:
    lines = [
        "| fault | expected | RabbitMQ | place | severity | at | within | cold | AMQP "
        "| first rows |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in _ordered(outcomes, faults, "fault"):
        fault = faults[each.fault]
        at = "-" if each.at is None else f"{each.at:.0f}"
        doubt = "" if each.is_true in (True, None) else " (the broker did not show it)"
        cells = [
            f"{each.fault}{' (loud)' if each.loud else ''}{doubt}",
            " or ".join(f"`{check}`" for check in fault.expect),
            each.version,
            str(each.place or "-"),
            each.severity or "-",
            at,
            f"{fault.within:.0f}",
            each.cold,
            each.amqp,
            ", ".join(f"`{row}`" for row in each.beside) or "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _not_injected(outcomes: Sequence[Outcome], faults: Mapping[str, Fault]) -> str:
    expected = {check for each in outcomes for check in faults[each.fault].expect}
    checks = {check.partition(":")[0] for check in expected}
    others = [rule.check for rule in RULES if rule.check not in checks]
    return ", ".join(f"`{check}`" for check in others) or "none"


def _quiet(
    outcomes: Sequence[Outcome], faults: Mapping[str, Fault], kind: str, title: str
) -> list[str]:
    lines = [f"## {title}", "", "| case | RabbitMQ | minutes | rows found |"]
    lines += ["| --- | --- | --- | --- |"]
    for each in _ordered(outcomes, faults, kind):
        found = ", ".join(each.false) or "none"
        cells = [each.fault, each.version, f"{each.watched_seconds / 60:.1f}", found]
        lines.append(f"| {' | '.join(cells)} |")
    if kind == "healthy":
        before = [
            f"{each.fault}: {row}"
            for each in outcomes
            if faults[each.fault].kind == "fault"
            for row in each.false
        ]
        lines += ["", f"Rows found before an injection: {', '.join(before) or 'none'}."]
    return lines


def _ordered(outcomes: Sequence[Outcome], faults: Mapping[str, Fault], kind: str) -> list[Outcome]:
    order = list(faults)
    chosen = [each for each in outcomes if faults[each.fault].kind == kind]
    return sorted(chosen, key=lambda each: (order.index(each.fault), each.version, each.loud))
