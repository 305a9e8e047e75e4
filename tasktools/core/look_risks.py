"""The risks of a queue's settings for messages that a look or a run holds.

Each branch was measured on RabbitMQ 3.10.8 and 4.3.6. A queue that is over its length drops
messages when others are given back: of a classic queue, and a quorum queue of 4.3, its oldest
ones; of a quorum queue of 3.10 the newest, which would have stayed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tasktools.core.queue_facts import UNLIMITED, QueueFacts
from tasktools.core.timespans import in_words

_SHORT: Final = 60.0  # seconds; a look may be held up for as long
_LONG: Final = 300.0  # seconds; a run may hold messages for nearly as long
_ROOM: Final = 100  # messages; with less room, or a tenth of it, others may fill a queue in a look
_NEARLY_FULL: Final = 0.9
_FEW: Final = 5  # deliveries that are left, below which no look is risked
_SOME: Final = 10  # deliveries that are left, below which it is said that they are used up


class Cost(StrEnum):
    """The effect of a look on the queue, mildest first."""

    HARMLESS = "harmless"
    REORDERS = "reorders"
    EXPIRES = "expires"
    COUNTS = "counts"
    COULD_DROP = "could drop"


COSTS: Final = tuple(Cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """The risk of one setting of a queue, in words, and the remedy."""

    cost: Cost
    why: str
    remedy: str = "move its messages to a queue without that setting"


def risks(facts: QueueFacts) -> Iterator[Risk]:
    """Yield the risks of the queue's settings; a setting that cannot be seen is one."""
    yield from _lifetime(facts)
    yield from _length(facts)
    yield from _ttl(facts)
    yield from _others(facts)
    timeout = facts.consumer_timeout
    if timeout is not None and timeout <= _LONG:
        yield Risk(
            cost=Cost.HARMLESS,
            why=f"RabbitMQ takes back what is held for {in_words(timeout)} (consumer timeout), "
            "so that a longer look shows less; a run gives back before that, and continues",
        )
    if facts.queue_type == "classic" and facts.policy is None:
        yield Risk(
            cost=Cost.HARMLESS,
            why="its policy cannot be seen, which may make messages expire or limit its length",
        )


def expired_go(facts: QueueFacts) -> str:
    """Return in words what RabbitMQ does with expired messages of the queue: drop or move them."""
    return _expired(facts, "moves", "drops")


def past(facts: QueueFacts) -> str:
    """Return in words, in the past tense, what RabbitMQ did with expired messages of the queue."""
    return _expired(facts, "moved", "dropped")


def _expired(facts: QueueFacts, moves: str, drops: str) -> str:
    exchange = facts.dead_letter_exchange
    if exchange is None:
        return f"{drops} them" if facts.policy is not None else f"{drops} or {moves} them"
    if exchange == "" and facts.dead_letter_key is not None:
        return f"{moves} them to {facts.dead_letter_key!r}"
    return f"{moves} them by way of the exchange {exchange!r}"


def _lifetime(facts: QueueFacts) -> Iterator[Risk]:
    if facts.auto_delete is None and facts.arguments is not None:
        yield Risk(cost=Cost.COULD_DROP, why="whether it is an auto-delete queue cannot be seen")
    elif facts.auto_delete:
        who = "nobody else consumes it" if facts.consumers == 0 else "the others may end meanwhile"
        yield Risk(
            cost=Cost.COULD_DROP,
            why="it is an auto-delete queue, which RabbitMQ deletes, with its messages, when its "
            f"last consumer ends, and {who}",
            remedy="have its messages in a queue that is declared without auto-delete",
        )
    expires = facts.expires
    if expires is not None:
        short = expires <= _SHORT and facts.ready > 0
        yield Risk(
            cost=Cost.COULD_DROP if short else Cost.HARMLESS,
            why=f"RabbitMQ deletes it, with its messages, {in_words(expires)} after its last use "
            "(x-expires), which begins anew when it is given back",
            remedy="raise its x-expires, or the expires of its policy",
        )


def _length(facts: QueueFacts) -> Iterator[Risk]:
    if not facts.drops_head or facts.ready == 0:
        return
    limits = []
    if facts.max_length is not None:
        limits.append(f"{facts.max_length:,} messages")
    if facts.max_length_bytes is not None:
        limits.append(f"{facts.max_length_bytes:,} bytes")
    yield Risk(
        cost=Cost.COULD_DROP if _is_nearly_full(facts) else Cost.HARMLESS,
        why=f"it drops its oldest messages beyond {' or '.join(limits)} (drop-head), and of "
        f"{facts.ready:,} that are given back some may have no room, if others came meanwhile",
        remedy="raise its maximum length, or set the overflow of its policy to reject-publish",
    )


def _is_nearly_full(facts: QueueFacts) -> bool:
    length, size = facts.max_length, facts.max_length_bytes
    if length is not None and length - facts.ready < max(_ROOM, length / 10):
        return True
    if size is None:
        return False
    return facts.ready_bytes is None or facts.ready_bytes > size * _NEARLY_FULL


def _ttl(facts: QueueFacts) -> Iterator[Risk]:
    ttl, they = facts.message_ttl, expired_go(facts)
    if ttl is None:  # of TTLs that messages have of their own nothing is known before they come
        why = f"once it reaches messages whose own TTL is over, RabbitMQ {they}"
        yield Risk(cost=Cost.HARMLESS, why=why)
        return
    cost = Cost.HARMLESS
    if ttl <= _SHORT and facts.ready > 0:
        cost = Cost.COULD_DROP if facts.dead_letter_exchange is None else Cost.EXPIRES
    yield Risk(
        cost=cost,
        why=f"its messages expire after {in_words(ttl)} (TTL), also while they are held, and then "
        f"RabbitMQ {they}",
        remedy="raise its TTL, or give it a dead-letter exchange",
    )


def _others(facts: QueueFacts) -> Iterator[Risk]:
    if facts.exclusive_consumer:
        yield Risk(
            cost=Cost.REORDERS,
            why="its consumer is an exclusive one: RabbitMQ allows no other consumer, so no look",
        )
    if facts.single_active_consumer:
        if facts.consumers:
            why = "another consumer is its single active consumer: until that ends nothing comes"
        else:
            why = "it has a single active consumer: meanwhile a worker that comes has to wait"
        yield Risk(cost=Cost.REORDERS, why=why)


def interrupted(facts: QueueFacts, limit: int) -> Risk | None:
    """Return the risk on RabbitMQ 4.3 that a look is interrupted; `None` without a delivery limit.

    A lost connection or a killed process counts as a delivery, while giving back does not.
    """
    if limit == UNLIMITED:
        return None
    left = max(limit - (facts.deliveries_seen or 0), 0)
    cost = Cost.HARMLESS if left >= _SOME else Cost.COUNTS if left >= _FEW else Cost.COULD_DROP
    seen = f", of which {facts.deliveries_seen} are used up" if facts.deliveries_seen else ""
    return Risk(
        cost=cost,
        why="a look that is interrupted (a lost connection, a killed process) counts against its "
        f"delivery limit of {limit}{seen}; beyond that RabbitMQ drops messages",
    )
