"""Failures on the screen: their groups, then one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tasktools.cli import output, render
from tasktools.cli.display import Display, with_rows, write_csv
from tasktools.core.frames import export
from tasktools.core.frames.failure_groups import group_table
from tasktools.core.frames.nested_paths import is_path
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table

C = TypeVar("C", bound=Callable[..., Any])


def with_groups(schema: Schema) -> Callable[[C], C]:
    """Give a command that shows rows of *schema* the options ``--by`` and ``--rows``."""

    def check(
        _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
    ) -> tuple[str, ...]:
        for value in values:
            if value not in schema.names and not is_path(value, schema.names):
                raise click.BadParameter(
                    f"{value!r} is not one of {', '.join(schema.names)}, nor a path as "
                    "kwargs.customer.id or headers.tenant."
                )
        return values

    def complete(
        _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in schema.names if name.startswith(incomplete)]

    def give(command: C) -> C:
        by = click.option(
            "--by",
            multiple=True,
            callback=check,
            shell_complete=complete,
            default=("fingerprint",),
            show_default=True,
            metavar="COL",
            help="Group by this column, or by a path as kwargs.customer.id or headers.tenant; "
            "several group together.",
        )
        return by(with_rows("below the groups")(command))

    return give


def show_failures(table: Table, display: Display, *, by: Sequence[str], rows: int) -> None:
    """Show the groups of *table*, and the first *rows* of it; or all as one JSON document."""
    groups = group_table(table, list(by))
    table = display.table(table)
    if display.as_csv:
        write_csv(table)
        return
    if display.as_json:
        output.write(render.document(table, groups=export.rows(groups)))
        return
    output.heading(table)
    if len(table):
        display.section(groups)
    if rows and len(table):
        output.write("")
    if rows or not len(table):
        display.cut(table, rows)
    output.notes(table)
