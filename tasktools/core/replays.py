"""What a replay changes in a message, and the story it leaves in it.

Body and properties stay byte for byte, except for exactly this: the broker's headers about
deaths and deliveries, and `CC` and `BCC` (which would make copies), are taken out; a `user_id`
that is not ours is dropped, since the broker refuses it; and the header `x-tasktools-replay`
tells how often the message was replayed, by which run, and how it died at first. It is JSON in a
string, since RabbitMQ 4 ignores an `x-death` that a client sends, and streams drop tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from tasktools.core import deaths, values
from tasktools.core.models import Death

HEADER: Final = "x-tasktools-replay"
_OF_DELIVERY: Final = ("x-delivery-count", "x-acquired-count", "x-stream-offset")
_COPIES: Final = ("CC", "BCC")
_encode = msgspec.json.encode
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]  # what a column of counts can hold


class Story(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What the header says. *first_death* is that before the first replay."""

    count: _Count = 0
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


def next_story(headers: Mapping[str, Any], run: str) -> str:
    """Return what the header of a message with these *headers* says once *run* has sent it."""
    earlier = story(headers)
    told = Story(
        count=earlier.count + 1,
        run=run,
        first_death=earlier.first_death or _first(deaths.parse(headers)),
    )
    return _encode(told).decode()


def is_not_restored(header: str) -> bool:
    """Whether *header* is not put back with a message that comes out of an archive: a counter
    that the broker added when it delivered it, or a reason to put copies of it elsewhere."""
    return header in _OF_DELIVERY or header in _COPIES


def is_left_out(header: str) -> bool:
    """Whether *header* is not sent with a replay."""
    return is_not_restored(header) or deaths.is_of_broker(header)


def _first(died: Sequence[Death]) -> dict[str, str] | None:
    if not died:
        return None
    first = min(died, key=lambda death: (death.time is None, death.time))
    told = {"queue": first.queue, "reason": first.reason}
    return told if first.time is None else told | {"time": first.time.isoformat()}
