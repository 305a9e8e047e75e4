"""The help of each command, which becomes `reference/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click
from sphinx.application import Sphinx

from tasktools.cli.main import COMMANDS, main

_PAGE: Final = "reference/cli"
_WIDTH: Final = 92  # columns


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the commands below the page's own text when it is read."""
    app.connect("source-read", _add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _add(app: Sphinx, page: str, source: list[str]) -> None:
    del app
    if page == _PAGE:
        source[0] += "\n".join(("", *_sections()))


def _sections() -> Iterator[str]:
    top = click.Context(main, info_name="tasktools")
    for section, names in COMMANDS.items():
        yield from (f"## {section}", "")
        for name in names:
            command = main.get_command(top, name)
            if command is not None:
                yield from _help(command, f"tasktools {name}")


def _help(command: click.Command, path: str) -> Iterator[str]:
    """Yield the help of a command, and of each command of a group."""
    context = click.Context(
        command,
        info_name=path,
        terminal_width=_WIDTH,
        help_option_names=main.context_settings["help_option_names"],
    )
    yield from (f"### {path}", "", "```text", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _help(inner, f"{path} {name}")
