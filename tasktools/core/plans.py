"""Plans of changes to messages: values to read, save and run."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from html import escape
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from tasktools.core import files, taps
from tasktools.core.dialects import registry
from tasktools.core.errors import InvalidPlan
from tasktools.core.escaping import UNTYPESET, cut
from tasktools.core.frames import build, cell_text, schemas
from tasktools.core.lazy_imports import pd
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.models import BrokerIdentity
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words

Verb = Literal["replay", "discard", "restore"]
SourceKind = Literal["queue", "archive", "recording", "tap"]
"""The place in which the messages of a plan lie."""
RECORDING_DSN: Final = "sqlite:///"
"""Prefix of the name of a recording."""
EXPIRED: Final = "it has expired, so its worker would drop it unrun"
"""Why a message is skipped whose worker is told not to run it any more."""
_DEMO_SCHEME: Final = "demo:"
_SAMPLE: Final = 5
_FORMAT: Final = "tasktools plan 1"
_MAX_PLAN_BYTES: Final = 256_000_000
_MAX_PLAN_ITEMS: Final = 10_000_000  # a message has some ten, and 1,000 bytes in memory
_MAX_NAME_BYTES: Final = 255  # of a queue, by AMQP
_MAX_SOURCE_BYTES: Final = 10_000  # of a queue, or a path
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class Change(msgspec.Struct, frozen=True, gc=False):
    """One edit of one message, for people: secrets are masked."""

    path: str
    before: str
    after: str


class Planned(MaskedStruct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One message of a plan. *edits* are as `tasktools.core.tasks.edits.to_json` has them.

    *dialect* is the name of the dialect in its row; from *expires_at* on (after edits) a worker
    would drop the message without running its task. *skipped* says why the message stays where it
    is. With *unchecked* it is sent although the target's workers may not be able to read it, or may
    drop it.
    """

    key: str
    task_id: str | None = None
    task_name: str | None = None
    fingerprint: str | None = None
    to: str | None = None
    size: _Size = 0
    edits: dict[str, Any] = msgspec.field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    skipped: str | None = None
    unchecked: bool = False
    dialect: str | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    def has_expired(self, now: datetime) -> bool:
        """Whether the message has expired at *now*, so that a worker would drop it without running
        its task."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def base(self) -> str:
        """The key without the number that distinguishes identical messages: any of these can be
        taken."""
        return self.key.partition("#")[0]


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The actions of a `Cluster.run`: on these messages, named by their keys, and on no others.

    *source* is the queue they are taken from (of a restoration: the archive), *rate* a limit of
    messages a second, *archive* the file in which discarded messages are kept. *cluster* is an
    address, and *broker* the identity of the broker at that address; plans of earlier versions have
    no *broker*. *warnings* are sentences for the operator, *rate_why* says why a rate was chosen. A
    plan is frozen; `hash` covers all of it, and a plan that was changed by hand is refused. It
    holds no bodies: edits are applied to what is read from the queue.
    """

    verb: Verb
    cluster: str
    source: str
    messages: tuple[Planned, ...]
    made_at: Annotated[datetime, msgspec.Meta(tz=True)]
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    archive: str | None = None
    hash: str = ""
    format: str = _FORMAT
    broker: BrokerIdentity | msgspec.UnsetType = msgspec.UNSET
    warnings: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    rate_why: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def make(  # noqa: PLR0913 - one a field
        cls,
        *,
        verb: Verb,
        cluster: str,
        source: str,
        messages: tuple[Planned, ...],
        made_at: datetime,
        rate: float | None = None,
        archive: str | None = None,
        broker: BrokerIdentity | msgspec.UnsetType = msgspec.UNSET,
        warnings: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET,
        rate_why: str | msgspec.UnsetType = msgspec.UNSET,
    ) -> Self:
        """Make a plan, with its hash; a plan read from a file has the same hash."""
        plan = cls(
            verb=verb,
            cluster=cluster,
            source=source,
            messages=messages,
            made_at=made_at,
            rate=None if rate is None else float(rate),
            archive=archive,
            broker=broker,
            warnings=warnings,
            rate_why=rate_why,
        )
        return msgspec.structs.replace(plan, hash=plan.computed_hash())

    def computed_hash(self) -> str:
        """Return the hash that these contents have."""
        contents = msgspec.json.encode(msgspec.structs.replace(self, hash=""))
        return hashlib.blake2b(contents, digest_size=10).hexdigest()

    def check(self) -> None:
        """Raise `InvalidPlan` if the plan was changed after it was made."""
        if self.hash != self.computed_hash():
            raise InvalidPlan(
                "The plan was changed after it was made; nothing was done. Make a new one."
            )

    def is_for(self, address: str, identity: BrokerIdentity | None) -> bool:
        """Whether the plan was made on the broker with this *address* and *identity*.

        Where the plan or the server does not know the identity, the address alone decides.
        """
        if self.broker is msgspec.UNSET or identity is None:
            return self.cluster == address
        return self.broker.is_same_as(identity)

    def is_surely_for(self, address: str, identity: BrokerIdentity | None) -> bool:
        """Whether the plan was certainly made on this broker, not on a cluster of the same name."""
        if self.broker is msgspec.UNSET or identity is None:
            return self.cluster == address
        return self.broker.is_surely(identity)

    @property
    def place(self) -> str:
        """The broker on which the plan was made, in words."""
        return self.cluster + (f" ({self.broker})" if self.broker else "")

    def is_same_as(self, other: Plan) -> bool:
        """Whether *other* does the same to the same messages; the address of the broker may
        differ."""
        if self.hash == other.hash:
            return True
        blank: dict[str, Any] = {"cluster": "", "hash": "", "broker": msgspec.UNSET}
        blank["warnings"] = blank["rate_why"] = msgspec.UNSET
        return msgspec.structs.replace(self, **blank) == msgspec.structs.replace(other, **blank)

    @cached_property
    def is_loaded(self) -> bool:
        """Whether it was read from a file, so that its warnings may be out of date."""
        return False

    @cached_property
    def source_kind(self) -> SourceKind:
        """The kind of place where the plan's messages lie."""
        return "archive" if self.verb == "restore" else kind_of_source(self.source)

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
        """The queues that messages go to, with how many to each."""
        return Counter(m.to for m in self.chosen if m.to is not None)

    @property
    def size(self) -> int:
        """Bytes of the bodies, before edits."""
        return sum(message.size for message in self.chosen)

    @property
    def seconds(self) -> float | None:
        """Seconds that a run takes at least, at the plan's rate; `None` without a rate."""
        return len(self.chosen) / self.rate if self.rate else None

    def frame(self) -> pd.DataFrame:
        """Return one row a message and edit (schema `PLANNED`)."""
        rows = [row for message in self.messages for row in _rows(message)]
        mark = {"demo": "DEMO"} if self.cluster.startswith(_DEMO_SCHEME) else {}
        return build.frame_from(schemas.PLANNED, rows, plan=self.hash, cluster=self.cluster, **mark)

    # --- keeping it -----------------------------------------------------------------

    def to_json(self) -> bytes:
        """Return the plan as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a plan that `to_json` wrote. Raises `InvalidPlan`, also for a plan that was
        changed."""
        try:
            plan = msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, RecursionError, OverflowError) as error:
            raise InvalidPlan(f"This is no plan ({error}); nothing was done.") from None
        if plan.format != _FORMAT:
            raise InvalidPlan(f"This is {plan.format!r}, not {_FORMAT!r}; nothing was done.")
        plan.check()
        plan.check_names()
        return plan

    def check_names(self) -> None:
        """Raise `InvalidPlan` for names that no queue and no file can have."""
        targets = {message.to for message in self.messages if message.to is not None}
        names = [(name, _MAX_NAME_BYTES) for name in targets]
        names += [(self.source, _MAX_SOURCE_BYTES), (self.archive or "", _MAX_SOURCE_BYTES)]
        for name, longest in names:
            if "\0" in name or len(name.encode()) > longest:
                raise InvalidPlan(
                    f"This is no plan ({cut(name, 40)!r} cannot be a name); nothing was done."
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to a file that only you can read; `tasktools.load_plan` reads it back.

        Raises `FileError` when the file cannot be written, also where *path* is a link; an older
        file there is then unchanged. Raises `InvalidPlan` for a plan of more than 256 MB.
        """
        files.write(path, _bounded(self.to_json()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read the plan that `save` wrote. Raises `InvalidPlan`, `FileError`."""
        plan = cls.from_json(_bounded(files.read(path, at_most=_MAX_PLAN_BYTES)))
        vars(plan)["is_loaded"] = True
        return plan

    # --- reading it -----------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join([f"<Plan: {self.title}>", *(f"  {line}" for line in self.lines())])

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(line)}</li>" for line in self.lines())
        changes = [(m.key, c) for m in self.chosen for c in m.changes][:_SAMPLE]
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
            for cells in ((key, edit.path, edit.before, edit.after) for key, edit in changes)
        )
        heads = "<tr><th>message</th><th>edit</th><th>before</th><th>after</th></tr>"
        table = f"<table>{heads}{rows}</table>" if rows else ""
        return f"<div {UNTYPESET}><b>Plan: {escape(self.title)}</b><ul>{items}</ul>{table}</div>"

    @property
    def title(self) -> str:
        """The action of the plan, in one line."""
        to = "" if self.verb == "discard" else f" to {_listed(self.targets)}"
        return f"{self.verb} {counted(len(self.chosen), 'message')} of {self.source}{to}"

    def lines(self) -> list[str]:
        """Return a description of the plan, in lines."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"on {self.cluster}"
        time = (
            "" if self.seconds is None else f", {in_words(self.seconds)} at {self.rate:g} a second"
        )
        yield f"{cell_text.size(self.size)} of bodies{time}"
        if self.rate_why:
            yield f"rate chosen: {self.rate_why}"
        if len(self.targets) > 1:
            yield "to " + ", ".join(f"{queue}: {n:,}" for queue, n in self.targets.most_common())
        if self.verb == "discard":
            where = (
                f"kept in {self.archive}" if self.archive else "NOT kept: they are gone for good"
            )
            yield f"their bodies are {where}"
        if self.source_kind == "tap":
            yield "without headers that were tables or lists, which the tap has not kept"
        yield from self._resets()
        yield from self._edits()
        for why, n in self.skipped.most_common(_SAMPLE):
            yield f"skips {n:,}: {why}"
        heading = "warning when it was made" if self.is_loaded else "warning"
        for warning in self.warnings or ():
            yield f"{heading}: {warning}"
        yield f"plan {self.hash}, made {self.made_at:%Y-%m-%d %H:%M:%S} UTC; nothing has happened"

    def _resets(self) -> Iterator[str]:
        """Yield a line for each field that a replay resets, by dialect."""
        counts = Counter(m.dialect for m in self.chosen if self.verb == "replay" and m.dialect)
        for name, count in counts.most_common():
            dialect = registry.find(name)
            if dialect is not None and dialect.resetting is not None:
                yield f"resets {count:,} of {dialect.title}: {dialect.resetting}"

    def _edits(self) -> Iterator[str]:
        """Yield a line for each edit: the present values, and the new ones."""
        pairs: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for message in self.chosen:
            for change in message.changes:
                pairs[change.path][change.before, change.after] += 1
        for path, counts in sorted(pairs.items(), key=lambda item: -item[1].total()):
            before: Counter[str] = Counter()
            for (value, _), n in counts.items():
                before[value] += n
            after = {value for _, value in counts}
            if len(after) == 1:
                changes = f"{_values_of(before)} → {after.pop()}"
            else:
                changes = _values_of(Counter({f"{b} → {a}": n for (b, a), n in counts.items()}))
            yield f"edits {path} of {counts.total():,}: {changes}"


def kind_of_source(name: str) -> SourceKind:
    """Return the kind of the source with this *name*: a recording, a tap, or a queue."""
    if name.startswith(RECORDING_DSN):
        return "recording"
    return "tap" if taps.is_tap(name) else "queue"


def _bounded(contents: bytes) -> bytes:
    """Return the JSON of a plan; raises `InvalidPlan` for more than is read from a file."""
    items = contents.count(b",")
    if len(contents) > _MAX_PLAN_BYTES or items > _MAX_PLAN_ITEMS:
        raise InvalidPlan(
            f"The plan is too large for a file ({len(contents) / 1e6:,.0f} MB with {items:,} "
            f"items; the most are {_MAX_PLAN_BYTES / 1e6:,.0f} MB and {_MAX_PLAN_ITEMS:,}); "
            "nothing was done. Plan fewer rows at once."
        )
    return contents


def _values_of(counts: Counter[str]) -> str:
    """Return the most frequent values with their counts; a single value is returned without its
    count."""
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{value} ({n:,})" for value, n in counts.most_common(_SAMPLE)]
    others = len(counts) - len(shown)
    more = f" and {counted(others, 'other value')}" if others else ""
    return ", ".join(shown) + more


def _rows(message: Planned) -> Iterable[tuple[Any, ...]]:
    to = message.to if message.skipped is None else None
    head = (message.key, message.task_id, message.task_name, to, message.size)
    changes = message.changes or (Change(None, None, None),)  # type: ignore[arg-type]
    for change in changes:
        yield (*head, change.path, change.before, change.after, message.skipped)


def _listed(targets: Counter[str]) -> str:
    names = [queue for queue, _ in targets.most_common(3)]
    more = len(targets) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") if names else "nowhere"
