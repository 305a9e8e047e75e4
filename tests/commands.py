"""The commands of the command line, for tests that go through all of them."""

from __future__ import annotations

import click


def commands(command: click.Command, *path: str) -> list[tuple[str, ...]]:
    """Return the paths of all commands."""
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
    below = (commands(one, *path, name) for name, one in inner.items() if one is not None)
    return [path, *(found for group in below for found in group)]
