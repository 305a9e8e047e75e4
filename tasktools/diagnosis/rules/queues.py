"""Rules about queues: one that does not answer, one that is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tasktools.core.plurals import counted, named
from tasktools.core.server_facts import ServerQueue
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    begin_above,
    change_of,
    judged_topics,
    needs_broker,
    needs_server,
)

FULL_SHARE: Final = 0.95
"""Share of its maximum length from which on a queue is full."""
_COUNTER_SECONDS: Final = 60.0
"""Seconds over which publishes and acknowledgements are counted."""


def queue_down(facts: Facts) -> Iterator[Judgement]:
    """Find queues that the broker lists but cannot use.

    The management API reports such a queue as `running` for about a minute, so the queue is asked.
    """
    topics = list(judged_topics(facts))
    answering = sum(topic.trouble is None and topic.queued is not None for topic in topics)
    unknown = []
    for topic in topics:
        dead = topic.dead_queue
        if topic.trouble is not None:
            yield _down(topic.topic, topic, topic.queue, topic.trouble, answering)
        elif topic.queued is None and topic.exists is not False:
            unknown.append(topic.topic)
        if dead is not None and dead.trouble is not None:
            yield _down(dead.facts.queue, topic, dead, dead.trouble, answering)
    if unknown:
        yield needs_broker(facts, f"whether {named(unknown)} can be used")


def _down(
    name: str, topic: TopicFacts, queue: ServerQueue | None, trouble: str, answering: int
) -> Finding:
    node = queue.node if queue is not None else None
    return Finding(
        check="queue_down",
        severity="critical",
        subject_kind="queue" if name != topic.topic else "topic",
        subject=name,
        finding=f"The queue {name} cannot be used: {trouble}.",
        evidence={
            "trouble": trouble,
            "node": node or "not known",
            "other queues answer": answering,
        },
        against={"the broker as a whole": "answers" if answering else "no other queue to compare"},
        remedy=(
            f"Restart {node or 'its node'}; `rabbitmqctl restart_vhost` starts a classic queue "
            "whose process died, `rabbitmq-queues rebalance all` moves the leader of a quorum "
            "queue. Messages in it stay on disk."
        ),
        call=f"cluster.topics().query({f'topic == {topic.topic!r}'!r})",
        needs=("broker",),
        topics=(topic.topic,),
    )


def queue_full(facts: Facts) -> Iterator[Judgement]:
    """Find queues that have reached their maximum length: they drop or refuse messages."""
    unknown = []
    for topic in judged_topics(facts):
        queue = topic.queue
        limit = None if queue is None else queue.facts.max_length
        if not topic.queued:
            continue
        if queue is None or (limit is None and queue.facts.unknown):
            unknown.append(topic.topic)
        elif limit is not None and topic.queued >= FULL_SHARE * limit:
            yield _full(topic, queue, topic.queued, limit)
    if unknown:
        yield needs_server(facts, "queues", f"the maximum length of {named(unknown)}")


def _full(topic: TopicFacts, queue: ServerQueue, queued: int, limit: int) -> Finding:
    overflow = queue.facts.overflow
    effects = {
        "reject-publish": "it refuses what is published",
        "reject-publish-dlx": "it refuses what is published, and dead-letters it",
    }
    effect = effects.get(overflow, "each new message makes it drop its oldest")
    published = change_of(topic, "published", _COUNTER_SECONDS, at_least=10.0)
    acked = change_of(topic, "acked", _COUNTER_SECONDS, at_least=10.0)
    evidence: dict[str, Any] = {"queued": queued, "maximum length": limit, "overflow": overflow}
    evidence |= {} if published is None else {"published in 60 s": published}
    return Finding(
        check="queue_full",
        severity="critical",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"The queue of {topic.topic} is full: {counted(queued, 'message')} of {limit:,} "
            f"({overflow}); {effect}."
        ),
        evidence=evidence,
        against={"consumers": topic.consumers, "acknowledged in 60 s": acked},
        since=begin_above(topic.ready, FULL_SHARE * limit - 1),
        remedy="Add workers, or raise the maximum length in the policy that sets it.",
        call=f"cluster.queue_depth({topic.topic!r}, since='1h')",
        needs=("management", "broker"),
    )


RULES: Final = (
    Rule("queue_down", 2, queue_down, "a queue that does not answer"),
    Rule("queue_full", 2, queue_full, "a queue that has reached its maximum length"),
)
