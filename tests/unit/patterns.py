"""The regular expressions of the package, found in its source, and hostile texts for each."""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import tasktools

_PACKAGE = Path(tasktools.__file__).parent
_FUNCTIONS = ("compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub")
_METHODS = ("findall", "fullmatch", "match", "search")
_NOT_OURS = ("management.py",)  # it has the pattern of a policy, for names of 255 characters
_MAX_EXAMPLES = 12  # of one pattern
_MAX_TEXTS = 20  # of a kind
_parser: Any = importlib.import_module("re._parser")


class Found(NamedTuple):
    """A pattern, where it is in the source, and the methods that are called on it there."""

    where: str
    pattern: re.Pattern[Any]
    methods: tuple[str, ...]


@cache
def patterns() -> tuple[Found, ...]:
    """Return every pattern of the package, compiled ones and those that are written inline."""
    return tuple(pattern for path in sorted(_PACKAGE.rglob("*.py")) for pattern in _patterns(path))


def _patterns(path: Path) -> Iterator[Found]:
    source = path.read_text(encoding="utf-8")
    assert "from re import" not in source, f"{path}: use re.…, so that the pattern is found"
    if not re.search(r"\bre\.\w", source):  # a tree takes long
        return
    tree = ast.parse(source)
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in _FUNCTIONS
    ]
    names = {
        id(node.value): node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for call in calls:
        if not isinstance(call.args[0], ast.Constant) and path.name in _NOT_OURS:
            continue
        name = _name_of(call, names, tree)
        flags = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "flags")]
        is_inline = call.func.attr != "compile"  # type: ignore[attr-defined]
        pattern = re.compile(
            _value(call.args[0]), 0 if is_inline or not flags else _value(flags[0])
        )
        used = _methods(name) if name else ()
        where = f"{path.relative_to(_PACKAGE.parent)}:{call.lineno}"
        yield Found(where, pattern, (call.func.attr,) if is_inline else used or _METHODS)  # type: ignore[attr-defined]


def _name_of(call: ast.Call, names: dict[int, str], tree: ast.AST) -> str | None:
    """Return the name that a pattern, or its bound method, is assigned to."""
    if id(call) in names:
        return names[id(call)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.value is call and id(node) in names:
            return f"={node.attr}"
    return None


def _methods(name: str) -> tuple[str, ...]:
    if name.startswith("="):  # the name is of the method already
        return (name[1:],)
    return tuple(sorted(_uses()[name]))


@cache
def _uses() -> defaultdict[str, set[str]]:
    """Return the methods of patterns that the package calls, by the name before the dot."""
    called = re.compile(r"\b(\w+)\.(findall|finditer|fullmatch|match|search|split|subn?)\b")
    uses: defaultdict[str, set[str]] = defaultdict(set)
    for path in _PACKAGE.rglob("*.py"):
        for name, method in called.findall(path.read_text(encoding="utf-8")):
            uses[name].add(method)
    return uses


def _value(node: ast.expr) -> Any:
    return eval(compile(ast.Expression(node), "pattern", "eval"), {"re": re})  # noqa: S307


def run(pattern: Found, method: str, text: str) -> None:
    """Use a pattern as the package does."""
    call = getattr(pattern.pattern, method)
    is_text = isinstance(pattern.pattern.pattern, str)
    read: Any = text if is_text else text.encode()
    if method in ("sub", "subn"):
        call("" if is_text else b"", read)
    elif method == "finditer":
        deque(call(read), maxlen=0)  # as they are used, one after the other
    else:
        call(read)


def hostile_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Yield texts of *size* characters that begin to match again and again, and fail at last."""
    examples = [e for e in _examples(_parser.parse(pattern.pattern, pattern.flags)) if e]
    source = pattern.pattern
    characters = list(source if isinstance(source, str) else source.decode("latin-1"))
    pieces = (*examples, *(e[:-1] for e in examples), *characters, *"aA0_ \né")
    runs = [(piece, "\x00") for piece in dict.fromkeys(filter(None, pieces))]
    tails = [(c, first) for first in examples for c in dict.fromkeys((first[-1], "a", " "))]
    for texts in (runs, tails):
        for piece, end in texts[:: len(texts) // _MAX_TEXTS + 1]:
            run = piece * (size // len(piece))
            yield run + end if texts is runs else end + run


def _examples(tree: Any) -> list[str]:
    """Return texts that match what was parsed, as far as its assertions allow."""
    texts = [""]
    for operation, argument in tree:
        parts = _parts(str(operation), argument)
        texts = [text + part for text in texts for part in parts][:_MAX_EXAMPLES]
    return texts


def _parts(operation: str, argument: Any) -> list[str]:  # noqa: PLR0911 - one a kind
    match operation:
        case "LITERAL":
            return [chr(argument)]
        case "NOT_LITERAL" | "ANY":
            return ["x"]
        case "IN":
            return [_member(argument)]
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, _most, inner = argument
            return [text * max(least, 1) for text in _examples(inner)]
        case "SUBPATTERN":
            return _examples(argument[-1])
        case "ATOMIC_GROUP":
            return _examples(argument)
        case "BRANCH":
            return [text for branch in argument[1] for text in _examples(branch)]
    return [""]  # an assertion, or what a group has matched


def _member(members: Any) -> str:
    excluded = {str(operation) for operation, _ in members}
    for operation, argument in members:
        match str(operation):
            case "LITERAL" if "NEGATE" not in excluded:
                return chr(argument)
            case "RANGE" if "NEGATE" not in excluded:
                return chr(argument[0])
            case "CATEGORY" if "NEGATE" not in excluded:
                return {"DIGIT": "0", "SPACE": " "}.get(str(argument).rpartition("_")[2], "a")
    return "x"
