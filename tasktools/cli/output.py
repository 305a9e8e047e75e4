"""Where answers go: tables and JSON to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import click
import pandas as pd
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tasktools.cli import show
from tasktools.core.schemas import Schema

DEMO: Final = "DEMO: a made-up cluster"

_PIPE_WIDTH: Final = 20_000


Render = Callable[..., tuple[RenderableType, tuple[str, ...]]]


def answer(
    frame: pd.DataFrame, schema: Schema, *, as_json: bool, render: Render = show.table
) -> None:
    """Print *frame* as JSON, or as a table with its notes under it, on stderr."""
    if as_json:
        write(show.document(frame))
        return
    heading(frame)
    section(frame, schema, render=render)
    notes(frame)


def heading(frame: pd.DataFrame) -> None:
    """Print where *frame* comes from: always for the demo, else on a terminal."""
    where = frame.attrs.get("cluster") or frame.attrs.get("ledger", "")
    if "demo" in frame.attrs:
        write(DEMO)
    elif width() is not None:
        write(show.harmless(str(where).strip("<>")))


def section(frame: pd.DataFrame, schema: Schema, *, render: Render = show.table) -> None:
    """Print *frame* as a table."""
    drawn, left_out = render(frame, schema, width=width())
    draw(drawn)
    if frame.empty:
        what = schema.name.replace("_", " ")
        sources = frame.attrs.get("sources", {}).values()
        all_ok = all(source["ok"] for source in sources)
        remark([f"There are no {what}." if all_ok else f"No {what} are known."])
    if left_out:
        remark([f"note: no room for {', '.join(left_out)}; --json has all columns"])


def notes(frame: pd.DataFrame) -> None:
    """Print what one should know beside *frame*, on stderr."""
    remark([f"note: {remark}" for remark in show.remarks(frame)])


def tally(outcomes: Mapping[str, int], *, demo: bool) -> None:
    """Print how many tasks had which outcome."""
    if demo:
        write(DEMO)
    draw(show.counts(outcomes, "tasks", width=width()))


def draw(renderable: RenderableType) -> None:
    """Print something of rich's; in a pipe it gets all the room it wants."""
    console = Console(width=width() or _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(renderable)
    lines = captured.get().splitlines()
    write("\n".join(line.rstrip() for line in lines))


def width() -> int | None:
    """Return the width of the terminal; `None` when stdout is none."""
    return Console().width if sys.stdout.isatty() else None


def write(text: str) -> None:
    """Print *text* to stdout; what its encoding cannot say is written out."""
    encoding = sys.stdout.encoding or "utf-8"
    readable = text.encode(encoding, "backslashreplace").decode(encoding)
    # rich has left colours out already where they are not wanted
    click.echo(readable, color=True)


def remark(lines: Iterable[str]) -> None:
    """Print *lines* to stderr."""
    for line in lines:
        click.echo(line, err=True)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, when that is a terminal; an interrupt says how far it got."""
    columns = (
        TextColumn("publishing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    settled = 0
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("publishing", total=total)

        def advance(n: int) -> None:
            nonlocal settled
            settled += n
            bar.advance(task, n)

        try:
            yield advance
        except KeyboardInterrupt:
            raise click.ClickException(
                f"Interrupted after {settled:,} of {total:,} tasks were settled; whether others "
                "were queued is in doubt. Look before you publish them again."
            ) from None
