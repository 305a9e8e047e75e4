"""The verdicts of the rules on the facts that a run has stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from tasktools.core.models import Source
from tasktools.core.server_facts import all_missing
from tasktools.diagnosis import ranking
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tests.faults import records
from tests.faults.records import Injection, Look
from tests.faults.registry import Fault

SILENT: Final = "-"
MANAGEMENT: Final = "the management API is not used"
NO_EVENTS: Final = "no events are received"
_LATE_SECONDS: Final = 2.5  # by which a look may miss its time
_FOUND: Final = ("found", "suspected")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a look, *seconds* after the injection (below 0: before it)."""

    seconds: float
    rows: tuple[Row, ...]

    @property
    def shown(self) -> list[Row]:
        """The rows that name something."""
        return [row for row in self.rows if row.verdict in _FOUND]

    def cause(self, expect: Sequence[str]) -> tuple[int, Row] | None:
        """Return the true cause, if it is there, and its place, from 1."""
        for place, row in enumerate(self.shown, 1):
            if {row.check, f"{row.check}:{row.subject}"} & set(expect):
                return place, row
        return None

    def place(self, expect: Sequence[str]) -> int | None:
        """Return the place of the true cause, from 1; `None` if it is not there."""
        cause = self.cause(expect)
        return None if cause is None else cause[0]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    *at* is after how many seconds the cause was first in the first two rows; *place* and *severity*
    are those that it had at the last look within its time. *false* are rows `found` where nothing
    may be, in *watched_seconds*. *amqp* and *cold* are as *place*, or `cannot tell`. *untold* are
    the checks that should have said at the end that they cannot tell, and did not.
    """

    fault: str
    version: str
    loud: bool
    is_true: bool | None
    at: float | None
    place: int | None
    severity: str | None
    amqp: str
    cold: str
    false: tuple[str, ...]
    beside: tuple[str, ...]
    untold: tuple[str, ...] = ()
    watched_seconds: float
    gather_seconds: float


def judged(entries: Sequence[Look], injected_at: float) -> Iterator[Seen]:
    """Judge each look with the one before it, as `diagnose` does with its second one."""
    for n, look in enumerate(entries):
        before = entries[n - 1].facts if n else None
        answer = ranking.judge(look.facts) if before is None else ranking.judge(before, look.facts)
        yield Seen(seconds=look.facts.at - injected_at, rows=answer.rows)


def looks(file: Path) -> list[Seen]:
    """Return what the looks of a run saw, without the cold ones."""
    injection, entries = _read(file)
    return list(judged([look for look in entries if not look.cold], injection.at))


def decisive(file: Path, fault: Fault) -> tuple[Facts, Facts]:
    """Return the facts of the last look within the time that *fault* has, after those before."""
    injection, entries = _read(file)
    within = fault.within if fault.kind == "fault" else fault.watch
    ends_at = injection.at + within + _LATE_SECONDS
    before, last = [look.facts for look in entries if not look.cold and look.facts.at <= ends_at][
        -2:
    ]
    return before, last


def _read(file: Path) -> tuple[Injection, list[Look]]:
    entries = list(records.entries(file))
    (injection,) = (entry for entry in entries if isinstance(entry, Injection))
    return injection, [entry for entry in entries if isinstance(entry, Look)]


def outcome(file: Path, fault: Fault) -> Outcome:
    """Return what came of the run in *file*."""
    head = records.header(file)
    injection, entries = _read(file)
    warm = [look for look in entries if not look.cold]
    seen = list(judged(warm, injection.at))
    cold = list(judged([look for look in entries if look.cold], injection.at))
    amqp = list(judged([_by_amqp(look) for look in warm], injection.at))
    places = [(each.seconds, each.place(fault.expect)) for each in seen if each.seconds >= 0]
    in_time = [each for each in seen if 0 <= each.seconds <= fault.within + _LATE_SECONDS]
    quiet = [each for each in seen if fault.kind != "fault" or each.seconds < 0]
    last = in_time[-1] if in_time else None
    cause = None if last is None else last.cause(fault.expect)
    return Outcome(
        fault=fault.name,
        version=head.version,
        loud=head.loud,
        is_true=injection.is_true,
        at=next((s for s, place in places if place is not None and place <= 2), None),
        place=None if cause is None else cause[0],
        severity=None if cause is None else cause[1].severity,
        amqp=_word(amqp[-1], fault.expect) if amqp else SILENT,
        cold=_or_first(cold[-1], fault.expect) if cold else SILENT,
        false=tuple(dict.fromkeys(_found([*quiet, *cold] if fault.kind != "fault" else quiet))),
        beside=() if last is None else tuple(dict.fromkeys(map(_name, last.shown)))[:3],
        untold=untold(seen[-1], fault) if fault.kind == "unclear" else (),
        watched_seconds=_span(quiet),
        gather_seconds=max(look.seconds for look in warm),
    )


def _found(seen: Sequence[Seen]) -> Iterator[str]:
    for look in seen:
        for row in look.shown:
            if row.verdict == "found":
                yield f"{_name(row)} at {look.seconds:.0f} s"


def _span(seen: Sequence[Seen]) -> float:
    return seen[-1].seconds - seen[0].seconds if seen else 0.0


def _name(row: Row) -> str:
    return f"{row.check}:{row.subject}" if row.subject_kind in ("topic", "lock") else row.check


def untold(look: Seen, fault: Fault) -> tuple[str, ...]:
    """Return which of the checks that cannot tell do not say so."""
    unknown = {row.check for row in look.rows if row.verdict == "cannot tell"}
    return tuple(check for check in fault.expect if check not in unknown)


def _word(look: Seen, expect: Sequence[str]) -> str:
    place = look.place(expect)
    if place is not None:
        return str(place)
    checks = {each.partition(":")[0] for each in expect}
    unknown = any(row.verdict == "cannot tell" and row.check in checks for row in look.rows)
    return "cannot tell" if unknown else SILENT


def _or_first(look: Seen, expect: Sequence[str]) -> str:
    """Return the place of the cause, or what is named in its stead: a process that has just
    connected knows of no worker that was there before."""
    word = _word(look, expect)
    return f"`{look.shown[0].check}`" if word == SILENT and look.shown else word


def _by_amqp(look: Look) -> Look:
    return replace(look, facts=without_management(look.facts))


def without_management(facts: Facts) -> Facts:
    """Return *facts* as they would be without the management API."""
    topics = {
        name: replace(topic, queue=None, dead_queue=None, unacked=None, dead_lettering=None)
        for name, topic in facts.topics.items()
        if topic.is_topic
    }
    server = all_missing(facts.at, MANAGEMENT)
    return replace(
        facts,
        topics=topics,
        server=server,
        permits={},
        locks_of_peers={},
        missing={**facts.missing, **server.missing},
        sources=tuple(source for source in facts.sources if source.name != "management"),
    )


def without_events(facts: Facts) -> Facts:
    """Return *facts* as they would be if no events were received."""
    events = Source(name="events", ok=False, note=NO_EVENTS)
    return replace(
        facts,
        state=replace(facts.state, events=events),
        missing={**facts.missing, "events": NO_EVENTS},
    )
