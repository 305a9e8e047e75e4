"""What a replay changes in a message, and the story it leaves in it.

Body and properties stay byte for byte, except for exactly this: the broker's headers about
deaths and deliveries, and `CC` and `BCC` (which would make copies), are taken out; a `user_id`
that is not ours is dropped, since the broker refuses it; and the header `x-tasktools-replay`
tells how often the message was replayed, by which run, and how it died at first. It is JSON in a
string, since RabbitMQ 4 ignores an `x-death` that a client sends, and streams drop tables.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tasktools.core import deaths, values, wire
from tasktools.core.models import Death, Properties

HEADER: Final = "x-tasktools-replay"
_OF_DELIVERY: Final = ("x-delivery-count", "x-acquired-count", "x-stream-offset")
_COPIES: Final = ("CC", "BCC")
_encode = msgspec.json.encode


class Story(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the header says. *first_death* is that before the first replay."""

    count: int = 0
    run: str | None = None
    first_death: dict[str, str] | None = None


def story(headers: Mapping[str, Any]) -> Story:
    """Return what is told of earlier replays; of none if there were none, or nobody can tell."""
    text = values.text(headers.get(HEADER))
    if text is not None:
        try:
            return msgspec.json.decode(text, type=Story)
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass
    return Story()


def replayed(
    raw: bytes, properties: Properties, died: Sequence[Death], *, run: str, user: str | None
) -> bytes:
    """Return the properties *raw*, which decode to *properties*, as *run* sends them.

    *died* are the message's deaths, *user* is who sends. Raises `ValueError` for bytes that are no
    properties.
    """
    earlier = story(properties.headers)
    told = Story(
        count=earlier.count + 1,
        run=run,
        first_death=earlier.first_death or _first(died),
    )
    added = {HEADER: _encode(told).decode()}
    return wire.edited(raw, without=_goes, added=added, drop=_foreign(properties, user))


def restored(raw: bytes, properties: Properties, *, user: str | None) -> bytes:
    """Return the properties of an archived message as they are put back into its queue."""
    return wire.edited(raw, without=_COPIES.__contains__, drop=_foreign(properties, user))


@functools.lru_cache(maxsize=256)
def _goes(name: str) -> bool:
    return name in _OF_DELIVERY or name in _COPIES or deaths.is_of_broker(name)


def _foreign(properties: Properties, user: str | None) -> tuple[str, ...]:
    return () if user is None or properties.user_id in (None, user) else ("user_id",)


def _first(died: Sequence[Death]) -> dict[str, str] | None:
    if not died:
        return None
    first = min(died, key=lambda death: (death.time is None, death.time))
    told = {"queue": first.queue, "reason": first.reason}
    return told if first.time is None else told | {"time": first.time.isoformat()}
