"""The pages of docs/, and the blocks in them, for tests that try them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).parents[1] / "docs"
_BLOCK: Final = re.compile(
    r"^(?P<fence>`{3,})(?P<kind>\S*) ?(?P<argument>.*)\n(?P<body>[^`]*)\n(?P=fence)$", re.MULTILINE
)
_OPTION: Final = re.compile(r"^:([a-z]+): ?(.*)\n?", re.MULTILINE)
_CONTINUED: Final = re.compile(r"\\\n\s*")


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
        name = page.relative_to(DOCS).as_posix()
        yield Block(name, match["kind"], match["argument"].strip(), options, body.strip("\n"))
