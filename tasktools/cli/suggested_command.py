"""The shell command that does the same as the Python call of a finding."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable
from typing import Any, Final

_LISTENING: Final = "60s"  # a live cluster shows only failures of this time


def next_step(call: str, *, is_recorded: bool) -> str:
    """Return the command for *call*, or else *call* as one for Python.

    >>> next_step("cluster.configure_topic('reports', concurrency_limit=4)", is_recorded=False)
    'tasktools topic configure reports --concurrency-limit 4'
    >>> next_step("cluster.peek('reports', limit=20)", is_recorded=False)
    "in Python, cluster.peek('reports', limit=20)"
    """
    command = _command(ast.parse(call, mode="eval").body, is_recorded=is_recorded)
    return f"in Python, {call}" if command is None else shlex.join(["tasktools", *command])


def _command(node: ast.expr, *, is_recorded: bool) -> list[str] | None:
    """Return the arguments of the command for a call of a method, if there is one."""
    match node:
        case ast.Call(ast.Attribute(ast.Name("tt"), "failure_groups"), [looked_at]):
            return _command(looked_at, is_recorded=is_recorded)  # groups come before messages
        case ast.Call(ast.Attribute(frame, "query" | "nlargest")):
            return _command(frame, is_recorded=is_recorded)
        case ast.Call(ast.Attribute(ast.Name("cluster"), method), arguments, named):
            values = [ast.literal_eval(argument) for argument in arguments]
            options = {option.arg: ast.literal_eval(option.value) for option in named}
            if method == "failures":
                return ["failures", *values, *_moment(options, is_recorded=is_recorded)]
            written = _COMMANDS.get(method)
            return None if written is None else written(values, options)
    return None


def _moment(options: dict[str | None, Any], *, is_recorded: bool) -> list[str]:
    return ["--since", options["since"]] if is_recorded else ["--watch", _LISTENING]


def _plain(*words: str) -> Callable[[list[Any], dict[str | None, Any]], list[str]]:
    """Return a function that writes a command with the arguments and options of the method."""

    def written(values: list[Any], options: dict[str | None, Any]) -> list[str]:
        flags = [
            part
            for name, value in options.items()
            for part in (f"--{str(name).replace('_', '-')}", _text(value))
        ]
        return [*words, *map(_text, values), *flags]

    return written


def _tasks(values: list[Any], options: dict[str | None, Any]) -> list[str]:
    return ["tasks", *values, *([] if options.get("queued") is False else ["--queued"])]


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


_COMMANDS: Final = {
    "active_tasks": _tasks,
    "configure_topic": _plain("topic", "configure"),
    "dead_letters": _plain("dead"),
    "force_release_lock": _plain("unlock"),
    "join_topic": _plain("join-topic"),
    "leave_topic": _plain("leave-topic"),
    "ledger": _plain("ledger"),
    "locks": _plain("locks"),
    "revoke": _plain("revoke"),
    "stats": _plain("status"),
    "tap": _plain("tap"),
    "topics": _plain("topics"),
    "workers": _plain("workers"),
}
