"""Failures on the screen: their groups, then one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tasktools.cli import output, render
from tasktools.core.frames import export, schemas
from tasktools.core.frames.failure_groups import group_table
from tasktools.core.frames.schema import Schema
from tasktools.core.frames.table import Table

C = TypeVar("C", bound=Callable[..., Any])


def with_groups(schema: Schema) -> Callable[[C], C]:
    """Give a command that shows rows of *schema* the options ``--by`` and ``--rows``."""

    def give(command: C) -> C:
        by = click.option(
            "--by",
            multiple=True,
            type=click.Choice(schema.names),
            default=("fingerprint",),
            show_default=True,
            metavar="COL",
            help="Group by this column; several group together.",
        )
        rows = click.option(
            "--rows",
            type=click.IntRange(0),
            default=20,
            show_default=True,
            metavar="N",
            help="List N below the groups; --json lists all.",
        )
        return by(rows(command))

    return give


def show_failures(
    table: Table, schema: Schema, *, by: Sequence[str], rows: int, as_json: bool
) -> None:
    """Show the groups of *table*, and the first *rows* of it; or all as one JSON document."""
    groups = group_table(table, list(by))
    if as_json:
        output.write(render.document(table, groups=export.rows(groups)))
        return
    output.heading(table)
    if len(table):
        output.section(groups, schemas.FAILURE_GROUPS)
    if rows and len(table):
        output.write("")
    if rows or not len(table):
        output.section(table.head(rows), schema)
    if 0 < rows < len(table):
        output.remark([f"note: {len(table) - rows:,} more; --rows or --json lists them"])
    output.notes(table)
