"""The table of what came of all runs: `benchmarks/FAULTS.md`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tasktools.core.plurals import counted
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
facts are judged again with the rules as they are now. A run replaces the rows of what it has
injected, and leaves all others.
"""
_BY_HAND: Final = Path(__file__).parent / "by_hand"
"""Sections written by hand: faults tried without `make faults`, and the limits of its numbers."""


def write(outcomes: Sequence[Outcome], faults: Mapping[str, Fault], file: Path = FILE) -> None:
    """Write the table."""
    versions = sorted({each.version for each in outcomes})
    lines = [
        _INTRODUCTION,
        _by_hand("healthy_days"),
        _by_hand("not_injected"),
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
        "",
        _by_hand("on_celery").rstrip(),
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _by_hand(name: str) -> str:
    return (_BY_HAND / f"{name}.md").read_text(encoding="utf-8")


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
    healthy = [each for each in outcomes if faults[each.fault].kind == "healthy"]
    before = [each for each in outcomes if faults[each.fault].kind == "fault"]
    unclear = [each for each in outcomes if faults[each.fault].kind == "unclear"]
    lines.append(f"- {_found_in(healthy)} of healthy clusters")
    lines.append(f"- {_found_in(before)} before a fault was injected")
    lines.append(
        f"- {len(unclear)} runs without enough evidence: "
        f"{sum(len(each.false) for each in unclear)} rows `found`"
    )
    slowest = max((each.gather_seconds for each in outcomes), default=0.0)
    lines.append(f"- The slowest gathering of facts took {slowest:.1f} s")
    return lines


def _found_in(outcomes: Sequence[Outcome]) -> str:
    minutes = sum(each.watched_seconds for each in outcomes) / 60
    false = sum(len(each.false) for each in outcomes)
    return f"{counted(false, 'row')} `found` in {minutes:.0f} minutes"


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
    untold = kind == "unclear"
    lines = [f"## {title}", ""]
    lines += [f"| case | RabbitMQ | minutes | rows found |{' cannot tell |' if untold else ''}"]
    lines += [f"| --- | --- | --- | --- |{' --- |' if untold else ''}"]
    for each in _ordered(outcomes, faults, kind):
        false_findings = ", ".join(each.false) or "none"
        name = f"{each.fault}{' (loud)' if each.loud else ''}"
        cells = [name, each.version, f"{each.watched_seconds / 60:.1f}", false_findings]
        if untold:
            checks = faults[each.fault].expect
            words = (f"`{check}`{' (not)' * (check in each.untold)}" for check in checks)
            cells.append(", ".join(words) or "-")
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
