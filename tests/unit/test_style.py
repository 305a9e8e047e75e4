"""The package reads as CONTRIBUTING.md says: names, docstrings and sizes of files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tasktools").rglob("*.py"))
BANNED = {"told", "found", "kept", "said", "given", "ours", "one", "heard"}
"""Names that say nothing of what they hold."""
VAGUE_CONSTANT = re.compile(r"_?(GLANCE|MOST|LONGEST|SHORTEST)")
"""They have neither subject nor unit, as _MAX_ERROR_CHARS and _POLL_SECONDS have."""
CUT_OTHERWISE = {
    "celery.py": "as Celery itself does",
    "fingerprints.py": "read, not shown",
    "heat_map.py": "in the middle",
    "redaction.py": "with a mark",
    "secret_names.py": "read, not shown",
    "secret_text.py": "read, not shown",
    "topic_links.py": "the name of a folder",
    "tracebacks.py": "read, not shown",
}
"""Files that cut texts without `tasktools.core.escaping`, and why they may."""
MAX_LINES = 560
MIN_LINES = 15
SHORT = {"__init__.py", "__main__.py", "plurals.py"}  # the last: one function for all layers


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each variable and argument."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    """Return path and syntax tree of each file of the package."""
    return tuple(
        (str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))) for file in FILES
    )


def test_names_say_what_they_hold() -> None:
    vague = [
        f"{file}:{line} {name}"
        for file, tree in trees()
        for line, name in bound_names(tree)
        if name in BANNED or VAGUE_CONSTANT.fullmatch(name)
    ]
    assert vague == []


def test_a_module_says_what_it_is() -> None:
    """A noun phrase: "The ledger of runs", not "What was done"."""
    docstrings = {file: ast.get_docstring(tree) or "" for file, tree in trees()}
    no_noun = r"(What|How|Whether|Which|Who|Where|When|We|This|These)\b|$"
    assert [file for file, text in docstrings.items() if re.match(no_noun, text)] == []


def test_a_class_and_an_attribute_say_what_they_are() -> None:
    """A noun phrase, too: "The queues that messages go to", not "Where messages go"."""
    defined = re.compile(r'^ *"""(What|How|Who|Where|When|Which)\b', re.MULTILINE)
    vague = [str(file.relative_to(ROOT)) for file in FILES if defined.search(file.read_text())]
    assert vague == []


def test_a_file_can_be_read_in_one_sitting() -> None:
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert [file for file, count in lines.items() if count > MAX_LINES] == []
    short = [file for file, count in lines.items() if count < MIN_LINES]
    assert [file for file in short if file.name not in SHORT] == []


def test_a_text_that_is_cut_says_so() -> None:
    """Issue 15: some were cut with "…", some without, so that half an error was taken for all."""
    silent = [
        f"{file}:{node.lineno}"
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Slice)
        and any(
            isinstance(part, ast.Name) and part.id.endswith("_CHARS") for part in ast.walk(node)
        )
        and Path(file).name not in CUT_OTHERWISE
    ]
    assert silent == []
