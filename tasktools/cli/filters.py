"""Conditions that choose dead letters by their shown values.

``COL=VALUE`` is equal, ``COL!=VALUE`` is not, ``COL~TEXT`` contains, in either case of letters;
``COL=`` is a missing value. COL is a column, or a path into args, kwargs or headers, like
kwargs.to.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from tasktools.cli import output, render
from tasktools.core.frames import export
from tasktools.core.frames.schemas import DEAD_LETTERS
from tasktools.core.frames.table import Table
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.suggestions import did_you_mean
from tasktools.core.tasks import edits

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_SYNTAX: Final = re.compile(r"([^=~!]+)(!=|=|~)(.*)", re.DOTALL)
_WITH_PATHS: Final = ("args", "kwargs", "headers")


@dataclass(frozen=True, slots=True, repr=False)
class Condition(MaskedRepr):
    """One condition on a row of `dead_letters`."""

    path: str
    operator: str
    value: str

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the condition holds for *row*. Secrets are masked; only the mask is compared."""
        shown = _text(row, self.path)
        match self.operator:
            case "=":
                return shown == self.value
            case "!=":
                return shown != self.value
            case _:
                return self.value.casefold() in shown.casefold()


def parsed(text: str) -> Condition:
    """Parse a condition. Raises `ValueError` that says what is wrong."""
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not COL=VALUE, COL!=VALUE or COL~TEXT.")
    condition = Condition(*match.groups())
    column, *inner = condition.path.split(".")
    if column not in (_WITH_PATHS if inner else DEAD_LETTERS.names):
        raise ValueError(
            f"there is no column {condition.path!r}; there are {', '.join(DEAD_LETTERS.names)}, "
            "and paths like kwargs.to."
        )
    return condition


def _text(row: Mapping[str, Any], path: str) -> str:
    """Return the value at *path* as text; "" if it is missing."""
    ((_, current, _),) = edits.before_after(row, {path: None})
    if current in (edits.NOT_THERE, edits.NOT_KNOWN):
        return ""
    value = export.plain(current)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Conditions that choose dead letters; all must hold."""

    where: tuple[Condition, ...]
    fingerprints: tuple[str, ...]
    keys: tuple[str, ...]
    limit: int | None

    def __bool__(self) -> bool:
        return bool(self.where or self.fingerprints or self.keys or self.limit)

    def of(self, cluster: Cluster, topic: str, *, force: bool) -> Table:
        """Return the chosen dead letters of *topic*; *force* allows a look that costs something."""
        table = cluster.dead_letters_table(topic, self.limit, force=force)
        return self.among(table, f"dead letter of {topic}")

    def among(self, table: Table, what: str) -> Table:
        """Return the chosen rows of *table*; *what* is the noun for a row."""
        known = set(table["key"])
        missing = [key for key in self.keys if key not in known]
        if missing:
            raise click.ClickException(
                f"No {render.harmless(what)} has the key {render.harmless(missing[0])} (any more); "
                "nothing was done."
            )
        if not (self.keys or self.fingerprints or self.where):
            return table
        rows = list(table.records())
        places = [place for place, row in enumerate(rows) if self._has(row)]
        if not places:
            output.remark(render.harmless(hint) for hint in self._hints(rows))
        return table.at(places)

    def _hints(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield a hint with similar values for each value that no row has."""
        for condition in self.where:
            values = {_text(row, condition.path) for row in rows}
            if condition.operator == "=" and condition.value not in values:
                hint = did_you_mean(condition.value, values)
                if hint:
                    yield f"No {condition.path} is {condition.value!r}: {hint}"

    def _has(self, row: Mapping[str, Any]) -> bool:
        return (
            (not self.keys or row["key"] in self.keys)
            and (not self.fingerprints or row["fingerprint"] in self.fingerprints)
            and all(condition.holds(row) for condition in self.where)
        )


def _conditions(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[Condition, ...]:
    try:
        return tuple(parsed(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(render.harmless(str(error))) from error


def with_choice(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose dead letters."""

    @click.option(
        "--where",
        multiple=True,
        callback=_conditions,
        metavar="CONDITION",
        help="COL=VALUE, COL!=VALUE or COL~TEXT (contains); COL= is not there. COL is a column, "
        "or a path like kwargs.to. Several must all hold.",
    )
    @click.option(
        "--fingerprint", "fingerprints", multiple=True, metavar="TEXT", help="Any of these."
    )
    @click.option("--key", "keys", multiple=True, metavar="KEY", help="Any of these.")
    @click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="N",
        help="Look at the first N dead letters only.",
    )
    @functools.wraps(command)
    def chosen(*args: Any, **options: Any) -> None:
        fields = {name: options.pop(name) for name in Choice.__dataclass_fields__}
        command(*args, choice=Choice(**fields), **options)

    return chosen
