"""The dialects that are installed: those of this package, and those of other packages, by entry
point."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import metadata
from typing import Final

from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.dialect import Dialect, message_of
from tasktools.core.dialects.dramatiq import DRAMATIQ
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.errors import InvalidDialect, MalformedDSN
from tasktools.core.models import TaskMessage

ENTRY_POINTS: Final = "tasktools.dialects"
"""The group of entry points in which other packages name theirs."""
BUILT_IN: Final = (DRAMATIQ, CELERY, FASTPLUGGY, TASKWORKER, PLAIN)
"""The dialects that come with tasktools."""


@cache
def installed() -> tuple[Dialect, ...]:
    """Return all dialects, in the order in which they are asked whether a message is theirs.

    Raises `InvalidDialect` for an entry point of another package that cannot be loaded, or is no
    dialect.
    """
    others: list[Dialect] = []
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        others.append(_loaded(entry, {dialect.name for dialect in (*others, *BUILT_IN)}))
    return (*others, *BUILT_IN)


def _loaded(entry: metadata.EntryPoint, names: Collection[str]) -> Dialect:
    """Return the dialect of *entry*; raises `InvalidDialect` if its name is in *names*."""
    try:
        dialect = entry.load()
    except Exception as error:
        raise _unusable(entry, f"{type(error).__name__}: {error}") from error
    if not isinstance(dialect, Dialect):
        raise _unusable(entry, "it is no instance of Dialect")
    name = getattr(dialect, "name", None)
    if not isinstance(name, str) or not name or name in names:
        raise _unusable(entry, f"its name, {name!r}, is that of another, or none")
    return dialect


def _unusable(entry: metadata.EntryPoint, why: str) -> InvalidDialect:
    return InvalidDialect(
        f"The dialect {entry.name!r}, at {entry.value!r} in another package, cannot be used "
        f"({why}); nothing was contacted. Fix that package, or uninstall it."
    )


def has_others() -> bool:
    """Whether other packages bring dialects, whose behaviour is not known."""
    return len(installed()) > len(BUILT_IN)


def find(name: str) -> Dialect | None:
    """Return the dialect called *name*, if it is installed."""
    return next((dialect for dialect in installed() if dialect.name == name), None)


def named(name: str) -> Dialect:
    """Return the dialect called *name*; raises `MalformedDSN` when there is none."""
    dialect = find(name)
    if dialect is None:
        names = ", ".join(sorted(dialect.name for dialect in installed()))
        raise MalformedDSN(f"There is no dialect {name!r}, only {names}; nothing was contacted.")
    return dialect


def has_heartbeats(name: str | None) -> bool:
    """Whether workers of the dialect *name* send heartbeats and events; assumed for an unknown
    dialect."""
    dialect = None if name is None else find(name)
    return dialect is None or dialect.has_heartbeats


def workers_of(names: Iterable[str]) -> str:
    """Return the workers of the dialects *names*, as the subject of a sentence."""
    dialects = map(find, sorted(names))
    return " and ".join(dialect.workers for dialect in dialects if dialect is not None)


def takers_of(command: str) -> str:
    """Return in words which workers take *command* over a control channel of their own."""
    dialects = [dialect.name for dialect in installed() if command in dialect.commands]
    return f"Only {workers_of(dialects)} do." if dialects else "No workers do."


def notes_of_silent(names: Iterable[str | None]) -> list[str]:
    """Return in words for which dialects in *names* workers send no events."""
    silent = {name for name in names if name is not None and not has_heartbeats(name)}
    if not silent:
        return []
    return [
        f"{workers_of(silent)} send no heartbeats and no events: their number, their running "
        "tasks and their failures are not known; `consumers` is the broker's count"
    ]


def of_message(message: MessageBody, default: Dialect) -> Dialect:
    """Return the dialect that recognises *message*; *default* if none does."""
    if _recognises(default, message):  # as nearly all messages of its queue are
        return default
    return next((each for each in installed() if _recognises(each, message)), default)


def _recognises(dialect: Dialect, message: MessageBody) -> bool:
    """Whether *dialect* recognises *message*; false if a dialect of another package raises an
    error."""
    try:
        return dialect.recognises(message) is True
    except Exception:
        if dialect in BUILT_IN:
            raise
        return False


def unreadable(
    message: MessageBody, task: TaskMessage, own: Dialect, reader: Dialect
) -> str | None:
    """Return why workers of the dialect *reader* cannot read *message* of the dialect *own*, which
    holds *task*, as part of a sentence; `None` if they can."""
    return reader.unreadable(message, task) if reader.reads(own) else message_of(own)
