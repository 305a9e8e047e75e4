"""Times and spans as options of commands."""

from __future__ import annotations

import time

import click

from tasktools.cli import show
from tasktools.core import moments


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
