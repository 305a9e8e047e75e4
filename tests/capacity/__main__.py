"""Measure the accuracy of capacity planning: ``python -m tests.capacity [SECTION…]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import click

from tests.capacity import drains, needs, real_drains, real_pool, real_replays, replays, truth
from tests.capacity.page import write_section
from tests.capacity.traffic import KINDS


class Section(NamedTuple):
    """A section of the page: its title, its measurement by number of seeds and the first of them,
    and what these are in a full run."""

    title: str
    measure: Callable[[int, int], str]
    seeds: int
    first: int


def _truth(_seeds: int, _first: int) -> str:
    return "\n".join(f"* {kind}: {truth.true_need(kind):.3f}" for kind in KINDS)


def _text(lines: Callable[[int, int], Iterator[str]]) -> Callable[[int, int], str]:
    return lambda seeds, first: "\n".join(lines(seeds, first))


def _needs(days: float) -> Callable[[int, int], str]:
    return _text(lambda seeds, first: needs.section(seeds, first, days))


SECTIONS: Final = {
    "week": Section("The need, from a week", _needs(7.0), 50, 7_000),
    "2days": Section("The need, from two days", _needs(2.0), 50, 7_000),
    "day": Section("The need, from a day", _needs(1.0), 50, 7_000),
    "balance": Section("The need, recorded without messages", _text(needs.balance), 10, 7_000),
    "pool": Section("Waits on a real node", _text(real_pool.section), 4, 31),
    "drains": Section("Drain forecasts of ten kinds", drains.section, 40, 5_000),
    "real-drains": Section("Drains on a real node, 3.10", real_drains.section, 10, 100),
    "replays": Section(replays.TITLE, replays.section, 20, 7_000),
    "real-replays": Section(real_replays.TITLE, real_replays.section, 5, 100),
    "speed": Section("Speed of the solver", _text(lambda *_: needs.speed()), 1, 900),
    "truth": Section("True needs", _truth, 1, truth.FIRST_SEED),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SECTIONS)))
@click.option("--seeds", type=int, help="Instead of the number of a full run.")
@click.option("--first", type=int, help="The first seed, likewise.")
def main(names: Sequence[str], seeds: int | None, first: int | None) -> None:
    """Measure the sections NAMES (by default, all) and write them into benchmarks/CAPACITY.md."""
    for name in names or SECTIONS:
        section = SECTIONS[name]
        text = section.measure(
            section.seeds if seeds is None else seeds, section.first if first is None else first
        )
        write_section(section.title, text)
        click.echo(f"## {section.title}\n\n{text}\n")


if __name__ == "__main__":
    main()
