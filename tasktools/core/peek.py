"""What a look at a queue costs: a pure function from facts to a verdict.

AMQP has no peek. A look takes messages and gives them back; what that does depends on the
server's version, the queue's type, its delivery limit and its consumers. The facts behind
every branch were measured on RabbitMQ 3.10.8, 4.0.5 and 4.3.6.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from tasktools.core.errors import LookRefused

UNLIMITED: Final = -1
DEFAULT_LIMIT: Final = 20
"""Delivery limit of a quorum queue that sets none, from RabbitMQ 4.0 on."""


class Cost(StrEnum):
    """What a look does to the queue, mildest first."""

    HARMLESS = "harmless"
    REORDERS = "reorders"
    COUNTS = "counts"
    COULD_DROP = "could drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFacts:
    """What is known of a queue before looking. `None` means: could not be found out."""

    queue: str
    server: tuple[int, int]
    """Major and minor version of the server."""
    queue_type: Literal["classic", "quorum", "stream"] | None
    limit_argument: int | None
    """The `x-delivery-limit` argument; `None` when the queue has none."""
    arguments_known: bool
    policy_limit: int | None
    """The `delivery-limit` of the effective policy; `None` when it has none."""
    policies_known: bool
    consumers: int
    dead_letters: bool
    """Whether other queues dead-letter into this one."""
    deliveries_seen: int | None = None
    """Highest delivery count seen on a message of this queue, after giving it back."""

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
    def delivery_limit(self) -> int | None:
        """The limit in force: the lower of argument and policy; `None` when unknown."""
        if not (self.arguments_known and self.policies_known):
            return None
        limits = [x for x in (self.limit_argument, self.policy_limit) if x is not None]
        if self.server < (4, 0):
            # 3.x sets no limit by itself, and takes -1 for one: the first give-back drops.
            return max(min(limits), 0) if limits else UNLIMITED
        finite = [x for x in limits if x >= 0]
        if finite:
            return min(finite)
        return UNLIMITED if limits else DEFAULT_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look at this queue costs, in a word and in a sentence."""

    queue: str
    cost: Cost
    why: str
    looks_left: int | None = None
    """How many more looks the delivery limit allows, where that is known."""
    remedy: str | None = None
    give_back: Literal["nack", "close"] = "nack"
    """How to return the messages: one multiple nack, or by closing the channel."""
    drop_at: int | None = None
    """Deliveries after which a message would be dropped when given back, if there is a limit;
    such a message has to be published again, which takes the right to."""
    queue_type: Literal["classic", "quorum", "stream"] | None = None


