"""Checks of how work is shared among workers: limits, prefetch, and workers that idle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from tasktools.core.models import Worker
from tasktools.core.plurals import agreeing, counted
from tasktools.core.server_facts import ServerConsumer
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    heard_for,
    judged_topics,
    limit_of,
    needs_events,
    needs_server,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.running_tasks import speaking_workers
from tasktools.diagnosis.scheduled_tasks import needs_scheduled, scheduled_of
from tasktools.diagnosis.worker_reports import dialect_of, needs_task_events

_HOARD_SHARE: Final = 0.8
_HOARD_MESSAGES: Final = 50
"""Least share of all unacknowledged messages, and number of them, that a hoarder holds."""
_HOARD_PREFETCH: Final = 100
"""A prefetch from which on a consumer may hoard; 0 is no limit. The peer's own is 32."""
_UNEVEN_SECONDS: Final = 120.0
"""Seconds of heartbeats that are compared."""
_BUSY_SHARE: Final = 0.95
_IDLE_SHARE: Final = 0.3
"""Shares of their places that the busiest worker uses at least, and the idlest at most, over that
time."""


# --- limits -----------------------------------------------------------------------------


def _limit_saturated(facts: Facts) -> Iterator[Judgement]:
    waiting = [
        (topic, limit)
        for topic in judged_topics(facts)
        for limit in [limit_of(topic)]
        if topic.queued and limit
    ]
    if waiting and (facts.heard_since is None or not facts.state.settled):
        yield needs_events(facts, "which tasks workers run")
        return
    subscribers = subscribers_of(facts)
    for topic, limit in waiting:
        workers = subscribers_to(subscribers, topic.topic)
        # Workers of tasktools share a limit; to a peer, it is one of its own process.
        peers = sum(not worker.is_tasktools for worker in workers)
        at_most = limit * (peers + (len(workers) > peers))
        running = len(facts.running_by_topic.get(topic.topic, ()))
        free = [(worker.capacity or 0) - (worker.running or 0) for worker in workers]
        if workers and running >= at_most and sum(free) > 0:
            yield _saturated(topic, limit, running, sum(free))


def _saturated(topic: TopicFacts, limit: int, running: int, free: int) -> Finding:
    return Finding(
        check="limit_saturated",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"{topic.topic!r} runs {counted(running, 'task')}, as many as its limit of {limit} "
            f"allows, while {counted(topic.queued or 0, 'message', 'wait')} and "
            f"{counted(free, 'place')} on its workers {agreeing(free, 'are')} free."
        ),
        evidence={"limit": limit, "running": running, "queued": topic.queued, "free places": free},
        remedy="Raise the limit, if what it protects allows that.",
        call=f"cluster.configure_topic({topic.topic!r}, concurrency_limit={2 * limit})",
        needs=("events", "broker"),
        needs_second_look=True,
        topics=(topic.topic,),
    )


# --- prefetch ---------------------------------------------------------------------------


def _prefetch_hoarding(facts: Facts) -> Iterator[Judgement]:
    server = facts.server
    if server is None or server.consumers is None:
        suspicious = (
            topic
            for topic in judged_topics(facts)
            if (topic.consumers is None or topic.consumers > 1)
            and (topic.unacked is None or topic.unacked >= _HOARD_MESSAGES)
        )
        if any(suspicious):
            yield needs_server(facts, "consumers", "how many messages each consumer holds")
        return
    by_queue: defaultdict[str, list[ServerConsumer]] = defaultdict(list)
    for consumer in server.consumers:
        by_queue[consumer.queue].append(consumer)
    for topic in judged_topics(facts):
        consumers = by_queue.get(topic.topic, [])
        if len(consumers) < 2:
            continue
        most = max(consumers, key=lambda each: each.held or 0)
        if most.connection in server.own_connections or most.held is None:
            continue
        may_hoard = most.prefetch == 0 or (most.prefetch or 0) >= _HOARD_PREFETCH
        held = sum({(each.connection, each.channel): each.held or 0 for each in consumers}.values())
        if may_hoard and most.held >= max(_HOARD_MESSAGES, _HOARD_SHARE * held):
            scheduled = scheduled_of(facts, topic)
            if scheduled is None:
                yield needs_scheduled(facts, topic)
            elif _at_most(topic, most.held) - scheduled >= _HOARD_MESSAGES:
                yield _hoarding(facts, topic, most, held, len(consumers))


def _at_most(topic: TopicFacts, held: int) -> int:
    """Return how many of the messages that a channel holds are of *topic* at most: it may have
    consumers of other queues."""
    return held if topic.unacked is None else min(held, topic.unacked)


