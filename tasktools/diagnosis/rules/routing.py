"""The rule about routing: messages that no queue takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tasktools.core.server_facts import ServerConnection, ServerFacts
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.readings import needs_server
from tasktools.diagnosis.worker_reports import dialect_of

MIN_UNROUTABLE: Final = 5
"""Least number of messages that no queue took in a minute."""
_OF_TASKTOOLS: Final = "tasktools "
"""Prefix of the names of connections of tasktools."""
_SECONDS: Final = 60.0
_MIN_SECONDS: Final = 10.0  # that samples must cover
_MAX_SHOWN: Final = 5  # connections


def unroutable(facts: Facts) -> Iterator[Judgement]:
    """Find published messages that reached no queue."""
    server = facts.server
    if server is None or server.connections is None or server.unroutable is None:
        yield needs_server(facts, "unroutable", "messages that no queue took")
        return
    by_connection = _by_connection(server.connections)
    talkers = {
        dialect.workers
        for dialect in (dialect_of(facts, topic) for topic in facts.topics.values())
        if dialect.publishes_to_nobody
    }
    if talkers and sum(by_connection.values()) >= MIN_UNROUTABLE:
        yield CannotTell(
            why=f"which of {sum(by_connection.values()):.0f} messages that no queue took in a "
            f"minute were tasks: {' and '.join(sorted(talkers))} publish events, which no queue "
            "takes while nobody listens",
            needs=("management",),
        )
    elif sum(by_connection.values()) >= MIN_UNROUTABLE:
        yield _finding(facts, server, by_connection)
    elif catch_all := _catch_all(facts, server):
        yield CannotTell(
            why=f"what no topic takes goes to {catch_all}, and is not counted as unroutable",
            needs=("management",),
        )


def _by_connection(connections: Iterable[ServerConnection]) -> dict[str, float]:
    """Return how many messages of each connection no queue took, the most first.

    Connections of tasktools, of any process, are left out. Its publishers get an error for each
    such message; events of its workers may have no listener; and it probes for alarms with a
    message that no queue takes.
    """
    counts = {
        f"{each.client} ({each.name})" if each.client else each.name: each.unroutable.change(
            _SECONDS, at_least=_MIN_SECONDS
        )
        or 0.0
        for each in connections
        if each.unroutable is not None and not (each.client or "").startswith(_OF_TASKTOOLS)
    }
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in ordered if count > 0}


def _finding(facts: Facts, server: ServerFacts, by_connection: dict[str, float]) -> Finding:
    can_tap = not facts.topics or any(
        dialect_of(facts, topic).has_task_exchange for topic in facts.topics.values()
    )
    worst, count = next(iter(by_connection)), sum(by_connection.values())
    return Finding(
        check="unroutable",
        severity="warning",
        subject_kind="publisher",
        subject=worst,
        finding=(
            f"{count:.0f} messages were published in a minute that no queue took, "
            f"{by_connection[worst]:.0f} of them by {worst}: they are lost, or were returned to "
            "their publisher."
        ),
        evidence={
            "in 60 s": count,
            "by connection": dict(list(by_connection.items())[:_MAX_SHOWN]),
        },
        against={"queues that take everything": _catch_all(facts, server) or "none"},
        remedy=(
            "The publisher's log says which topic it was: its queue does not exist, or is not "
            "bound." + (" A tap keeps such messages, too, from now on." if can_tap else "")
        ),
        call='cluster.tap(max_age="1h")' if can_tap else "cluster.topics()",
        needs=("management",),
    )


def _catch_all(facts: Facts, server: ServerFacts) -> str | None:
    """Return the queue or exchange that receives messages of all topics, so that none is
    unroutable."""
    exchange = facts.layout.task_exchange
    if server.routes is None:
        return None
    for binding in server.routes.bindings:
        if binding.source == exchange and binding.key == "#":
            return binding.destination
    alternates = (each.alternate for each in server.routes.exchanges if each.name == exchange)
    return next((alternate for alternate in alternates if alternate is not None), None)


RULES: Final = (Rule("unroutable", 5, unroutable, "messages that no queue takes"),)
