"""Times and spans as options of commands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tasktools.cli import show
from tasktools.core import moments

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
            help="From then on: a time like 2026-11-24T12:00Z, or a span before the end, like 2h.",
        )
        end = click.option(
            "--until", callback=moment, metavar="MOMENT", help="Until then; else to the end."
        )
        return begin(end(command))

    return give


def span(_context: click.Context, _option: click.Parameter, given: str | None) -> float | None:
    """Read a span: ``5s``, ``2h``, ``7D``; a bare number is seconds."""
    if given is None:
        return None
    try:
        return moments.seconds(float(given) if _is_number(given) else given)
    except ValueError as error:
        raise click.BadParameter(show.harmless(str(error))) from error


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def moment(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    """Check a moment: ``2026-11-24T12:00Z``, or ``2h`` for two hours ago."""
    if given is not None:
        try:
            moments.epoch(given, time.time())
        except ValueError as error:
            raise click.BadParameter(show.harmless(str(error))) from error
    return given
