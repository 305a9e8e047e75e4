"""Rules about messages that are lost: rejected without dead-lettering, expired, dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from tasktools.core.dialects.dialect import Dialect
from tasktools.core.plurals import counted, named
from tasktools.core.server_facts import ServerQueue
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.queue_balance import Balances
from tasktools.diagnosis.readings import (
    growth_of,
    is_unsampled,
    judged_topics,
    needs_server,
    why_missing,
)
from tasktools.diagnosis.worker_reports import dialect_of

BALANCE_SECONDS: Final = 60.0
"""Seconds over which the balance of a queue is computed."""
MIN_REJECTED: Final = 5
"""Rejected messages in that time from which on their loss is a finding."""
MIN_UNBOUND_LOST: Final = 2
"""Messages lost in that time for want of a binding; a balance is exact to 1."""
MIN_VANISHED: Final = 10
"""Least number of messages that vanished in that time."""
MIN_VANISHED_SHARE: Final = 0.2
"""Least share of vanished messages among published ones."""
_VANISHING_SPAN: Final = 20.0  # seconds, at least
_NEWEST: Final = 2  # samples that are left out where lengths decide
_ONCE_SHARE: Final = 0.75  # lost between two samples: a purge
_ALIKE_SHARE: Final = 0.5  # of what vanished, that dead letters grew by


def no_dead_lettering(facts: Facts) -> Iterator[Judgement]:
    """Find queues with tasks and without a dead-letter exchange: rejected messages are lost."""
    unknown = []
    for topic in judged_topics(facts):
        queue = topic.queue
        if queue is None or queue.facts.dead_letter_exchange is not None:
            if queue is None and topic.dead_lettering is None and topic.exists is not False:
                unknown.append(topic.topic)
            continue
        if queue.facts.queue_type == "stream":
            continue
        if queue.facts.unknown:
            unknown.append(topic.topic)
            continue
        rejected = Balances(queue, BALANCE_SECONDS).rejected
        # What a consumer fetched just now is counted before it shows in the lengths.
        before = Balances(queue, BALANCE_SECONDS, newest=1).rejected
        is_losing = min(rejected, before) >= MIN_REJECTED
        dialect = dialect_of(facts, topic)
        if not is_losing and not dialect.rejects_failures:
            continue  # most of its workers reject nothing
        words = (
            f"{counted(round(rejected), 'message', 'were')} lost in a minute"
            if is_losing
            else "none was in the last minute"
        )
        yield Finding(
            check="no_dead_lettering",
            severity="critical" if is_losing else "suspect",
            subject_kind="topic" if topic.is_topic else "queue",
            subject=topic.topic,
            finding=(
                f"{topic.topic} has no dead-letter exchange: what workers reject is lost; {words}."
            ),
            evidence={"rejected in 60 s": rejected, "dead-letter exchange": "none"},
            against={"an argument or a policy that sets it": "none"},
            remedy=f"Set it by a policy: `{_policy(dialect, topic.topic)}`",
            call=_row_of(topic.topic),
            needs=("management",),
            topics=(topic.topic,),
        )
    if unknown:
        yield needs_server(facts, "queues", f"the dead-lettering of {named(unknown)}")


def _policy(dialect: Dialect, topic: str) -> str:
    """Return the command that sets dead-lettering for the queue of *topic*."""
    arguments = dialect.dead_letter_arguments(topic)
    definition = {name.removeprefix("x-"): value for name, value in arguments.items()}
    pattern = f"^{re.escape(topic)}$"
    return (
        f"rabbitmqctl set_policy -p VHOST dlx-{topic} '{pattern}' '{json.dumps(definition)}' "
        "--apply-to queues"
    )


def _row_of(topic: str) -> str:
    return f"cluster.topics().query({f'topic == {topic!r}'!r})"


def dead_letters_unbound(facts: Facts) -> Iterator[Judgement]:
    """Find topics whose dead-letter exchange has no queue bound for their dead letters."""
    routes = facts.server.routes if facts.server is not None else None
    unknown: list[str] = []
    for topic in judged_topics(facts):
        queue = topic.queue
        if queue is None:
            if topic.exists is not False:
                unknown.append(topic.topic)
            continue
        exchange = queue.facts.dead_letter_exchange
        if exchange is None:
            continue  # another check says so
        key = queue.facts.dead_letter_key
        reached = _reached(facts, exchange, key or topic.topic)
        if reached is None:
            unknown.append(topic.topic)
        elif not reached:
            exchanges = None if facts.server is None else facts.server.exchanges
            is_there = exchanges is None or exchange in exchanges
            dead_queue = dialect_of(facts, topic).dead_queue(topic.topic) or f"{topic.topic}.dlq"
            yield _unbound(topic, queue, exchange, key, dead_queue, is_there=is_there)
    if unknown:
        why = why_missing(facts, "routes")
        if routes is not None:
            why = "their exchange routes by headers, by a plugin, or by a policy"
        what = f"where the dead letters of {named(unknown)} go"
        yield CannotTell(why=f"{what}: {why}", needs=("management",))


def _reached(facts: Facts, exchange: str, key: str) -> frozenset[str] | None:
    """Return the queues to which dead letters go, as far as they exist; `None`: not known."""
    server = facts.server
    if server is None or server.routes is None:
        return None
    reached = server.routes.reached(exchange, key)
    if exchange == "" and server.queues is not None:
        return frozenset({key} & server.queues.keys())  # it routes by names, of whatever queue
    return reached


def _unbound(
    topic: TopicFacts,
    queue: ServerQueue,
    exchange: str,
    key: str | None,
    dead_queue: str,
    *,
    is_there: bool,
) -> Finding:
    lost = Balances(queue, BALANCE_SECONDS).lost
    is_losing = lost >= MIN_UNBOUND_LOST
    dead = topic.dead_queue
    where = f"{exchange!r} with the key {key!r}" if key is not None else repr(exchange)
    words = f"has no queue for {where}" if is_there else f"goes to {exchange!r}, which is not there"
    if exchange == "":
        words = f"goes to the queue {key or topic.topic!r}, which is not there"
    return Finding(
        check="dead_letters_unbound",
        severity="critical" if is_losing else "warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"What {topic.topic} dead-letters {words}: "
            f"{counted(round(lost), 'message', 'were')} lost in a minute."
        ),
        evidence={
            "exchange": exchange,
            "routing key": key or "the message's own",
            "exchange exists": is_there,
            "lost in 60 s": lost,
        },
        against={"dead-letter queue": dead.facts.queue if dead is not None else "does not exist"},
        remedy=(
            f"Declare the queue {dead_queue}, and bind it to {exchange!r} with "
            f"{key or topic.topic!r}."
            if exchange
            else f"Declare the queue {key or topic.topic}."
        ),
        call=_row_of(topic.topic),
        needs=("management",),
    )


def vanishing(facts: Facts) -> Iterator[Judgement]:
    """Find queues from which messages go without having been delivered: expired or dropped."""
    unknown = []
    for topic in judged_topics(facts):
        queue = topic.queue
        if is_unsampled(facts, topic) and topic.exists is not False:
            unknown.append(topic.topic)
        if queue is None:
            continue
        balances = Balances(queue, BALANCE_SECONDS, newest=_NEWEST)
        if balances.span < _VANISHING_SPAN:
            continue
        vanished = balances.surely_vanished - _uncounted(topic, queue, balances.span)
        if vanished >= MIN_VANISHED and vanished > MIN_VANISHED_SHARE * balances.published:
            yield _vanished(topic, queue, balances)
    if unknown:
        yield needs_server(facts, "samples", f"how many messages enter and leave {named(unknown)}")


def _uncounted(topic: TopicFacts, queue: ServerQueue, seconds: float) -> float:
    """Return how many messages the statistics miss: they wait, as the broker itself counts, or
    their tasks ended, as workers report."""
    length = (queue.ready_series.last if queue.ready_series else None) or 0.0
    waiting = (topic.queued or 0) - length
    ended = growth_of(topic.ended, seconds) or 0.0
    return max(waiting, 0.0) + max(ended - (growth_of(queue.acked, seconds) or 0.0), 0.0)


def _vanished(topic: TopicFacts, queue: ServerQueue, balances: Balances) -> Finding:
    vanished = balances.vanished
    grew = growth_of(topic.dead_ready, BALANCE_SECONDS) or 0.0
    grew_alike = grew if grew >= _ALIKE_SHARE * vanished else 0.0
    ttl, limit = queue.facts.message_ttl, queue.facts.max_length
    was_once = balances.largest_share >= _ONCE_SHARE and not grew_alike
    is_saved = queue.facts.dead_letter_exchange is not None and topic.dead_lettering is not False
    fate = (
        f"{counted(round(grew_alike), 'dead letter')} came"
        if grew_alike
        else "all at once, as a purge does it"
        if was_once
        else "they are dead-lettered"
        if is_saved
        else "they are lost"
    )
    return Finding(
        check="vanishing",
        # A purge by an operator is a single step; expiry goes on.
        severity="suspect" if was_once else "warning" if is_saved else "critical",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"{counted(round(vanished), 'message')} left {topic.topic} undelivered in "
            f"{in_words(balances.span)}, of {balances.published:.0f} published: expired or "
            f"dropped; {fate}."
        ),
        evidence={
            "vanished": vanished,
            "published": balances.published,
            "TTL": "none of the queue" if ttl is None else in_words(ttl),
            "maximum length": "none" if limit is None else limit,
            "dead letters": grew_alike,
        },
        against={
            "rejected": balances.rejected,
            "a purge": "it was at once" if was_once else "it continues",
        },
        remedy=(
            f"Messages live {in_words(ttl)} in this queue: add workers, or raise the TTL."
            if ttl is not None
            else "See whether publishers set an expiration; add workers, or raise it."
        ),
        call=f"cluster.dead_letters({topic.topic!r})" if is_saved else _row_of(topic.topic),
        needs=("management",),
    )


RULES: Final = (
    Rule("no_dead_lettering", 5, no_dead_lettering, "a queue that loses rejected messages"),
    Rule(
        "dead_letters_unbound", 5, dead_letters_unbound, "dead letters for which there is no queue"
    ),
    Rule("vanishing", 5, vanishing, "messages that expire or are dropped"),
)
