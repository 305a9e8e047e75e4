"""The question before a command that cannot be undone."""

from __future__ import annotations

import click

from tasktools.cli import render

with_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def asked(question: str, *, yes: bool) -> None:
    """Ask *question* unless *yes*; end the command when the answer is no."""
    if not yes:
        click.confirm(render.harmless(question), abort=True, err=True)
