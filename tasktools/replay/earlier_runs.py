"""Earlier runs on the same queue: which messages of a plan they have done already, and when."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core.plans import Plan
from tasktools.replay.ledger import DONE, plan_of, title_of

_MAX_RUNS: Final = 30
"""So many of the latest runs on a queue are read to tell who did what is gone."""


@dataclass(frozen=True, slots=True)
class Deed:
    """The outcome of a message in an earlier run: *why* in words, and how often it was sent."""

    why: str
    sends: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRuns:
    """The runs in a ledger, on *broker*, with the same source as *plan*; without *run* itself."""

    connection: sqlite3.Connection
    plan: Plan
    run: int
    broker: Broker

    def done_since_planned(self, acknowledged: Mapping[int, Iterable[int]]) -> dict[int, Deed]:
        """Return the outcomes in other runs since the plan was made, by number in the plan.

        These are the planned messages themselves; identical messages that are in the queue now are
        others. *acknowledged* are messages, by run and number, whose original was still there when
        the plan was made.
        """
        planned_at = self.plan.made_at.timestamp()
        lies_in_queue = self.plan.source_kind == "queue"  # else it is still there, once done
        deeds: dict[str, list[Deed]] = defaultdict(list)
        for run, other, title in self._runs(ended_after=planned_at):
            is_restored = other.verb == self.plan.verb == "restore"
            if not (lies_in_queue or is_restored or other.is_same_as(self.plan)):
                continue
            if self._is_restored_since(run, other):
                continue
            numbers = set(acknowledged.get(run, ()))
            for n, sends, at in self._done(run):
                if at > planned_at or n in numbers:
                    deeds[other.messages[n].base].append(_deed(other, title, sends))
        return self._matched(deeds, range(len(self.plan.messages)))

    def explained(self, numbers: Iterable[int]) -> dict[int, Deed]:
        """Return the outcomes of the plan's missing messages in earlier runs, by number in the
        plan."""
        left = list(numbers)
        explained: dict[int, Deed] = {}
        for run, other, title in self._runs() if left else ():
            deeds: dict[str, list[Deed]] = defaultdict(list)
            for n, sends, _ in self._done(run):
                deeds[other.messages[n].base].append(_deed(other, title, sends))
            explained |= self._matched(deeds, left)
            left = [n for n in left if n not in explained]
            if not left:
                break
        return explained

    def _matched(self, deeds: dict[str, list[Deed]], numbers: Iterable[int]) -> dict[int, Deed]:
        matched: dict[int, Deed] = {}
        for n in numbers:
            message = self.plan.messages[n]
            if message.skipped is None and deeds.get(message.base):
                matched[n] = deeds[message.base].pop(0)
        return matched

    def _runs(self, ended_after: float = 0.0) -> Iterator[tuple[int, Plan, str]]:
        rows = self.connection.execute(
            "SELECT run, started_at, reason FROM runs WHERE source = ? AND run != ? AND "
            "(ended_at IS NULL OR ended_at > ?) ORDER BY run DESC LIMIT ?",
            (self.plan.source, self.run, ended_after, _MAX_RUNS),
        ).fetchall()
        for run, started_at, reason in rows:
            plan = plan_of(self.connection, run)
            if plan.is_for(self.broker.address, self.broker.identity):
                yield run, plan, title_of(run, started_at, reason)

    def _done(self, run: int) -> list[tuple[int, int, float]]:
        return self.connection.execute(
            "SELECT n, sends, at FROM messages WHERE run = ? AND state IN ('confirmed', 'settled')",
            (run,),
        ).fetchall()

    def _is_restored_since(self, run: int, plan: Plan) -> bool:
        return (
            plan.archive is not None
            and self.connection.execute(
                "SELECT 1 FROM runs WHERE verb = 'restore' AND source = ? AND run > ?",
                (plan.archive, run),
            ).fetchone()
            is not None
        )


def _deed(plan: Plan, title: str, sends: int) -> Deed:
    copies = 0 if plan.verb == "discard" else sends
    twice = ", perhaps twice" if copies > 1 else ""
    return Deed(f"{DONE[plan.verb]} by {title}{twice}", copies)


def summary(deeds: Iterable[Deed]) -> list[str]:
    """Return notes that say how many messages each run has done."""
    counts = Counter(deed.why for deed in deeds)
    return [f"{n:,} of the messages were already {why}" for why, n in counts.most_common(3)]
