"""Rules about topics with messages that nobody consumes, and about limits that keep their tasks
from running."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final

from tasktools.core.models import Worker
from tasktools.core.plurals import agreeing, counted, named
from tasktools.core.timespans import in_words
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    SILENT_AFTER,
    all_subscribers_of,
    begin_above,
    change_of,
    growth_of,
    is_connection_of,
    is_forgotten,
    judged_topics,
    limit_of,
    needs_broker,
    needs_events,
    needs_server,
    stays_at_most,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.worker_reports import dialect_of, why_silent

REGISTERED_FOR: Final = 15.0
"""Seconds after its start within which a worker may not consume yet."""
MIN_SIMILARITY: Final = 0.8
"""Least similarity (difflib) of the name of a topic to the name of a consumed one."""
ORPHANED_ACK_RATE: Final = 0.3
"""Acknowledgements a second below which a limit counts as orphaned."""
_RATE_SECONDS: Final = 15.0
"""Seconds over which acknowledgements are counted."""
_GROWTH_SECONDS: Final = 60.0
"""Seconds over which the growth of a queue and its publishes are counted."""


def advertised_not_consumed(facts: Facts) -> Iterator[Judgement]:
    """Find topics that a worker reports as consumed, while they have no consumer on the broker."""
    subscribers = subscribers_of(facts)
    consumed = {each.topic: each.consumers for each in judged_topics(facts) if each.consumers}
    for topic in _unconsumed(facts):
        if facts.heard_since is None:
            yield needs_events(facts, f"which workers report that they consume {topic.topic}")
            continue
        speaking = [
            worker
            for worker in subscribers_to(subscribers, topic.topic)
            if _is_settled(worker, facts.at)
        ]
        if not speaking or _awaits_permits(facts, topic):
            continue
        names = sorted({worker.worker_id for worker in speaking})
        elsewhere = {
            name: consumed[name]
            for worker in speaking
            for name in worker.topics
            if name in consumed
        }
        yield Finding(
            check="advertised_not_consumed",
            severity="critical",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{counted(len(names), 'worker')} ({named(names)}) {agreeing(len(names), 'claim')} "
                f"to consume {topic.topic}, but its queue has 0 consumers; "
                f"{counted(topic.queued or 0, 'message', 'wait')}."
            ),
            evidence={"queued": topic.queued, "consumers": 0, "workers": names},
            against={
                "they consume other topics": elsewhere,
                "they run": sum(worker.running or 0 for worker in speaking),
            },
            since=begin_above(topic.ready),
            remedy=f"Restart the worker. {dialect_of(facts, topic).consuming}",
            call="cluster.workers()",
            needs=("events", "broker"),
            # A deploy shows it for one look: registered, not consuming yet.
            needs_second_look=not facts.is_recorded,
            workers=tuple(names),
        )


def _awaits_permits(facts: Facts, topic: TopicFacts) -> bool:
    """Whether all permits of a topic are taken: without one, a worker of tasktools waits."""
    limit = limit_of(topic)
    return bool(limit) and len(facts.permits.get(topic.topic, ())) >= (limit or 0)


def _is_settled(worker: Worker, now: float) -> bool:
    """Whether a worker has had time to consume, sends events, and is not stopping."""
    started = worker.started_at
    is_old = started is None or now - started.timestamp() >= REGISTERED_FOR
    speaks = worker.silence is not None and worker.silence <= SILENT_AFTER
    return is_old and speaks and not worker.draining and not worker.uncertain


def _unconsumed(facts: Facts) -> Iterator[TopicFacts]:
    """Yield topics with messages and without a consumer."""
    for topic in judged_topics(facts):
        if topic.queued and topic.consumers == 0:
            yield topic


def no_consumer(facts: Facts) -> Iterator[Judgement]:
    """Find topics with messages and no consumer, which no worker reports as consumed."""
    subscribers = subscribers_of(facts)
    for topic in judged_topics(facts):
        if topic.queued and topic.consumers is None and topic.trouble is None:
            yield needs_broker(facts, f"the consumers of {topic.topic}")
    for topic in _unconsumed(facts):
        if any(not worker.draining for worker in subscribers_to(subscribers, topic.topic)):
            continue
        grew = growth_of(topic.ready, _GROWTH_SECONDS)
        published = change_of(topic, "published", _GROWTH_SECONDS, at_least=10.0)
        is_fed = bool((grew or 0) > 0 or published)
        if not is_fed and is_forgotten(facts, topic):
            continue  # `forgotten_topic` says so, and since when
        is_heard = facts.heard_since is not None and why_silent(facts, topic) is None
        evidence: dict[str, Any] = {"queued": topic.queued, "consumers": 0}
        evidence |= {} if grew is None else {"grew in 60 s": grew}
        evidence |= {} if published is None else {"published in 60 s": published}
        obedient = _obedient(facts, topic)
        yield Finding(
            check="no_consumer",
            severity="critical" if is_fed else "suspect",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"Nobody consumes {topic.topic}: "
                f"{counted(topic.queued or 0, 'message', 'wait')}"
                f"{_growth(grew, published) if is_fed else ', a stale backlog'}."
            ),
            evidence=evidence,
            against={"workers that report consuming it": 0 if is_heard else "not known"},
            since=_begin(topic),
            remedy="Start a worker of this topic"
            + (", or let a running one join it." if obedient else "."),
            call=_joining(obedient, topic.topic),
            needs=("broker", "events") if is_heard else ("broker",),
            needs_second_look=not stays_at_most(topic.consumer_series, 0.0),
        )


def _growth(grew: float | None, published: float | None) -> str:
    if grew and grew > 0:
        return f", and the queue grew by {grew:,.0f} in a minute"
    count = round(published or 0)
    return f", and {count:,} {agreeing(count, 'were')} published in a minute"


def _begin(topic: TopicFacts) -> float | None:
    """Return the later of two times: since when there are no consumers, since when there are
    messages."""
    series = topic.consumer_series
    without = None
    if series is not None and series.values and series.values[-1] == 0:
        before = [at for at, value in zip(series.times, series.values, strict=True) if value]
        later = [at for at in series.times if before and at > before[-1]]
        without = min(later, default=None)
    begins = [at for at in (without, begin_above(topic.ready)) if at is not None]
    return max(begins, default=None)


def _obedient(facts: Facts, topic: TopicFacts) -> str | None:
    """Return a live worker that can read the messages of *topic* and obeys `join_topic`."""
    dialect = dialect_of(facts, topic)
    obedient = [
        worker.worker_id
        for worker in live_workers(facts.state.workers)
        if dialect_of(facts, worker) is dialect and not worker.draining
        if worker.is_tasktools or "join_topic" in dialect.commands
    ]
    return min(obedient, default=None)


def _joining(worker_id: str | None, topic: str) -> str:
    """Return the call that makes *worker_id* join *topic*; without a worker, the call that lists
    workers."""
    return f"cluster.join_topic({worker_id!r}, {topic!r})" if worker_id else "cluster.workers()"


def unknown_topic(facts: Facts) -> Iterator[Judgement]:
    """Find topics that were never consumed and have nearly the name of a consumed one."""
    subscribers = all_subscribers_of(facts)
    consumed = [topic.topic for topic in judged_topics(facts) if topic.consumers]
    for topic in _unconsumed(facts):
        if topic.had_consumer or subscribers.get(topic.topic):
            continue
        similar = difflib.get_close_matches(topic.topic, consumed, n=1, cutoff=MIN_SIMILARITY)
        if not similar:
            continue
        yield Finding(
            check="unknown_topic",
            severity="warning",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{topic.topic} may be a mistake for {similar[0]}: nobody consumes it, and "
                f"{counted(topic.queued or 0, 'message', 'wait')}."
            ),
            evidence={"queued": topic.queued, "similar topic": similar[0]},
            against={
                "consumers of it before": "not known" if topic.had_consumer is None else "none"
            },
            since=begin_above(topic.ready),
            remedy=f"Fix the publisher, and send what waits to {similar[0]}.",
            call=f"cluster.plan_replay(cluster.peek({topic.topic!r}), to={similar[0]!r})",
            needs=("broker", "events"),
            needs_second_look=not stays_at_most(topic.consumer_series, 0.0),
        )
    for topic in judged_topics(facts):
        if topic.queued and topic.consumers is None and topic.trouble is None:
            yield needs_broker(facts, f"the consumers of {topic.topic}")


# --- limits -------------------------------------------------------------------------------


def limit_orphaned(facts: Facts) -> Iterator[Judgement]:
    """Find topics with all permits taken, while fewer tasks run and none ends."""
    for topic in judged_topics(facts):
        limit = limit_of(topic)
        if not limit or not topic.queued:
            continue
        acked = change_of(topic, "acked", _RATE_SECONDS)
        if acked is None and topic.ended is not None:
            acked = topic.ended.change(_RATE_SECONDS)
        if acked is not None and acked >= ORPHANED_ACK_RATE * _RATE_SECONDS:
            continue
        server = facts.server
        if server is None or server.queues is None:
            yield needs_server(facts, "queues", f"who has the permits of {topic.topic}")
            continue
        owners = facts.permits.get(topic.topic, ())
        if len(owners) < limit:
            continue
        if not facts.state.settled or facts.heard_since is None:
            yield needs_events(facts, f"how many tasks of {topic.topic} run")
            continue
        running = len(facts.running_by_topic.get(topic.topic, ()))
        if running >= limit:
            continue
        if acked is None:
            yield needs_server(
                facts, "samples", f"how many messages of {topic.topic} are acknowledged"
            )
            continue
        suspects = _without_worker(facts, owners)
        yield Finding(
            check="limit_orphaned",
            severity="critical",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{'The only permit' if limit == 1 else f'All {limit:,} permits'} of {topic.topic} "
                f"{agreeing(limit, 'are')} taken, with "
                f"{counted(running, 'task')} running and {acked:.0f} ended in "
                f"{_RATE_SECONDS:.0f} s; {counted(topic.queued, 'message', 'wait')}."
            ),
            evidence={
                "limit": limit,
                "permits taken": len(owners),
                "running": running,
                "owners": [owner or "not reported" for owner in owners],
                "owners without a live worker": suspects,
            },
            against={"acknowledged in 15 s": acked, "consumers": topic.consumers},
            remedy=(
                "Close the connection that has a permit and no worker ("
                f"{', '.join(suspects) or 'see owners'}), on its page of the management interface."
            ),
            call="cluster.workers()",
            needs=("management", "events"),
            needs_second_look=True,
        )


def _without_worker(facts: Facts, owners: tuple[str | None, ...]) -> list[str]:
    """Return the *owners* that are not connections of a live worker."""
    connections = facts.server.connections if facts.server is not None else None
    live = live_workers(facts.state.workers)
    return sorted(
        each.name
        for each in connections or ()
        if each.name in owners and not any(is_connection_of(each, worker) for worker in live)
    )


def topic_paused(facts: Facts) -> Iterator[Judgement]:
    """Find topics with a limit of 0: none of their tasks begins."""
    for topic in judged_topics(facts):
        limit = limit_of(topic)
        if limit is None and "settings" in facts.missing and topic.queued and not topic.consumers:
            why = facts.missing["settings"]
            yield CannotTell(why=f"the limit of {topic.topic}: {why}", needs=("broker",))
        if limit != 0:
            continue
        began = begin_above(topic.ready)
        since = "" if began is None else f" for {in_words(facts.at - began)}"
        waiting = (
            "how many wait is not known"
            if topic.queued is None
            else f"{counted(topic.queued, 'message', 'wait')}{since}"
        )
        yield Finding(
            check="topic_paused",
            severity="warning",
            subject_kind="topic",
            subject=topic.topic,
            finding=f"{topic.topic} is paused (its limit is 0): {waiting}.",
            evidence={"limit": 0, "queued": topic.queued},
            against={"running": len(facts.running_by_topic.get(topic.topic, ()))},
            since=began,
            remedy="If the pause is over, remove the limit, or set a new one.",
            call=f"cluster.configure_topic({topic.topic!r}, concurrency_limit=None)",
            needs=("broker", "events"),
        )


RULES: Final = (
    Rule("limit_orphaned", 4, limit_orphaned, "permits of a limit that no worker uses"),
    Rule(
        "advertised_not_consumed",
        4,
        advertised_not_consumed,
        "a topic that a worker reports as consumed, and does not consume",
    ),
    Rule("topic_paused", 4, topic_paused, "a topic whose limit is 0"),
    Rule("unknown_topic", 5, unknown_topic, "a topic with a mistaken name"),
    Rule("no_consumer", 5, no_consumer, "a topic with messages that nobody consumes"),
)
