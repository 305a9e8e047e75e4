"""The cost of a look at a queue: a pure function from facts to a verdict.

AMQP has no peek. A look takes messages and gives them back; what that does depends on the
server's version, the queue's type, its delivery limit and its consumers. The facts behind
every branch were measured on RabbitMQ 3.10.8, 4.0.5 and 4.3.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from tasktools.core import look_risks
from tasktools.core.errors import LookRefused
from tasktools.core.look_risks import COSTS, Cost, Risk
from tasktools.core.queue_facts import UNLIMITED, KnownType, QueueFacts
from tasktools.core.timespans import in_words

__all__ = ["Cost", "QueueFacts", "Verdict", "check", "check_limit", "check_run", "judge"]

_MIN_TIMEOUT_SECONDS: Final = 2.0  # seconds in which a run can do something


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The cost of a look at this queue, in a word and in a sentence."""

    queue: str
    cost: Cost
    why: str
    looks_left: int | None = None
    """The number of further looks that the delivery limit allows, where that is known."""
    remedy: str | None = None
    give_back: Literal["nack", "close"] = "nack"
    """The way to return the messages: one multiple nack, or by closing the channel."""
    drop_at: int | None = None
    """Deliveries after which a message would be dropped when given back, if there is a limit;
    such a message has to be published again, which takes the right to."""
    queue_type: KnownType | None = None
    consumer_timeout: float | None = None
    """Seconds after which RabbitMQ takes back what is held, if the queue sets that."""


def check_limit(limit: int | None) -> None:
    """Raise `ValueError` unless a look can show *limit* messages."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; a look shows 1 message at least.")


def check(verdict: Verdict, *, read_only: bool, force: bool) -> None:
    """Raise `LookRefused` when the verdict does not allow the look."""
    if verdict.cost is Cost.COULD_DROP and not force:
        raise LookRefused(
            f"Looking at {verdict.queue!r} was refused: {verdict.why}. The queue was not touched. "
            f"To look, {verdict.remedy}; cluster.peek(…, force=True) looks anyway, and so "
            "does 'tasktools dead TOPIC --force' at dead letters."
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


def check_run(verdict: Verdict, facts: QueueFacts, *, force: bool) -> None:
    """Raise `LookRefused` when a run, which holds messages as a look does, is not allowed."""
    if force:
        return
    if verdict.cost is Cost.COULD_DROP:
        raise LookRefused(
            f"A run on {verdict.queue!r} was refused: {verdict.why}. The queue was not touched. "
            f"First {verdict.remedy}; with force=True (on the command line --force) it is run all "
            "the same."
        )
    timeout = facts.consumer_timeout
    if timeout is not None and timeout < _MIN_TIMEOUT_SECONDS:
        raise LookRefused(
            f"A run on {verdict.queue!r} was refused: RabbitMQ takes back after "
            f"{in_words(timeout)} what is held of it. The queue was not touched. First raise its "
            "consumer timeout; with force=True (on the command line --force) it is tried anyway."
        )
    if facts.consumers and (facts.single_active_consumer or facts.exclusive_consumer):
        raise LookRefused(
            f"A run on {verdict.queue!r} was refused: {verdict.why}. The queue was not touched. "
            "First end that consumer; with force=True (on the command line --force) it is tried "
            "anyway."
        )


def judge(facts: QueueFacts) -> Verdict:
    """Return the verdict on looking at the queue that *facts* describe.

    Unknown facts take the careful side: an unknown type is treated as quorum, an unknown
    delivery limit as one that may be used up. The reason for the highest cost comes first.
    """
    verdict = _judge(facts)
    risks = [Risk(cost=verdict.cost, why=verdict.why, remedy=verdict.remedy or ""), *_risks(facts)]
    risks.sort(key=lambda risk: COSTS.index(risk.cost), reverse=True)
    cost = risks[0].cost
    if cost is Cost.COULD_DROP or verdict.cost is not cost:  # what is harmless is not the matter
        risks = [risk for risk in risks if risk.cost is not Cost.HARMLESS]
    remedies = dict.fromkeys(risk.remedy for risk in risks if risk.cost is Cost.COULD_DROP)
    return replace(
        verdict,
        cost=cost,
        why="; ".join(risk.why for risk in risks),
        remedy=" and ".join(remedies) or None,
        drop_at=facts.drop_at,
        queue_type=facts.queue_type,
        consumer_timeout=facts.consumer_timeout,
    )


def _risks(facts: QueueFacts) -> Iterator[Risk]:
    if facts.queue_type == "stream":
        return
    yield from look_risks.risks(facts)
    limit = facts.delivery_limit
    if facts.queue_type == "quorum" and facts.server >= (4, 3) and limit is not None:
        interrupted = look_risks.interrupted(facts, limit)
        if interrupted is not None:
            yield replace(interrupted, remedy=_policy(facts))


def _judge(facts: QueueFacts) -> Verdict:
    match facts.queue_type:
        case "classic":
            return _harmless(facts)
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
        unknown = "policy" if facts.arguments is not None else "arguments and policy"
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
    return _harmless(facts)


def _judge_counting(facts: QueueFacts, limit: int, give_back: Literal["nack", "close"]) -> Verdict:
    left = max(limit - (facts.deliveries_seen or 0), 0)
    allowance = f"at most {limit} in all" if facts.deliveries_seen is None else f"{left} left"
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
        why=f"each look uses up the delivery limit of {limit} of this quorum queue ({allowance})",
        looks_left=None if facts.deliveries_seen is None else left,
        give_back=give_back,
    )


def _harmless(facts: QueueFacts) -> Verdict:
    if facts.consumers > 0:
        cost, why = Cost.REORDERS, "a consumer is active, so the order may change"
    else:
        cost, why = Cost.HARMLESS, "only marks the messages redelivered"
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
