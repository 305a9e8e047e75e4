"""The findings of `tt.explain` in tasks with known causes: ``python -m benchmarks.explain``.

Writes EXPLAIN.md beside this file, and exits with 1 when a bound is not met. Kibana's rule, which
corrects for nothing, stands beside it.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

import tasktools as tt
from benchmarks import explain_cases as cases
from benchmarks.explain_cases import Case, Mask
from benchmarks.kibana_rule import significant
from benchmarks.measure import Result, at_most

_RESULTS = Path(__file__).with_name("EXPLAIN.md")
_SEEDS = 30
_SHUFFLES = 100
_SHAPES = {  # tasks, of which fail, customers
    "5 % of 4,000 fail": (4_000, 200, 400),
    "20 of 600 fail": (600, 20, 400),
    "3,000 customers, 3 % of 4,000 fail": (4_000, 120, 3_000),
    "30 % of 3,000 fail": (3_000, 900, 400),
}


@dataclass(slots=True)
class Check:
    """Runs of one kind: in how many of them the answer was right, and Kibana's was."""

    name: str
    bound: str = ""
    least: float = 0.0
    """The share of runs that must be right."""
    right: list[bool] = field(default_factory=list)
    kibana: list[bool] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    """Values that Kibana shows in each run."""

    @property
    def met(self) -> bool:
        """Whether enough runs are right."""
        return share(self.right) >= self.least

    def line(self) -> str:
        """Return the row of the table."""
        theirs = f"{share(self.kibana):.0%}" if self.kibana else "-"
        count = f"{statistics.median(self.shown):.0f}" if self.shown else "-"
        bound = self.bound or (f"at least {self.least:.0%}" if self.least else "-")
        return (
            f"| {self.name} | {len(self.right)} | {share(self.right):.1%} | {bound} | {theirs} | "
            f"{count} |"
        )


def share(flags: Sequence[bool]) -> float:
    """Return the share of *flags* that are set."""
    return sum(flags) / max(len(flags), 1)


def names(rows: pd.DataFrame) -> list[str]:
    """Return the rows of an answer as `field=value`, pairs with ` & ` between."""
    pairs = zip(rows["field"], rows["value"], rows["and_field"], rows["and_value"], strict=True)
    return [
        f"{name}={value}" + ("" if pd.isna(other) else f" & {other}={other_value}")
        for name, value, other, other_value in pairs
    ]


def left(rows: pd.DataFrame) -> list[str]:
    """Return the rows that no other row explains or repeats."""
    is_left = rows["explained_by"].isna() & rows["same_as"].isna()
    return [name for name, is_one in zip(names(rows), is_left, strict=True) if is_one]


def is_first(rows: pd.DataFrame, case: Case) -> bool:
    """Whether the cause is the first row."""
    return len(rows) > 0 and set(names(rows)[0].split(" & ")) == case.parts


# --- checks ------------------------------------------------------------------------------


def causes(count: int, seeds: int) -> Iterator[Check]:
    """Look for single values, for one in few rows, and for pairs."""
    few = 1.0 if count >= 20_000 else 0.8
    kinds = {
        "one of 11 causes": (cases.CAUSES, 1.0),
        "a customer with 2.8 % of the tasks": ((cases.FEW_ROWS,), few),
        "a pair": (cases.INTERACTIONS, 1.0 if count >= 20_000 else 0.9),
    }
    checks = {
        kind: (
            Check(f"{kind} comes first, {count:,} tasks", least=least),
            Check(f"{kind} is all that is left, {count:,} tasks", least=min(least, 0.95)),
        )
        for kind, (_, least) in kinds.items()
    }
    for seed in range(seeds):
        rng = np.random.default_rng([1, count, seed])
        tasks = cases.tasks(rng, count)
        for kind, (of_kind, _) in kinds.items():
            first, alone = checks[kind]
            for case in of_kind:
                failed, succeeded = _split(tasks, cases.fails(rng, case.cause(tasks)))
                rows = tt.explain(failed, succeeded)
                first.right.append(is_first(rows, case))
                alone.right.append(first.right[-1] and len(left(rows)) == 1)
                shown = significant(failed, succeeded)
                alone.shown.append(len(shown))
                alone.kibana.append(len(shown) == 1 and {shown[0]} == case.parts)
                if len(case.parts) == 1:
                    first.kibana.append(bool(shown) and {shown[0]} == case.parts)
    for pair in checks.values():
        yield from pair


def copies(count: int, seeds: int) -> Iterator[Check]:
    """Put a copy of the cause's field, and a field that mostly agrees with it, beside it."""
    same = Check(f"an exact copy is second, and is told as the same, {count:,} tasks", least=1.0)
    close = Check(f"what agrees in 95 % is explained by it, {count:,} tasks", least=1.0)
    case = cases.CAUSES[3]
    for seed in range(seeds):
        rng = np.random.default_rng([2, count, seed])
        tasks = cases.tasks(rng, count)
        tasks["zone"] = cases.copied(rng, tasks["host"], 1.0)
        rows = _explained(rng, tasks, case)
        second = names(rows)[1:2] == ["zone=zone of host-1"]
        same.right.append(is_first(rows, case) and second and rows["same_as"].iloc[1] == case.name)
        tasks["zone"] = cases.copied(rng, tasks["host"], 0.95)
        rows = _explained(rng, tasks, case)
        others = rows[rows["field"] == "zone"]
        close.right.append(
            is_first(rows, case) and len(others) > 0 and bool(others["explained_by"].notna().all())
        )
    yield from (same, close)


