"""Run the benchmarks on a private node: ``python -m benchmarks [--small [--by-clock]]``.

The full run writes RESULTS.md beside this file; the small one, in `make test`, only checks, in two
parts: ``--by-processor`` beside other tests, ``--by-clock`` alone. Exits with 1 when a bound is not
met.
"""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from benchmarks import (
    browsing,
    cluster,
    diagnosing,
    explain,
    flower,
    recording,
    replaying,
    reporting,
    workers,
)
from benchmarks.measure import Result
from tasktools.testing import RabbitMQNode

_RESULTS = Path(__file__).with_name("RESULTS.md")


def _by_clock(node: RabbitMQNode, *, small: bool) -> Iterator[Result]:
    """Yield what is measured in seconds on the clock: nothing else may run meanwhile."""
    yield cluster.publish_many(
        node, tasks=5_000 if small else 20_000, one_by_one=300 if small else 2_000
    )
    yield from cluster.topics(node, count=500 if small else 1_000, rounds=9 if small else 15)
    yield from browsing.browsing(
        node,
        messages=20_000 if small else 100_000,
        rounds=3 if small else 5,
        bound=0.6 if small else 0.8,  # small ones are noisy, and what is fixed weighs more
    )
    if not small:
        yield browsing.against_the_api(node, messages=20_000, rounds=3)
    yield from replaying.replaying(
        node,
        messages=10_000 if small else 100_000,
        one_by_one=300 if small else 3_000,
        rounds=1 if small else 3,
        share=0.5 if small else 1.0,
    )
    yield from recording.hearing(node, workers=10_000, events=1_000, seconds=10 if small else 300)
    yield from workers.throughput(node, tasks=4_000 if small else 10_000, rounds=3)


def _by_processor(node: RabbitMQNode, *, small: bool) -> Iterator[Result]:
    """Yield what is measured in processor time, also beside other processes."""
    yield from cluster.import_time(rounds=7 if small else 11)
    yield from recording.reading(topics=10 if small else 100, rounds=7 if small else 3)
    yield diagnosing.diagnosing(
        topics=1_000, workers=1_000, ticks=20 if small else 120, rounds=3 if small else 5
    )
    yield explain.speed(rounds=3 if small else 5)
    yield workers.idle(node, seconds=10 if small else 60)
    yield from flower.beside_flower(
        node,
        events=12_000 if small else 1_000_000,
        rate=3_000 if small else 2_000,  # which Flower bears without loss on a busy machine
        rounds=0 if small else 5,
    )
    yield reporting.reporting(rounds=3)  # last: its heap makes what comes after it slower


_GROUPS = {"--by-clock": _by_clock, "--by-processor": _by_processor}


def main() -> int:
    """Run, print and (in full) write down."""
    small = "--small" in sys.argv[1:]
    groups = [group for flag, group in _GROUPS.items() if flag in sys.argv[1:]]
    measures = groups if small and groups else list(_GROUPS.values())
    rows = []
    with RabbitMQNode(plugins=["rabbitmq_shovel"]) as node:
        version = node.request("GET", "/api/overview")["rabbitmq_version"]
        for result in chain.from_iterable(measure(node, small=small) for measure in measures):
            rows.append(result)
            gc.collect()
            gc.freeze()  # what one has left is not looked through in the time of the next
            verdict = "ok  " if result.met else "MISS"
            print(f"{verdict} {result.name}: {result.ratio:.2f} ({result.bound}); {result.detail}")
    missed = sum(not result.met for result in rows)
    if not small:
        _write(rows, version)
    print(f"{len(rows) - missed} passed, {missed} failed")
    return 1 if missed else 0


def _write(rows: list[Result], version: str) -> None:
    lines = [
        "# Benchmark results",
        "",
        "Ratios within one run, as seen; the times behind them are of one machine and noisy.",
        f"RabbitMQ {version}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{datetime.now(UTC):%Y-%m-%d}. Made by `make bench`.",
        "",
        "| what | ratio | bound | behind it |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {r.name} | {r.ratio:.2f} | {r.bound} | {r.detail} |" for r in rows]
    _RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
