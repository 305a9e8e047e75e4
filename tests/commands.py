"""The commands of the command line, for tests that go through all of them."""

from __future__ import annotations

import click


def commands(command: click.Command, *path: str) -> list[tuple[str, ...]]:
    """Return the paths of all commands."""
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
    groups = (commands(each, *path, name) for name, each in inner.items() if each is not None)
    return [path, *(inner_path for group in groups for inner_path in group)]
