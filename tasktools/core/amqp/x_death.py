"""`x-death`: how often, where and why a message died."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tasktools.core import untrusted
from tasktools.core.layout import DELAYS
from tasktools.core.models import Death

# Of many messages that died together `x-death` is one object (`tables.decode`). An object is kept
# together with what was read in it, so that its id stays its own.
_parsed: dict[int, tuple[list[Any], tuple[Death, ...]]] = {}
_MAX_PARSED_HEADERS: Final = 4096
_MAX_EXPIRATION_DIGITS: Final = 15  # RabbitMQ takes no expiration of more


def parse(headers: Mapping[str, Any]) -> tuple[Death, ...]:
    """Return the deaths in the `x-death` header, newest first.

    An entry's `time` is the first death of its queue and reason; RabbitMQ does not refresh it
    when the count grows. Entries that are none, and hops through our delay queues, are left out.
    """
    entries = headers.get("x-death")
    if not isinstance(entries, list):
        return ()
    known = _parsed.get(id(entries))
    if known is not None and known[0] is entries:
        return known[1]
    deaths = tuple(
        death
        for entry in entries
        if (death := _death(untrusted.mapping(entry))) is not None
        and not death.queue.startswith(DELAYS)  # a hop through our delay queue is no death
    )
    if len(_parsed) >= _MAX_PARSED_HEADERS:
        _parsed.clear()
    _parsed[id(entries)] = entries, deaths
    return deaths


def without_hops(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return *headers* without the entries that delay queues added.

    Deaths of another kind stay, all of them.
    """
    entries = headers.get("x-death")
    if parse(headers) or not isinstance(entries, list) or not all(map(_is_hop, entries)):
        return headers
    return {name: value for name, value in headers.items() if not is_of_broker(name)}


def is_of_broker(name: str) -> bool:
    """Whether the broker itself writes the header *name* when a message dies."""
    return name == "x-death" or name.startswith(("x-first-death-", "x-last-death-"))


def _is_hop(entry: object) -> bool:
    queue = untrusted.text(untrusted.mapping(entry).get("queue"))
    return queue is not None and queue.startswith(DELAYS)


def _death(entry: Mapping[str, Any]) -> Death | None:
    queue, reason = untrusted.text(entry.get("queue")), untrusted.text(entry.get("reason"))
    if queue is None or reason is None:
        return None
    died = entry.get("time")
    return Death(
        queue=queue,
        reason=reason,
        count=untrusted.count(entry.get("count")) or 1,
        time=_utc(died) if isinstance(died, datetime) else None,
        exchange=untrusted.text(entry.get("exchange")),
        routing_keys=untrusted.names(entry.get("routing-keys")),
        ttl=ttl_of(untrusted.text(entry.get("original-expiration"))),
    )


def ttl_of(expiration: str | None) -> float | None:
    """Return the seconds of an `expiration`, a text with milliseconds."""
    if expiration is None or not (expiration.isascii() and expiration.isdecimal()):
        return None
    return int(expiration[:_MAX_EXPIRATION_DIGITS]) / 1000


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def record(
    headers: Mapping[str, Any],
    *,
    queue: str,
    reason: str,
    at: datetime,
    exchange: str,
    routing_key: str,
) -> dict[str, Any]:
    """Return *headers* after one more death, in the shape that RabbitMQ writes.

    The memory broker dead-letters with this: the same queue and reason counts up and moves
    to the front, and `x-first-death-*` is written once.
    """
    recorded = headers.get("x-death")
    entries = (
        [dict(e) for e in recorded if isinstance(e, dict)] if isinstance(recorded, list) else []
    )
    same = next((e for e in entries if (e.get("queue"), e.get("reason")) == (queue, reason)), None)
    if same is None:
        same = {
            "count": 0,
            "reason": reason,
            "queue": queue,
            "time": at.replace(microsecond=0),
            "exchange": exchange,
            "routing-keys": [routing_key],
        }
    else:
        entries.remove(same)
    same["count"] = (untrusted.count(same.get("count")) or 0) + 1
    first = {
        "x-first-death-exchange": exchange,
        "x-first-death-queue": queue,
        "x-first-death-reason": reason,
    }
    return first | dict(headers) | {"x-death": [same, *entries]}
