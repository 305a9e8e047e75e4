"""Topics that nobody consumes, by the consumers on the broker and by the reports of workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tasktools.brokers.base import Broker
from tasktools.core.errors import BrokerError, InvalidTask
from tasktools.core.tasks.compose import check_topic
from tasktools.core.workload import subscribers_by_topic

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
    workers = subscribers_by_topic(state.workers)
    idle = {
        stats.topic
        for stats in report.topics
        if stats.consumers == 0 and stats.exists is not False and not workers[stats.topic]
    }
    workers_note = (
        "no known worker takes it" if state.events.ok else "no events of workers arrive at present"
    )
    return {
        f"{topic}": f"nobody consumes {topic!r} now: its queue has no consumer, and {workers_note}"
        for topic in asked
        if topic in idle
    }


def _can_be_topic(name: object) -> bool:
    try:
        check_topic(name if isinstance(name, str) else "")
    except InvalidTask:
        return False
    return True
