"""Failures on the screen: their groups, then one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import pandas as pd

from tasktools.cli import output, render
from tasktools.core.frames import export, schemas
from tasktools.core.frames.failure_groups import failure_groups
from tasktools.core.frames.schema import Schema

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
    frame: pd.DataFrame, schema: Schema, *, by: Sequence[str], rows: int, as_json: bool
) -> None:
    """Show the groups of *frame*, and the first *rows* of it; or all as one JSON document."""
    groups = failure_groups(frame, list(by))
    if as_json:
        output.write(render.document(frame, groups=export.rows(groups)))
        return
    output.heading(frame)
    if len(frame):
        output.section(groups, schemas.FAILURE_GROUPS)
    if rows and len(frame):
        output.write("")
    if rows or frame.empty:
        output.section(frame.head(rows), schema)
    if 0 < rows < len(frame):
        output.remark([f"note: {len(frame) - rows:,} more; --rows or --json lists them"])
    output.notes(frame)
