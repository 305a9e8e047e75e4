"""Times and spans as options of commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from tasktools.cli import render
from tasktools.core import timespans

C = TypeVar("C", bound=Callable[..., Any])


def with_window(since: str) -> Callable[[C], C]:
    """Give a command the options ``--since``, by default *since*, and ``--until``."""

    def give(command: C) -> C:
        begin = click.option(
            "--since",
            default=since,
            show_default=True,
            callback=moment,
            metavar="MOMENT",
            help="From then on: a time like 2026-11-24T12:00Z, or a span before the end, like 2h. "
            "A time without a zone is UTC.",
        )
        end = click.option(
            "--until", callback=moment, metavar="MOMENT", help="Until then; else to the end."
        )
        return begin(end(command))

    return give


def span(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Read a span: ``5s``, ``2h``, ``7D``; a bare number is seconds."""
    if text is None:
        return None
    try:
        return timespans.seconds(float(text) if _is_number(text) else text)
    except ValueError as error:
        raise click.BadParameter(render.harmless(str(error))) from error


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def moment(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Read a moment: ``2026-11-24T12:00Z``, also without its zone or with ``UTC`` as it is shown;
    or ``2h`` for two hours ago."""
    if value is None:
        return None
    text = value.strip()
    if text.endswith("UTC"):
        text = f"{text.removesuffix('UTC').rstrip()}Z"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None:
        text = at.replace(tzinfo=UTC).isoformat()
    try:
        timespans.epoch(text, time.time())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(render.harmless(str(error))) from error
    return text