def certain(count: int, seeds: int) -> Check:
    """Let every task with the cause fail, and no other."""
    check = Check(f"all with the cause fail and no other, {count:,} tasks", least=0.99)
    for seed in range(seeds):
        rng = np.random.default_rng([3, count, seed])
        tasks = cases.tasks(rng, count)
        for case in cases.CAUSES:
            failed, succeeded = _split(tasks, cases.fails(rng, case.cause(tasks), base=0, risk=1))
            check.right.append(is_first(tt.explain(failed, succeeded), case))
            shown = significant(failed, succeeded)
            check.kibana.append(bool(shown) and {shown[0]} == case.parts)
    return check


def shuffled(shape: str, seeds: int) -> Check:
    """Let tasks fail by chance alone: nothing may be shown, but for 5 runs of 100."""
    count, failures, customers = _SHAPES[shape]
    check = Check(f"nothing is shown where chance alone decides: {shape}", least=0.95)
    for seed in range(seeds):
        rng = np.random.default_rng([4, count, failures, customers, seed])
        tasks = cases.tasks(rng, count, customers=customers)
        failed, succeeded = _split(tasks, _by_chance(rng, count, failures))
        check.right.append(len(tt.explain(failed, succeeded)) == 0)
        shown = significant(failed, succeeded)
        check.kibana.append(not shown)
        check.shown.append(len(shown))
    return check


def tries(count: int, seeds: int) -> Iterator[Check]:
    """Give each failed task three rows, one a try, where chance alone decides."""
    same = Check(f"three rows a failed task change nothing, {count:,} tasks", least=1.0)
    naive = Check(
        f"the same rows without their task_id: nothing is shown, {count:,} tasks",
        bound="to compare",
    )
    for seed in range(seeds):
        rng = np.random.default_rng([5, count, seed])
        tasks = cases.tasks(rng, count)
        failed, succeeded = _split(tasks, _by_chance(rng, count, count // 20))
        thrice = pd.concat([failed] * 3, ignore_index=True)
        same.right.append(tt.explain(thrice, succeeded).equals(tt.explain(failed, succeeded)))
        rows = tt.explain(thrice.drop(columns="task_id"), succeeded.drop(columns="task_id"))
        naive.right.append(rows.empty)
    yield from (same, naive)


def speed(rounds: int) -> Result:
    """Measure 100,000 tasks of 30 fields, 16 of them in dicts and lists."""
    rng = np.random.default_rng(6)
    tasks = cases.tasks(rng, 100_000, customers=2_000)
    for number in range(8):
        values = rng.integers(0, 30 + 40 * number, len(tasks))
        tasks[f"tag_{number}"] = pd.Series([f"v{value}" for value in values], dtype="string")
    case = cases.CAUSES[3]
    failed, succeeded = _split(tasks, cases.fails(rng, case.cause(tasks)))
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        rows = tt.explain(failed, succeeded)
        seconds.append(time.process_time() - began)
        assert is_first(rows, case)
    return at_most(
        "seconds (of one core) for explain of 100,000 tasks of 30 fields",
        statistics.median(seconds),
        2,
        f"{rows.attrs['tests']['values']:,} values and {rows.attrs['tests']['pairs']:,} pairs",
    )


def _split(tasks: pd.DataFrame, is_failed: Mask) -> tuple[pd.DataFrame, pd.DataFrame]:
    return tasks[is_failed], tasks[~is_failed]


def _explained(rng: np.random.Generator, tasks: pd.DataFrame, case: Case) -> pd.DataFrame:
    return tt.explain(*_split(tasks, cases.fails(rng, case.cause(tasks))))


def _by_chance(rng: np.random.Generator, count: int, failures: int) -> Mask:
    is_failed = np.zeros(count, dtype=bool)
    is_failed[rng.choice(count, failures, replace=False)] = True
    return is_failed


# --- all of them ---------------------------------------------------------------------------


def checks(seeds: int, shuffles: int) -> Iterator[Check]:
    """Yield all checks."""
    yield from causes(20_000, seeds)
    yield from causes(4_000, seeds)
    yield from copies(20_000, seeds)
    yield from copies(4_000, seeds)
    for count in (600, 4_000, 20_000):
        yield certain(count, seeds)
    for shape in _SHAPES:
        yield shuffled(shape, shuffles)
    yield from tries(4_000, seeds)


def main() -> int:
    """Run all checks and write them down."""
    lines = []
    missed = 0
    for check in checks(_SEEDS, _SHUFFLES):
        lines.append(check.line())
        missed += not check.met
        print("ok  " if check.met else "MISS", lines[-1], flush=True)
    took = speed(5)
    missed += not took.met
    print("ok  " if took.met else "MISS", took.name, f"{took.ratio:.2f}")
    _write(lines, took)
    return 1 if missed else 0


def _write(lines: Sequence[str], took: Result) -> None:
    text = [
        "# What `tt.explain` finds",
        "",
        "Made-up tasks of 20 fields (workers of hosts, tasks of topics, nested arguments, ids,",
        "missing values, few customers with most tasks): 3 % fail, of those with the cause 30 %.",
        f"{_SEEDS} seeds a cause, level 0.01. Python {platform.python_version()}, pandas",
        f"{pd.__version__}, {datetime.now(UTC):%Y-%m-%d}. Made by `make bench`",
        "(`python -m benchmarks.explain`).",
        "",
        "Beside it Kibana's correlations of failed transactions (`significant_terms` with",
        "`p_value`, below 0.02), on the same fields and values: how often it is right, and how",
        "many values it shows (median). It corrects for nothing, and knows no pairs.",
        "",
        "| what | runs | right | bound | Kibana's rule | it shows |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
        "",
        f"{took.name[0].upper()}{took.name[1:]}: {took.ratio:.2f} ({took.bound}); {took.detail}.",
    ]
    _RESULTS.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    sys.exit(main())
