"""The options of every command that shows a table: how it is sorted, cut, written and refreshed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import click

from tasktools.cli import output, render, time_options
from tasktools.cli.columns import Answer
from tasktools.cli.connection_options import with_json
from tasktools.cli.end_signal import end_signals
from tasktools.core.errors import TaskToolsError
from tasktools.core.frames import export
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table
from tasktools.core.timespans import in_words

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """The options of a command for showing its answer, which has one of *schemas*."""

    schemas: tuple[Schema, ...]
    sort: str | None
    wide: bool
    as_csv: bool
    as_json: bool
    watch: float | None = None

    def check(self, *, at: str | None = None) -> None:
        """Refuse options that contradict each other, before the cluster is reached."""
        if self.as_csv and self.as_json:
            raise click.UsageError("Give --csv or --json.")
        if self.watch is not None and at is not None:
            raise click.UsageError("--watch begins now; give it without --at.")
        if self.watch is not None and self.as_csv:
            raise click.UsageError("--watch writes tables, or with --json lines; not --csv.")

    def check_sort(self, columns: Collection[str]) -> None:
        """Refuse to sort by a name that is not one of the *columns* of the requested table."""
        if self.sort is not None and self.sort.removeprefix("-") not in columns:
            name = self.sort.removeprefix("-")
            raise click.UsageError(f"This table has no column {name} to sort by.")

    def show(self, look: Callable[[], Answer], *, rows: int | None = None) -> None:
        """Show at most *rows* rows of the result of *look* in a table. With --watch repeat until a
        signal comes; errors of the broker end it only in the first round."""
        if self.watch is None:
            self._show(self.table(look()), rows)
            return
        with end_signals() as end_signal:
            table: Table | None = self.table(look())
            while True:
                if table is not None:
                    self._show_again(table, rows)
                if end_signal.wait(self.watch):
                    return
                table = _next_look(lambda: self.table(look()))

    def table(self, answer: Answer) -> Table:
        """Return *answer* as a table in the order of --sort, with missing values at the end."""
        table = answer if isinstance(answer, Table) else Table.of_frame(answer, self.schemas[0])
        if self.sort is None:
            return table
        self.check_sort(table.columns)
        values = table[self.sort.removeprefix("-")]
        known = [place for place, value in enumerate(values) if value is not None]
        known.sort(key=lambda place: _order(values[place]), reverse=self.sort.startswith("-"))
        return table.at([*known, *(n for n, value in enumerate(values) if value is None)])

    def section(self, table: Table) -> None:
        """Print *table* alone."""
        draw = render.all_columns if self.wide else render.table
        output.section(table, table.schema, render=draw)

    def cut(self, table: Table, rows: int) -> None:
        """Print the first *rows* of *table*, and how many there are more."""
        self.section(table.head(rows))
        if rows < len(table):
            more = f"{len(table) - rows:,} more; --rows, --csv or --json lists them"
            output.remark([f"note: {more}"])

    def _show_again(self, table: Table, rows: int | None) -> None:
        if self.as_json:
            output.write(render.line(table))
            return
        now = render.local(datetime.now().astimezone())
        output.renew(f"{now}, every {in_words(self.watch or 0)} until Ctrl-C")
        self._show(table, rows)

    def _show(self, table: Table, rows: int | None) -> None:
        if self.as_json:
            output.write(render.document(table))
        elif self.as_csv:
            write_csv(table)
        else:
            output.heading(table)
            self.cut(table, len(table) if rows is None else rows)
            output.notes(table)


def _next_look(look: Callable[[], Table]) -> Table | None:
    """Return the result of *look*; if it fails, print the error and return `None`: the broker may
    come back."""
    try:
        return look()
    except TaskToolsError as error:
        now = render.local(datetime.now().astimezone())
        output.remark([render.harmless(f"{now}: {error}")])
        return None


def write_csv(table: Table) -> None:
    """Print *table* as CSV."""
    output.write(export.csv(table).rstrip("\n"))


def _order(value: Any) -> Any:
    """Return the sort key of a value: a text in lower case, a list or dict as its text."""
    if isinstance(value, list | dict | tuple):
        value = str(export.plain(value))
    return value.casefold() if isinstance(value, str) else value


def with_rows(listed: str) -> Callable[[C], C]:
    """Give a command the option ``--rows``, of the rows that are *listed*."""
    return click.option(
        "--rows",
        type=click.IntRange(0),
        default=20,
        show_default=True,
        metavar="N",
        help=f"List N {listed}; --csv and --json list all.",
    )


def with_display(*schemas: Schema, watch: bool = True) -> Callable[[C], C]:
    """Give a command that shows rows of *schemas* the options of `Display`."""
    names = tuple(dict.fromkeys(name for schema in schemas for name in schema.names))

    def column(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
        if value is not None and value.removeprefix("-") not in names:
            raise click.BadParameter(render.harmless(f"{value!r} is none of {', '.join(names)}."))
        return value

    def completed(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
        return [name for name in names if name.startswith(begun)]

    def give(command: C) -> C:
        @functools.wraps(command)
        def shown(*args: Any, **options: Any) -> None:
            fields = ("sort", "wide", "as_csv", "as_json", *(["watch"] if watch else []))
            display = Display(schemas=schemas, **{name: options.pop(name) for name in fields})
            display.check(at=options.get("at"))
            command(*args, display=display, **options)

        with_options: list[Callable[[Any], Any]] = [
            click.option(
                "--sort",
                callback=column,
                shell_complete=completed,
                metavar="COLUMN",
                help="Sort by a column, the smallest first; -COLUMN the largest first.",
            ),
            click.option(
                "--wide", is_flag=True, help="All columns, also where the terminal has no room."
            ),
            click.option("--csv", "as_csv", is_flag=True, help="As CSV, all columns."),
            with_json,
        ]
        if watch:
            with_options.append(
                click.option(
                    "--watch",
                    callback=time_options.span,
                    metavar="SPAN",
                    help="Show it again every SPAN, like 2s, until Ctrl-C.",
                )
            )
        result: Any = shown
        for give_option in reversed(with_options):
            result = give_option(result)
        decorated: C = result
        return decorated

    return give
