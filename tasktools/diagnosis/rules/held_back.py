"""The check of tasks that workers have fetched and do not begin, although they have places free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tasktools.core.plurals import agreeing, counted
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    change_of,
    judged_topics,
    needs_events,
    needs_server,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.running_tasks import places_of, speaking_workers
from tasktools.diagnosis.scheduled_tasks import needs_scheduled, scheduled_of
from tasktools.diagnosis.worker_reports import dialect_of

_COMMAND: Final = "rate_limit"
"""The command by which workers of a dialect are limited, so that they hold tasks back."""
_SECONDS: Final = 20.0
"""Seconds for which messages must wait, while others are held, without a break."""
_COVERED_SHARE: Final = 0.7
"""Share of that time that samples of 5 s must cover."""
_HELD_SECONDS: Final = 10.0
"""Least mean seconds from delivery to acknowledgement, by Little's law: held messages divided by
acknowledgements a second. Workers with short tasks hold messages for far less."""
_FREE_SHARE: Final = 0.5
"""Least share of free places of the workers."""


def _held_back(facts: Facts) -> Iterator[Judgement]:
    subscribers, speaking = subscribers_of(facts), speaking_workers(facts)
    for topic in judged_topics(facts):
        if _COMMAND not in dialect_of(facts, topic).commands or not topic.queued:
            continue
        if facts.heard_since is None or not facts.state.settled:
            yield needs_events(facts, f"which tasks workers of {topic.topic} run")
            continue
        acked = change_of(topic, "acked", _SECONDS, at_least=_COVERED_SHARE * _SECONDS)
        held = _lowest(topic)
        if acked is None or held is None:
            if topic.unacked != 0:
                yield needs_server(facts, "samples", f"for how long {topic.topic} is held")
            continue
        workers = subscribers_to(subscribers, topic.topic)
        places = places_of(workers)
        running = [worker.running for worker in workers]
        if not places or None in running or any(w.worker_id not in speaking for w in workers):
            continue
        free = places - sum(count or 0 for count in running)
        own = len(facts.running_by_topic.get(topic.topic, ()))
        if held <= own or free < _FREE_SHARE * places:
            continue
        scheduled = scheduled_of(facts, topic)
        if scheduled is None:
            yield needs_scheduled(facts, topic)
            continue
        waiting = held - own - scheduled
        wait = waiting * _SECONDS / max(acked, 1.0)
        if waiting > 0 and wait >= _HELD_SECONDS:
            yield _found(facts, topic, round(waiting), free, wait)


def _lowest(topic: TopicFacts) -> float | None:
    """Return the least number of messages held by workers; 0 if the queue was empty at some time,
    `None` if it is not known."""
    queue = topic.queue
    if queue is None or not queue.ready_series or not queue.unacked_series:
        return None
    ready, held = queue.ready_series.window(_SECONDS), queue.unacked_series.window(_SECONDS)
    if held.span < _COVERED_SHARE * _SECONDS:
        return None
    return min(held.values) if min(ready.values) > 0 else 0.0


def _found(facts: Facts, topic: TopicFacts, waiting: int, free: int, wait: float) -> Finding:
    names = Counter(
        task.task_name
        for task in facts.state.prefetched
        if task.topic == topic.topic and task.task_name is not None
    )
    most = names.most_common(1)
    kind = f", most of them {most[0][0]!r}" if most else ""
    return Finding(
        check="held_back",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"Workers of {topic.topic!r} hold {counted(waiting, 'message')} that they do not "
            f"begin{kind}, each for {in_words(wait)}, though {counted(free, 'place')} "
            f"{agreeing(free, 'are')} free; {counted(topic.queued or 0, 'message', 'wait')} behind "
            "them: a rate limit holds them back, or the pool of these workers takes no tasks."
        ),
        evidence={
            "held and not begun": waiting,
            "held for": round(wait, 1),
            "free places": free,
            "queued": topic.queued,
        },
        remedy=(
            "See which rate limit these tasks have. What it holds back takes up the prefetch, also "
            "that for other queues of the worker: raise the limit (cluster.rate_limit), or give "
            "such tasks a queue and workers of their own."
        ),
        call=f"cluster.active_tasks({topic.topic!r})",
        needs=("events", "management"),
        needs_second_look=True,
        topics=(topic.topic,),
    )


RULES: Final = (
    Rule("held_back", 6, _held_back, "messages that workers hold back with places free"),
)
"""The check of what a rate limit holds back."""
