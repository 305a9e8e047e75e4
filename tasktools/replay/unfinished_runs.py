"""Unfinished runs in the ledger, and the way in which a new run continues or settles them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from tasktools.brokers.base import Broker
from tasktools.core.errors import FileError, InvalidPlan
from tasktools.core.plans import Plan
from tasktools.replay import archive
from tasktools.replay.ledger import Change, State
from tasktools.replay.run_account import Account


def runs(
    connection: sqlite3.Connection, plan: Plan, broker: Broker, *, force: bool
) -> tuple[Account | None, list[tuple[Account, Plan]]]:
    """Return the run of *plan* to continue, and the runs to settle before it.

    Raises `InvalidPlan` if the first one cannot continue, and, unless *force*, where a run on what
    seems to be another broker had begun to send messages of *plan*.
    """
    same = None
    others: list[tuple[Account, Plan]] = []
    for account, other in Account.unfinished(connection, plan):
        if not other.is_for(broker.address, broker.identity):
            shared = _shared(account, other, plan)
            if shared and not force:
                raise InvalidPlan(
                    f"{account.title.capitalize()} broke off when it had begun to send "
                    f"{shared:,} of these messages, on {other.place}; this is "
                    f"{place_of(broker)}; nothing was done. If both are the same broker, "
                    "force=True (on the command line --force) settles that run first. If not, set "
                    "TASKTOOLS_LEDGER to another file."
                )
            if shared:
                others.append((account, other))
        elif other.is_same_as(plan):
            same = account
        elif other.source_kind == "queue":
            others.append((account, other))
    if same is not None:
        _check_archived(same, plan)
    return same, others


def place_of(broker: Broker) -> str:
    """Return the address and identity of *broker*, in words."""
    identity = broker.identity
    return broker.address + ("" if identity is None else f" ({identity})")


def _shared(account: Account, other: Plan, plan: Plan) -> int:
    """Return the number of messages of *plan* that a run had begun to send."""
    if other.source_kind != "queue":
        return 0
    bases = {message.base for message in plan.messages}
    return sum(
        state in ("intent", "confirmed") and other.messages[n].base in bases
        for n, state, _ in account.begun()
    )


def _check_archived(account: Account, plan: Plan) -> None:
    lacking = not_archived(account, plan)
    if lacking:
        raise InvalidPlan(
            f"{account.title.capitalize()} has taken {lacking:,} messages out of the queue that "
            f"the archive {plan.archive} lacks; nothing more was discarded. Put that archive "
            "back, or make a new plan of what is left, with another archive."
        )


def not_archived(account: Account, plan: Plan) -> int:
    """Return how many messages a discarding run has done that its archive does not hold."""
    if plan.verb != "discard" or plan.archive is None:
        return 0
    done = {n for n, state, _ in account.begun() if state in ("confirmed", "settled")}
    if not done:
        return 0
    try:
        return len(done - {message.n for message in archive.read(plan.archive)})
    except (FileError, InvalidPlan):  # the archive is gone, or another file has its name
        return len(done)


def leave(account: Account, plan: Plan, lacking: int, now: float) -> str:
    """End a discarding run without its archive, leaving its messages; return a note."""
    account.note(_ends(account.begun()), now)
    note = (
        f"its archive {plan.archive} lacks {lacking:,} messages that it had put there: nothing "
        "more was done for it"
    )
    account.end("failed", note, now)
    return note


def _ends(begun: Iterable[tuple[int, State, int]]) -> Iterator[Change]:
    for n, state, sends in begun:
        if state == "confirmed":
            yield "settled", sends, None, n
        elif state == "intent":
            yield "in doubt", sends, "its archive is gone; it was just being put there", n
