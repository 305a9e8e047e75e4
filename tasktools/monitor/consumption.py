"""Topics that nobody consumes, by the broker and by workers; topics whose workers send no
events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core import known_workers
from tasktools.core.dialects import registry
from tasktools.core.errors import BrokerError, InvalidTask
from tasktools.core.tasks.compose import check_topic
from tasktools.core.workload import live_workers

_MAX_TOPICS: Final = 50


def unconsumed(broker: Broker, topics: Iterable[object]) -> dict[str, str]:
    """Return the topics that nobody consumes now, each with a sentence; 50 of *topics* at most.

    A topic with an unknown number of consumers is left out, and so are invalid names.
    """
    asked = [topic for topic in dict.fromkeys(topics) if _can_be_topic(topic)][:_MAX_TOPICS]
    if not asked:
        return {}
    try:
        report = broker.topic_report(map(str, asked))
        state = broker.cluster_state()
    except BrokerError:
        return {}
    consumed = {topic for worker in live_workers(state.workers) for topic in worker.topics}
    idle = {
        stats.topic
        for stats in report.topics
        if stats.consumers == 0 and stats.exists is not False and stats.topic not in consumed
    }
    workers_note = (
        "no known worker takes it" if state.events.ok else "no events of workers arrive at present"
    )
    return {
        f"{topic}": f"nobody consumes {topic!r} now: its queue has no consumer, and {workers_note}"
        for topic in asked
        if topic in idle
    }


def topics_without_events(broker: Broker, topics: Iterable[str]) -> dict[str, str]:
    """Return those *topics* whose dialect has no worker events, each with the name of the dialect;
    topics that a worker with events consumes are left out."""
    try:
        dialects = {topic: broker.dialect_of(topic).name for topic in topics}
        silent = {
            topic: name for topic, name in dialects.items() if not registry.has_heartbeats(name)
        }
        if not silent:
            return {}
        state = broker.cluster_state(settle=known_workers.ONE_HEARTBEAT)
    except BrokerError:
        return {}
    consumed = {topic for worker in live_workers(state.workers) for topic in worker.topics}
    return {topic: name for topic, name in silent.items() if topic not in consumed}


def _can_be_topic(name: object) -> bool:
    try:
        check_topic(name if isinstance(name, str) else "")
    except InvalidTask:
        return False
    return True
