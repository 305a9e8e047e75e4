"""Checks of the queues that many messages are about to be put into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tasktools.brokers.base import Broker
from tasktools.core import target_risks
from tasktools.core.errors import (
    BrokerTimeout,
    LookRefused,
    PermissionDenied,
    QueueNotFound,
    WouldBeLost,
)
from tasktools.core.models import Outgoing
from tasktools.core.plans import Planned
from tasktools.core.target_risks import Hazard, Load


def of_plan(messages: Iterable[Planned], source: str | None) -> dict[str, Load]:
    """Return the loads that *messages*, taken from the queue *source*, put on each target queue."""
    return _loads(((m.to, m.size) for m in messages if m.to is not None), source)


def of_messages(messages: Iterable[Outgoing]) -> dict[str, Load]:
    """Return the loads that *messages* put on each target queue."""
    return _loads(((m.target, len(m.body)) for m in messages), None)


def _loads(sizes: Iterable[tuple[str, int]], source: str | None) -> dict[str, Load]:
    """Return the load of each queue, from the queue and the bytes of each message."""
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for queue, size in sizes:
        counts[queue] += 1
        totals[queue] += size
    return {queue: Load(count=n, size=totals[queue], source=source) for queue, n in counts.items()}


def hazards(broker: Broker, loads: dict[str, Load]) -> list[Hazard]:
    """Return the risks of *loads* in their queues on *broker*; changes nothing."""
    return [hazard for queue, load in loads.items() for hazard in _of_queue(broker, queue, load)]


def _of_queue(broker: Broker, queue: str, load: Load) -> list[Hazard]:
    try:
        facts = broker.queue_facts(queue)
    except QueueNotFound:
        return []  # no message is put into it, and the plan says so for each
    except (PermissionDenied, BrokerTimeout, LookRefused) as error:
        return [
            Hazard(text=f"the risks of {queue!r} for messages could not be found out ({error})")
        ]
    return target_risks.hazards(facts, load, broker.layout)


def check(risks: Iterable[Hazard], *, force: bool) -> None:
    """Raise `WouldBeLost` when RabbitMQ would drop messages, unless *force*."""
    losses = [hazard.text for hazard in risks if hazard.loses]
    if losses and not force:
        raise WouldBeLost(
            f"Messages would be lost: {'; '.join(losses)}. Nothing was sent. Make room, send "
            "fewer, or pass force=True (on the command line --force)."
        )
