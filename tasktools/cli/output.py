"""Output: tables and JSON to stdout, everything else to stderr."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TextIO

import click
from rich.console import Console, RenderableType

from tasktools.cli import render as show
from tasktools.cli.columns import Answer
from tasktools.core.frames.schema import Schema

DEMO: Final = "DEMO: a made-up cluster"

_PIPE_WIDTH: Final = 20_000
_TOLD_BY_WORKERS: Final = ("active_tasks", "failures", "failure_groups")


Render = Callable[..., tuple[RenderableType, tuple[str, ...]]]


def answer(frame: Answer, schema: Schema, *, as_json: bool, render: Render = show.table) -> None:
    """Print *frame* as JSON, or as a table with its notes under it, on stderr."""
    if as_json:
        write(show.document(frame))
        return
    heading(frame)
    section(frame, schema, render=render)
    notes(frame)


def heading(frame: Answer) -> None:
    """Print the source of *frame*: always for the demo and for a recording (with its
    extent), else only on a terminal."""
    where = frame.attrs.get("cluster") or frame.attrs.get("ledger", "")
    if "demo" in frame.attrs:
        write(DEMO)
    if "recorded" in frame.attrs:
        write(show.harmless(frame.attrs["recorded"]))
    elif "demo" in frame.attrs:
        return
    elif width() is not None:
        write(show.harmless(str(where).strip("<>")))


def section(frame: Answer, schema: Schema, *, render: Render = show.table) -> None:
    """Print *frame* as a table."""
    drawn, left_out = render(frame, schema, width=width())
    draw(drawn, is_wide=render is show.all_columns)
    if not len(frame):
        what = schema.name.replace("_", " ")
        sources = frame.attrs.get("sources", {}).values()
        # No event names a worker that was killed before this command began.
        is_unheard = schema.name in _TOLD_BY_WORKERS and "unheard" in frame.attrs
        is_certain = (
            schema.name != "workers" and not is_unheard and all(source["ok"] for source in sources)
        )
        remark([f"There are no {what}." if is_certain else f"No {what} are known."])
    if left_out:
        remark([f"note: no room for {', '.join(left_out)}; --wide has all columns"])


def notes(frame: Answer) -> None:
    """Print the notes of *frame* to stderr, without what `heading` has printed."""
    shown = show.harmless(frame.attrs.get("recorded", ""))
    remark([f"note: {remark}" for remark in show.remarks(frame) if remark != shown])


def tally(outcomes: Mapping[str, int], *, demo: bool) -> None:
    """Print the number of tasks by outcome."""
    if demo:
        write(DEMO)
    draw(show.counts(outcomes, "tasks", width=width()))


def draw(renderable: RenderableType, *, is_wide: bool = False) -> None:
    """Print a renderable of rich; in a pipe, or if it *is_wide*, its width is unlimited."""
    console = Console(width=(None if is_wide else width()) or _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(renderable)
    lines = captured.get().splitlines()
    write("\n".join(line.rstrip() for line in lines))


def renew(title: str) -> None:
    """Clear the screen, or begin a new paragraph in a pipe, with *title*."""
    click.clear()  # a terminal only
    write(title if width() is not None else f"\n{title}")


def width() -> int | None:
    """Return the width of the terminal; `None` when stdout is no terminal."""
    return Console().width if sys.stdout.isatty() else None


def write(text: str) -> None:
    """Print *text* to stdout; characters that it cannot encode are escaped."""
    try:
        # rich has left colours out already where they are not wanted
        click.echo(_writable(text, sys.stdout), color=True)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # whoever read it has gone; click knows that
        raise click.ClickException(
            f"The answer cannot be written ({error.strerror}); what this command has done is done."
        ) from error


def _writable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"  # click takes ASCII for a mistake, and writes UTF-8
    return text.encode(encoding, "backslashreplace").decode(encoding)


def remark(lines: Iterable[str]) -> None:
    """Print *lines* to stderr."""
    for line in lines:
        click.echo(_writable(line, sys.stderr), err=True)


def refresh(text: str) -> None:
    """Write *text* over the last line of stderr if that is a terminal; "" only takes it away."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{_writable(text, sys.stderr)}", nl=False, err=True)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr if that is a terminal; report the progress at an interrupt."""
    from rich import progress as bars  # no table needs it

    columns = (
        bars.TextColumn("publishing"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    settled = 0
    with bars.Progress(
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
