"""The facts about a queue that decide what happens to its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

UNLIMITED: Final = -1
DEFAULT_LIMIT: Final = 20
"""Delivery limit of a quorum queue that sets none, from RabbitMQ 4.0 on."""

KnownType = Literal["classic", "quorum", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """The facts known of a queue. `None` means: could not be found out.

    `arguments` are those that the queue was declared with, `policy` is the effective policy, from
    policies and operator policies; both use RabbitMQ's names, and an empty one has no entries. The
    properties combine the two, as far as they are known; `unknown` names what is not.
    """

    queue: str
    server: tuple[int, int]
    """Major and minor version of the server."""
    queue_type: KnownType | None
    arguments: Mapping[str, Any] | None = field(default_factory=dict)
    policy: Mapping[str, Any] | None = field(default_factory=dict)
    auto_delete: bool | None = False
    """Whether it goes, with its messages, when its last consumer does."""
    ready: int = 0
    ready_bytes: int | None = None
    consumers: int = 0
    exclusive_consumer: bool | None = False
    """Whether one of its consumers lets no other in."""
    dead_letters: bool = False
    """Whether other queues dead-letter into this one."""
    deliveries_seen: int | None = None
    """Highest delivery count seen on a message of this queue, after giving it back."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """The facts that could not be determined, in words."""
        parts = {
            "its type and arguments": self.arguments is None or self.queue_type is None,
            "its policy": self.policy is None,
        }
        return tuple(words for words, is_unknown in parts.items() if is_unknown)

    @property
    def limit_argument(self) -> int | None:
        """The `x-delivery-limit` in the queue's arguments; `None` if unset or not known."""
        return _number((self.arguments or {}).get("x-delivery-limit"))

    @property
    def delivery_limit(self) -> int | None:
        """The limit in force: the lower of argument and policy; `None` when unknown."""
        if self.arguments is None or self.policy is None:
            return None
        limits = self._limits("delivery-limit")
        if self.server < (4, 0):
            # 3.x sets no limit by itself, and takes -1 for one: the first give-back drops.
            return max(min(limits), 0) if limits else UNLIMITED
        finite = [limit for limit in limits if limit >= 0]
        if finite:
            return min(finite)
        return UNLIMITED if limits else DEFAULT_LIMIT

    @property
    def drop_at(self) -> int | None:
        """Deliveries after which giving a message back makes the broker drop it, if any.

        Before 4.3 every way of giving back counts; from 4.3 on a nack does not count, but a
        count that was carried in from another queue may be over the limit already.
        """
        limit = self.delivery_limit
        if self.queue_type == "classic" or limit == UNLIMITED:
            return None
        if limit is None:
            limit = DEFAULT_LIMIT
        return limit + 1 if self.server >= (4, 3) else limit

    @property
    def expires(self) -> float | None:
        """Seconds without use after which the queue goes, with its messages; `None`: never."""
        return _seconds(self._lowest("expires"))

    @property
    def message_ttl(self) -> float | None:
        """Seconds after which messages of the queue expire.

        `None`: the queue sets no TTL, though a message may have its own.
        """
        return _seconds(self._lowest("message-ttl"))

    @property
    def consumer_timeout(self) -> float | None:
        """Seconds after which RabbitMQ takes back the messages that a consumer holds; `None`: the
        queue sets none of its own. RabbitMQ 3.10 ignores the argument and has no such policy; from
        4.3 on, classic queues ignore both."""
        if self.server < (3, 12) or (self.queue_type == "classic" and self.server >= (4, 3)):
            return None
        return _seconds(self._lowest("consumer-timeout"))

    @property
    def max_length(self) -> int | None:
        """The number of messages that the queue has room for; `None`: no limit."""
        return self._lowest("max-length")

    @property
    def max_length_bytes(self) -> int | None:
        """The bytes of bodies that the queue has room for; `None`: no limit."""
        return self._lowest("max-length-bytes")

    @property
    def overflow(self) -> str:
        """The behaviour of a full queue: `drop-head`, `reject-publish`, `reject-publish-dlx`."""
        return str(self._first("overflow") or "drop-head")

    @property
    def drops_head(self) -> bool:
        """Whether the queue has a maximum length beyond which it drops its oldest messages."""
        has_limit = self.max_length is not None or self.max_length_bytes is not None
        return has_limit and self.overflow == "drop-head"

    @property
    def single_active_consumer(self) -> bool:
        """Whether only one consumer at a time gets messages."""
        return (self.arguments or {}).get("x-single-active-consumer") is True

    @property
    def dead_letter_exchange(self) -> str | None:
        """The exchange that gets rejected, dropped and expired messages of the queue, if there is
        one."""
        exchange = self._first("dead-letter-exchange")
        return exchange if isinstance(exchange, str) else None

    @property
    def dead_letter_key(self) -> str | None:
        """The routing key of the queue's dead letters; `None`: the message's own key."""
        key = self._first("dead-letter-routing-key")
        return key if isinstance(key, str) else None

    def _first(self, name: str) -> Any:
        """Return the queue's argument *name*; if it has none, the policy's value."""
        by_policy = (self.policy or {}).get(name)
        return (self.arguments or {}).get(f"x-{name}", by_policy)

    def _limits(self, name: str) -> list[int]:
        both = ((self.arguments or {}).get(f"x-{name}"), (self.policy or {}).get(name))
        return [limit for limit in map(_number, both) if limit is not None]

    def _lowest(self, name: str) -> int | None:
        return min(self._limits(name), default=None)


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
