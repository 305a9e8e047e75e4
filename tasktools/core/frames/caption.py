"""The caption of a frame: its name, age and sources, and notes for the operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tasktools.core.escaping import harmless
from tasktools.core.frames.schema import Schema
from tasktools.core.plurals import counted, named
from tasktools.core.timespans import in_words

_OLD_SECONDS: Final = 1.0
_HARMLESS: Final = "harmless"


class Caption(NamedTuple):
    """The name of a frame, what a row of it is, facts about it, and notes; invisible characters are
    escaped in all of them."""

    title: str
    row: str
    demo: bool
    facts: tuple[str, ...]
    notes: tuple[str, ...]
    summary: str


def caption_of(
    attrs: Mapping[Any, Any], schema: Schema | None, rows: int, *, derived: bool
) -> Caption:
    """Return the caption of *rows* of *schema*, or of a frame *derived* from them; notes are in
    *attrs*."""
    facts = [counted(rows, "row"), *_readable(_facts(attrs))]
    title = "frame" if schema is None else schema.name.replace("_", " ")
    return Caption(
        title=f"made of {title}" if derived else title,
        row="" if schema is None or derived else f"one row: {schema.row}",
        demo="demo" in attrs,
        facts=tuple(map(harmless, facts)),
        notes=tuple(remarks(attrs)),
        summary=harmless(str(attrs.get("summary", ""))),
    )


def remarks(attrs: Mapping[Any, Any]) -> list[str]:
    """Return the notes in *attrs*, and the side effects of looks that were not harmless."""
    return [harmless(note) for note in (*notes_in(attrs), *_readable(_costs(attrs)))]


def notes_in(attrs: Mapping[Any, Any]) -> list[str]:
    """Return the notes in *attrs*; a user may have stored a text in place of the list.

    >>> notes_in({"notes": "checked"}), notes_in({"notes": None})
    (['checked'], [])
    """
    notes = attrs.get("notes")
    if isinstance(notes, list | tuple):
        return list(map(str, notes))
    return [str(notes)] if notes else []


def _costs(attrs: Mapping[Any, Any]) -> Iterator[str]:
    costly: dict[str, list[str]] = {}
    for look in attrs.get("looks", ()):
        if not look["refused"] and look["cost"] != _HARMLESS:
            costly.setdefault(f"{look['cost']}: {look['why']}", []).append(str(look["queue"]))
    for cost, queues in costly.items():
        yield f"looking at {', '.join(queues)} {cost}"


def _readable(remarks: Iterator[str]) -> list[str]:
    """Return *remarks* up to the first that raises an error: a user can store anything in attrs."""
    made = []
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        for remark in remarks:
            made.append(remark)  # noqa: PERF402 - what was made before an error stays
    return made


def _facts(attrs: Mapping[Any, Any]) -> Iterator[str]:
    if "run" in attrs:
        outcomes = ", ".join(f"{n:,} {name}" for name, n in attrs.get("outcomes", {}).items())
        yield f"run {attrs['run']}, {attrs.get('ended') or 'not ended'}: {outcomes or 'nothing'}"
    if "window" in attrs:
        since, until = attrs["window"]["since"], attrs["window"]["until"]
        yield f"of {since:%Y-%m-%d %H:%M:%S} to {until:%Y-%m-%d %H:%M:%S} UTC"
    if sources := attrs.get("sources"):
        yield "from " + ", ".join(_source(name, source) for name, source in sources.items())
    harmless_looks = [
        str(look["queue"])
        for look in attrs.get("looks", ())
        if not look["refused"] and look["cost"] == _HARMLESS
    ]
    if harmless_looks:
        yield f"looking at {named(harmless_looks)} was harmless"
    if where := attrs.get("cluster") or attrs.get("ledger"):
        yield str(where).strip("<>").removeprefix("Cluster ").removeprefix("DEMO, ")


def _source(name: str, source: Mapping[str, Any]) -> str:
    if not source["ok"]:
        return f"{name} (no answer)"
    age = source["age"]
    return name if age is None or age < _OLD_SECONDS else f"{name} ({in_words(age)} old)"
