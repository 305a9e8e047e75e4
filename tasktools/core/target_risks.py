"""The risks for messages that are sent to a queue: dropped, refused, or expired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tasktools.core.layout import Layout
from tasktools.core.plurals import counted
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.timespans import in_words

_SHORT: Final = 60.0  # seconds within which a message may expire before a worker comes to it
_SOON: Final = 3600.0  # seconds within which an unused queue may go before somebody uses it

_USUAL_CONSUMER_TIMEOUT: Final = 1800.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Hazard:
    """A risk for messages in a queue, in words; *loses*: RabbitMQ would drop some."""

    text: str
    loses: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Messages to be published to a queue, and the queue that they come from."""

    count: int
    size: int
    """Bytes of their bodies."""
    source: str | None = None


def hazards(facts: QueueFacts, load: Load, layout: Layout) -> list[Hazard]:
    """Return the risks of *load* in the queue with these *facts*."""
    return list(_hazards(facts, load, _fate(facts, load, layout)))


def _hazards(facts: QueueFacts, load: Load, fate: str | None) -> Iterator[Hazard]:
    queue = repr(facts.queue)
    if facts.unknown:
        unknown = " and ".join(facts.unknown)
        yield Hazard(
            text=f"{unknown} of {queue} could not be found out, so it is not known whether the "
            "queue drops, refuses or expires messages"
        )
    yield from _of_length(facts, load, fate)
    yield from _of_ttl(facts, fate)
    if facts.expires is not None:
        loses = facts.consumers == 0 and facts.expires <= _SOON
        yield Hazard(
            text=f"{queue} is deleted with its messages when nobody uses it for "
            f"{in_words(facts.expires)}; it has {_consumers(facts.consumers)}",
            loses=loses,
        )
    timeout = facts.consumer_timeout
    if timeout is not None and timeout < _USUAL_CONSUMER_TIMEOUT:
        yield Hazard(
            text=f"a message that a worker has fetched from {queue} and not acknowledged within "
            f"{in_words(timeout)} is taken back (consumer timeout): a task that waits or runs "
            "longer there is run again"
        )
    if facts.auto_delete:
        yield Hazard(
            text=f"{queue} is deleted with its messages when its last consumer goes; it has "
            f"{_consumers(facts.consumers)}",
            loses=True,
        )


def _of_length(facts: QueueFacts, load: Load, fate: str | None) -> Iterator[Hazard]:
    limits = []
    too_many = 0
    is_too_large = False
    if facts.max_length is not None:
        limits.append(f"{facts.max_length:,} messages")
        too_many = max(facts.ready + load.count - facts.max_length, 0)
    if facts.max_length_bytes is not None:
        limits.append(f"{facts.max_length_bytes:,} bytes")
        # It is not known how many bytes lie in the queue.
        is_too_large = facts.ready > 0 or load.size > facts.max_length_bytes
    if not limits:
        return
    queue = repr(facts.queue)
    room = f"{queue} has room for {' and '.join(limits)}, holds {facts.ready:,} messages, and"
    of_them = f"{too_many:,} or more" if too_many else "some"
    if not too_many and not is_too_large:
        yield Hazard(text=f"{room} is full when others fill it meanwhile ({facts.overflow})")
    elif facts.overflow == "drop-head":
        where = "drops" if fate is None else "moves"
        to = "" if fate is None else f" {fate}"
        yield Hazard(
            text=f"{room} {where} its oldest messages{to} when it is full (drop-head): {of_them}, "
            "of these or of what lies in it",
            loses=True,
        )
    else:
        copies = facts.overflow == "reject-publish-dlx"
        yield Hazard(
            text=f"{room} refuses more when it is full ({facts.overflow}): {of_them} would stay "
            "where they are" + (", and copies of them be dead-lettered" if copies else "")
        )


def _of_ttl(facts: QueueFacts, fate: str | None) -> Iterator[Hazard]:
    ttl = facts.message_ttl
    if ttl is None:
        return
    after = "at once, unless a worker is waiting" if ttl == 0 else f"after {in_words(ttl)}"
    what = "are dropped" if fate is None else f"go {fate}"
    yield Hazard(
        text=f"messages in {facts.queue!r} expire {after}: those that no worker has taken {what}",
        loses=ttl == 0 or (ttl <= _SHORT and fate is None),
    )


def _fate(facts: QueueFacts, load: Load, layout: Layout) -> str | None:
    """Return in words where the queue's dropped and expired messages go; `None` if they are
    lost."""
    exchange, key = facts.dead_letter_exchange, facts.dead_letter_key
    if exchange is None:
        return None
    if load.source is not None and leads_to(facts, load.source, layout):
        return f"back to {load.source!r}, where they come from"
    by_key = "" if key is None else f" with the key {key!r}"
    return f"to the exchange {exchange!r}{by_key}" if exchange else f"to the queue {key!r}"


def leads_to(facts: QueueFacts, queue: str, layout: Layout) -> bool:
    """Whether the queue of these *facts* is known to dead-letter into *queue*."""
    exchange, key = facts.dead_letter_exchange, facts.dead_letter_key
    if exchange == "":
        return key == queue
    if exchange != layout.dead_letter_exchange or key is None:
        return False
    topic = key.removeprefix(layout.dead_key(""))
    return key == layout.dead_key(topic) and layout.dead_queue(topic) == queue


def _consumers(count: int) -> str:
    return "no consumer" if count == 0 else counted(count, "consumer")