def check_limit(limit: int | None) -> None:
    """Raise `ValueError` unless a look can show *limit* messages."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; a look shows 1 message at least.")


def check(verdict: Verdict, *, read_only: bool, force: bool) -> None:
    """Raise `LookRefused` when the verdict does not allow the look."""
    if verdict.cost is Cost.COULD_DROP and not force:
        raise LookRefused(
            f"Looking at {verdict.queue!r} was refused: {verdict.why}. The queue was not touched. "
            f"To look, {verdict.remedy}; broker.peek(…, force=True) looks all the same."
        )
    if read_only and verdict.drop_at is not None:
        raise LookRefused(
            f"Looking at {verdict.queue!r} was refused, because this cluster is read_only and the "
            "queue has a delivery limit: a message that has reached it would have to be published "
            "again. The queue was not touched."
        )
    if verdict.cost is not Cost.HARMLESS and read_only:
        raise LookRefused(
            f"Looking at {verdict.queue!r} was refused, because this cluster is read_only and the "
            f"look is not harmless: {verdict.why}. The queue was not touched."
        )


def judge(facts: QueueFacts) -> Verdict:
    """Return the verdict on looking at the queue that *facts* describe.

    Unknown facts take the careful side: an unknown type is treated as quorum, an unknown
    delivery limit as one that may be used up.
    """
    return replace(_judge(facts), drop_at=facts.drop_at, queue_type=facts.queue_type)


def _judge(facts: QueueFacts) -> Verdict:
    match facts.queue_type:
        case "classic":
            return _with_order(facts, Cost.HARMLESS, "marks the messages redelivered, no more")
        case "stream":
            return Verdict(
                queue=facts.queue,
                cost=Cost.COULD_DROP,
                why="it is a stream, which cannot give messages back",
                remedy="read it as a stream: cluster.published(), if it is a tap",
            )
        case _:
            return _judge_quorum(facts)


def _judge_quorum(facts: QueueFacts) -> Verdict:
    limit = facts.delivery_limit
    kind = "quorum queue" if facts.queue_type == "quorum" else "queue of unknown type"
    if limit is None:
        unknown = "policy" if facts.arguments_known else "arguments and policy"
        return Verdict(
            queue=facts.queue,
            cost=Cost.COULD_DROP,
            why=f"the delivery limit of this {kind} cannot be seen ({unknown} not visible), and a "
            "message at its limit is dropped when it is given back",
            remedy="look as a user with the management tag, who can see it",
        )
    if facts.server >= (4, 3):
        return _judge_4_3(facts, limit)
    give_back: Literal["nack", "close"] = "close" if facts.server < (4, 0) else "nack"
    if limit == UNLIMITED:
        return Verdict(
            queue=facts.queue,
            cost=Cost.REORDERS,
            why="giving back may change the order of a quorum queue before RabbitMQ 4.3",
            give_back=give_back,
        )
    return _judge_counting(facts, limit, give_back)


def _judge_4_3(facts: QueueFacts, limit: int) -> Verdict:
    if limit != UNLIMITED and facts.dead_letters:
        return Verdict(
            queue=facts.queue,
            cost=Cost.COULD_DROP,
            why=f"this quorum dead-letter queue has a delivery limit of {limit}, and RabbitMQ 4.3 "
            "carries delivery counts into it: the first look can delete a poison message",
            remedy=_policy(facts),
        )
    # From 4.3 on, a nack that requeues no longer counts against the delivery limit.
    return _with_order(facts, Cost.HARMLESS, "marks the messages redelivered, no more")


def _judge_counting(facts: QueueFacts, limit: int, give_back: Literal["nack", "close"]) -> Verdict:
    left = max(limit - (facts.deliveries_seen or 0), 0)
    said = f"at most {limit} in all" if facts.deliveries_seen is None else f"{left} left"
    if left <= 1:
        return Verdict(
            queue=facts.queue,
            cost=Cost.COULD_DROP,
            why=f"every look uses up the delivery limit of {limit} of this quorum queue, and "
            f"{left} {'look is' if left == 1 else 'looks are'} left before RabbitMQ drops messages",
            looks_left=left,
            remedy=_policy(facts) if facts.server >= (4, 0) else "raise its delivery limit",
        )
    return Verdict(
        queue=facts.queue,
        cost=Cost.COUNTS,
        why=f"each look uses up the delivery limit of {limit} of this quorum queue ({said})",
        looks_left=None if facts.deliveries_seen is None else left,
        give_back=give_back,
    )


def _with_order(facts: QueueFacts, cost: Cost, why: str) -> Verdict:
    if facts.consumers > 0:
        cost, why = Cost.REORDERS, "a consumer is active, so the order may change"
    return Verdict(queue=facts.queue, cost=cost, why=why)


def _policy(facts: QueueFacts) -> str:
    if facts.limit_argument is not None:  # the lower of argument and policy wins
        return "move it to a queue declared without x-delivery-limit"
    return (
        f"lift the limit: rabbitmqctl set_operator_policy -p VHOST --apply-to queues "
        f"'tasktools-look {facts.queue}' '^{_escaped(facts.queue)}$' '{{\"delivery-limit\": -1}}'"
    )


def _escaped(queue: str) -> str:
    return "".join(c if c.isalnum() or c in "_-" else f"\\{c}" for c in queue)
