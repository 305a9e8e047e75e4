"""The changes that a replay makes to a message, and the header that records them.

Body and properties stay byte for byte, except for exactly this: the broker's headers about deaths
and deliveries, and `CC` and `BCC` (which would make copies), are taken out; a `user_id` other than
ours is dropped, since the broker refuses it; `expiration` is dropped: in a dead letter it is the
time for which that is kept, and it would expire the task that is sent again; and the header
`x-tasktools-replay` tells how often the message was replayed, by which run, and how it died at
first. It is JSON in a string, since RabbitMQ 4 ignores an `x-death` that a client sends, and
streams drop tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from tasktools.core import untrusted
from tasktools.core.amqp import x_death
from tasktools.core.models import Death

HEADER: Final = "x-tasktools-replay"
_OF_DELIVERY: Final = ("x-delivery-count", "x-acquired-count", "x-stream-offset")
COPIES: Final = ("CC", "BCC")
"""Headers with which RabbitMQ puts copies of a message into other queues."""
_encode = msgspec.json.encode
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]  # what a column of counts can hold


class Story(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The content of the header. *first_death* is the death before the first replay."""

    count: _Count = 0
    run: str | None = None
    first_death: dict[str, str] | None = None


def story(headers: Mapping[str, Any]) -> Story:
    """Return the earlier replays in the header; none if it is missing or unreadable."""
    text = untrusted.text(headers.get(HEADER))
    if text is not None:
        try:
            return msgspec.json.decode(text, type=Story)
        except (msgspec.DecodeError, UnicodeEncodeError):
            pass
    return Story()


def next_story(headers: Mapping[str, Any], run: str) -> str:
    """Return the value of the replay header for a message with these *headers* that *run* sends."""
    earlier = story(headers)
    after_replay = Story(
        count=earlier.count + 1,
        run=run,
        first_death=earlier.first_death or _first(x_death.parse(headers)),
    )
    return _encode(after_replay).decode()


def is_not_restored(header: str) -> bool:
    """Whether *header* is left out when a message is restored from an archive: a delivery counter
    of the broker, or a header that would make copies (CC, BCC)."""
    return header in _OF_DELIVERY or header in COPIES


def is_left_out(header: str) -> bool:
    """Whether *header* is not sent with a replay."""
    return is_not_restored(header) or x_death.is_of_broker(header)


def _first(died: Sequence[Death]) -> dict[str, str] | None:
    if not died:
        return None
    first = min(died, key=lambda death: (death.time is None, death.time))
    origin = {"queue": first.queue, "reason": first.reason}
    return origin if first.time is None else origin | {"time": first.time.isoformat()}
