"""Groups of commands that answer a mistyped name with similar ones."""

from __future__ import annotations

import click

from tasktools.cli import render
from tasktools.core.suggestions import did_you_mean


class SuggestingGroup(click.Group):
    """A group that suggests its commands, as topics are suggested."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name. Raises `click.UsageError` with similar names."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if hint := did_you_mean(args[0], self.list_commands(ctx)):
                raise click.UsageError(
                    render.harmless(f"There is no command {args[0]!r}: {hint}"), ctx
                ) from error
            raise