def _hoarding(
    facts: Facts, topic: TopicFacts, most: ServerConsumer, held: int, consumers: int
) -> Finding:
    connections = facts.server.connections if facts.server is not None else None
    named = (each.client for each in connections or () if each.name == most.connection)
    name = next(named, None) or most.connection or "unnamed"
    prefetch = "no prefetch limit" if most.prefetch == 0 else f"a prefetch of {most.prefetch}"
    setting = dialect_of(facts, topic).prefetch_setting
    return Finding(
        check="prefetch_hoarding",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"One of {counted(consumers, 'consumer')} of {topic.topic!r} ({name}) holds "
            f"{most.held} of {counted(held, 'unacknowledged message')}: it has {prefetch}."
        ),
        evidence={
            "held": most.held,
            "unacked": held,
            "prefetch": most.prefetch,
            "consumers": consumers,
            "connection": most.connection,
        },
        against={"held by the others": held - (most.held or 0)},
        remedy=(
            "Restart that consumer with a prefetch near the number of tasks that it runs at once "
            f"({setting}): what it holds and has not begun goes back to the queue."
        ),
        call="cluster.workers()",
        needs=("management",),
        needs_second_look=True,
        topics=(topic.topic,),
    )


# --- workers that idle beside busy ones -------------------------------------------------


def _uneven(facts: Facts) -> Iterator[Judgement]:
    shared = [
        topic
        for topic in judged_topics(facts)
        if topic.consumers is None or topic.consumers > 1
        if topic.queued or topic.unacked != 0
    ]
    if heard_for(facts) < _UNEVEN_SECONDS:
        if shared:
            yield needs_events(facts, "how busy each worker was for 2 min")
        return
    yield from needs_task_events(facts, shared, "how busy each worker was")
    began = facts.at - _UNEVEN_SECONDS
    lasting = {
        name: worker
        for name, worker in speaking_workers(facts).items()
        if worker.capacity and worker.started_at and worker.started_at.timestamp() <= began
        if worker.sends_task_events is not False
    }
    busy = _busy_shares(facts, lasting, began)
    subscribers = subscribers_of(facts)
    for topic in shared:
        shares = {
            worker.worker_id: busy[worker.worker_id]
            for worker in subscribers.get(topic.topic, ())
            if worker.worker_id in busy
        }
        most, least = _ends_of(shares)
        if not shares or shares[most] < _BUSY_SHARE or shares[least] > _IDLE_SHARE:
            continue
        waits = _waits(facts, topic)
        if waits is None:
            what = f"whether messages of {topic.topic!r} wait at the busy one of its workers"
            yield needs_server(facts, "queues", what)
        elif waits:
            yield _unevenly(facts, topic, shares, most, least)


def _waits(facts: Facts, topic: TopicFacts) -> bool | None:
    """Whether messages of *topic* wait, in the queue or at a worker, beside those that run; `None`:
    not known."""
    if topic.queued:
        return True
    if topic.unacked is None:
        return None
    return topic.unacked > len(facts.running_by_topic.get(topic.topic, ()))


def _busy_shares(facts: Facts, workers: dict[str, Worker], began: float) -> dict[str, float]:
    """Return the share of its slots that each worker used since *began*."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for (worker_id, _), readings in facts.durations.items():
        seconds[worker_id] += sum(each.durations.sum for each in readings if each.at > began)
    for end in facts.ends:
        if end.worker_id is not None and end.duration is not None and end.at > began:
            seconds[end.worker_id] += min(end.duration, end.at - began)
    for task in facts.state.running:
        if task.started_at is not None:
            seconds[task.worker_id] += facts.at - max(task.started_at.timestamp(), began)
    return {
        name: min(seconds[name] / (_UNEVEN_SECONDS * (worker.capacity or 1)), 1.0)
        for name, worker in workers.items()
    }


def _ends_of(shares: dict[str, float]) -> Sequence[str]:
    by_share = sorted(shares, key=lambda name: (-shares[name], name)) or [""]
    return by_share[0], by_share[-1]


def _unevenly(
    facts: Facts, topic: TopicFacts, shares: dict[str, float], most: str, least: str
) -> Finding:
    return Finding(
        check="uneven",
        severity="suspect",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"For 2 min {most!r} used {shares[most]:.0%} of its places and {least!r} "
            f"{shares[least]:.0%}, though both consume {topic.topic!r}."
        ),
        evidence={"busiest": shares[most], "idlest": shares[least], "workers": len(shares)},
        remedy=_how_to_even(facts, topic),
        call="cluster.utilisation(since='15min', every='30s')",
        needs=("events",),
        topics=(topic.topic,),
        workers=(most, least),
    )


def _how_to_even(facts: Facts, topic: TopicFacts) -> str:
    if limit_of(topic):
        return (
            "The permits of its limit stay with the workers that took them first, as many as their "
            "prefetch: lower the prefetch of this topic, and see whether others get messages."
        )
    return (
        f"Lower the prefetch of the busy worker ({dialect_of(facts, topic).prefetch_setting}), "
        "which holds so many messages, and see whether the other gets them; or give topics workers "
        "of their own: tasktools.capacity.solve() says what sharing costs."
    )


RULES: Final = (
    Rule("limit_saturated", 6, _limit_saturated, "a limit that leaves places empty"),
    Rule("prefetch_hoarding", 6, _prefetch_hoarding, "a consumer that holds nearly all messages"),
    Rule("uneven", 6, _uneven, "workers that idle beside busy ones"),
)
"""Checks of how work is shared among workers."""
