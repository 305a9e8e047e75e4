"""The pages of docs/, and the blocks in them, for tests that try them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

DOCS: Final = Path(__file__).parents[1] / "docs"
_BLOCK: Final = re.compile(
    r"^(?P<fence>`{3,})(?P<kind>\S*) ?(?P<argument>.*)\n(?P<body>[^`]*)\n(?P=fence)$", re.MULTILINE
)
_OPTION: Final = re.compile(r"^:([a-z]+): ?(.*)\n?", re.MULTILINE)
_CONTINUED: Final = re.compile(r"\\\n\s*")

_SHELL_ENDS: Final = {"|", "||", "&&", ";", ">", ">>", "&"}


class Block(NamedTuple):
    """A fenced block: ```` ```{kind} argument ````, its options, and its lines."""

    page: str
    kind: str
    argument: str
    options: dict[str, str]
    text: str

    @property
    def commands(self) -> list[str]:
        """The shell commands in it: one a line, unless that ends with a backslash."""
        joined = _CONTINUED.sub(" ", self.text)
        return [line for line in joined.splitlines() if line.strip()]


def pages() -> list[Path]:
    """Return the pages that people wrote."""
    return [
        page
        for page in sorted(DOCS.rglob("*.md"))
        if not {"_build", "generated"} & set(page.relative_to(DOCS).parts)
    ]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        body = match["body"] + "\n"
        options = {}
        while (option := _OPTION.match(body)) is not None:
            options[option[1]] = option[2]
            body = body[option.end() :]
        name = page.relative_to(DOCS if DOCS in page.parents else DOCS.parent).as_posix()
        yield Block(name, match["kind"], match["argument"].strip(), options, body.strip("\n"))


def blocks_tried_by(page: Path, test: str) -> list[Block]:
    """Return the blocks of a page that name the file *test*, in order."""
    return [block for block in blocks(page) if block.options.get("by") == test]


def words_of(command: str) -> list[str]:
    """Return the words of a shell command, up to the end of its first part; no comment."""
    words = shlex.split(command, comments=True)
    end = next((n for n, word in enumerate(words) if word in _SHELL_ENDS), None)
    return words[:end]


def check_usage(command: click.Command, words: list[str]) -> None:
    """Raise `click.UsageError` where the command line is wrong. It runs nothing."""
    context = command.make_context(command.name, words)
    if isinstance(command, click.Group) and context._protected_args:
        name, inner, rest = command.resolve_command(context, context._protected_args + context.args)
        assert inner is not None, name
        check_usage(inner, rest)
