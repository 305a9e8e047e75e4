"""Plans: what would happen to which messages, as a value that can be read, kept and run."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from html import escape
from typing import Any, Final, Literal, Self

import msgspec
import pandas as pd

from tasktools.core import frames, schemas, taps
from tasktools.core.errors import InvalidPlan

Verb = Literal["replay", "discard", "restore"]
_SAMPLE: Final = 5
_FORMAT: Final = "tasktools plan 1"


class Change(msgspec.Struct, frozen=True, gc=False):
    """One edit of one message, for people: secrets are masked."""

    path: str
    before: str
    after: str


class Planned(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One message of a plan. *edits* are as `tasktools.core.edits.to_json` has them.

    *skipped* says why it stays where it is.
    """

    key: str
    task_id: str | None = None
    task_name: str | None = None
    fingerprint: str | None = None
    to: str | None = None
    size: int = 0
    edits: dict[str, Any] = {}
    changes: tuple[Change, ...] = ()
    skipped: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What `Cluster.run` would do: to these messages, named by their keys, and to no others.

    *source* is the queue they are taken from (of a restoration: the archive), *rate* a limit of
    messages a second, *archive* the file in which discarded messages are kept. A plan is frozen;
    `hash` covers all of it, and a plan that was changed by hand is refused. It holds no bodies:
    edits are applied to what is read from the queue.
    """

    verb: Verb
    cluster: str
    source: str
    messages: tuple[Planned, ...]
    made_at: datetime
    rate: float | None = None
    archive: str | None = None
    hash: str = ""
    format: str = _FORMAT

    @classmethod
    def make(cls, **told: Any) -> Self:
        """Make a plan, with its hash, which is the same once it was read back."""
        rate = told.get("rate")
        plan = cls(**told | {"rate": None if rate is None else float(rate)})
        return msgspec.structs.replace(plan, hash=plan.computed_hash())

    def computed_hash(self) -> str:
        """Return the hash that these contents have."""
        contents = msgspec.json.encode(msgspec.structs.replace(self, hash=""))
        return hashlib.blake2b(contents, digest_size=10).hexdigest()

    def check(self) -> None:
        """Raise `InvalidPlan` if it was changed after it was made."""
        if self.hash != self.computed_hash():
            raise InvalidPlan(
                "The plan was changed after it was made; nothing was done. Make a new one."
            )

    # --- what is in it --------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def chosen(self) -> tuple[Planned, ...]:
        """The messages that something is done to: all but the skipped ones."""
        return tuple(message for message in self.messages if message.skipped is None)

    @property
    def skipped(self) -> Counter[str]:
        """Why messages are skipped, with how many of each."""
        return Counter(m.skipped for m in self.messages if m.skipped is not None)

    @property
    def targets(self) -> Counter[str]:
        """Where messages go, with how many to each queue."""
        return Counter(m.to for m in self.chosen if m.to is not None)

    @property
    def size(self) -> int:
        """Bytes of the bodies, before edits."""
        return sum(message.size for message in self.chosen)

    @property
    def seconds(self) -> float | None:
        """How long it takes at the least, at its rate; `None` without one."""
        return len(self.chosen) / self.rate if self.rate else None

    def frame(self) -> pd.DataFrame:
        """Return one row a message and edit (schema `PLANNED`)."""
        rows = [row for message in self.messages for row in _rows(message)]
        return frames.frame_from(schemas.PLANNED, rows, plan=self.hash)

    # --- keeping it -----------------------------------------------------------------

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what `to_json` wrote. Raises `InvalidPlan`, also when it was changed."""
        try:
            plan = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise InvalidPlan(f"This is no plan ({error}); nothing was done.") from None
        if plan.format != _FORMAT:
            raise InvalidPlan(f"This is {plan.format!r}, not {_FORMAT!r}; nothing was done.")
        plan.check()
        return plan

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, readable by you alone; `tasktools.load_plan` reads it back."""
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.fchmod(file.fileno(), 0o600)  # it may have been there
            file.write(self.to_json())

    # --- reading it -----------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join([f"<Plan: {self.title}>", *(f"  {line}" for line in self.lines())])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(line)}</li>" for line in self.lines())
        changes = [(m.key, c) for m in self.chosen for c in m.changes][:_SAMPLE]
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in _cells(key, change))}</tr>"
            for key, change in changes
        )
        heads = "<tr><th>message</th><th>edit</th><th>before</th><th>after</th></tr>"
        table = f"<table>{heads}{rows}</table>" if rows else ""
        return f"<div><b>Plan: {escape(self.title)}</b><ul>{items}</ul>{table}</div>"

    @property
    def title(self) -> str:
        """What it does, in one line."""
        to = "" if self.verb == "discard" else f" to {_listed(self.targets)}"
        return f"{self.verb} {_count(len(self.chosen), 'message')} of {self.source}{to}"

    def lines(self) -> list[str]:
        """Return what there is to know about it, in lines."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"on {self.cluster}"
        time = "" if self.seconds is None else f", {self.seconds:,.0f} s at {self.rate:g} a second"
        yield f"{_bytes(self.size)} of bodies{time}"
        if len(self.targets) > 1:
            yield "to " + ", ".join(f"{queue}: {n:,}" for queue, n in self.targets.most_common())
        if self.verb == "discard":
            kept = f"kept in {self.archive}" if self.archive else "NOT kept: they are gone for good"
            yield f"their bodies are {kept}"
        if taps.is_tap(self.source):
            yield "without headers that were tables or lists, which the tap has not kept"
        edited: Counter[str] = Counter(c.path for m in self.chosen for c in m.changes)
        for path, n in edited.most_common():
            example = next(c for m in self.chosen for c in m.changes if c.path == path)
            yield f"edits {path} of {n:,}: {example.before} → {example.after}"
        for why, n in self.skipped.most_common(_SAMPLE):
            yield f"skips {n:,}: {why}"
        yield f"plan {self.hash}, made {self.made_at:%Y-%m-%d %H:%M:%S} UTC; nothing has happened"


def _rows(message: Planned) -> Iterable[tuple[Any, ...]]:
    to = message.to if message.skipped is None else None
    head = (message.key, message.task_id, message.task_name, to, message.size)
    changes = message.changes or (Change(None, None, None),)  # type: ignore[arg-type]
    for change in changes:
        yield (*head, change.path, change.before, change.after, message.skipped)


def _cells(key: str, change: Change) -> tuple[str, ...]:
    return (key, change.path, change.before, change.after)


def _listed(targets: Counter[str]) -> str:
    names = [queue for queue, _ in targets.most_common(3)]
    more = len(targets) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") if names else "nowhere"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _bytes(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}"
        size /= 1000  # type: ignore[assignment]
    return f"{size:,.1f} GB"
