"""Rules about workers: frozen, gone, late.

Silence is by our clock, from each worker's own heartbeats, of which one is due every 3 s.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tasktools.core.known_workers import GONE_AFTER, LATE_AFTER
from tasktools.core.models import Worker
from tasktools.core.plurals import counted, named
from tasktools.core.timespans import in_words
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    SILENT_AFTER,
    STATISTICS_LAG,
    all_subscribers_of,
    change_of,
    heard_for,
    is_connection_of,
    judged_topics,
    needs_events,
    stays_at_most,
)
from tasktools.diagnosis.worker_reports import (
    after_death,
    dialect_of,
    needs_heartbeats,
    why_silent,
)

FROZEN_CRITICAL_AFTER: Final = 30.0
"""Seconds of silence after which a worker that still consumes is critical."""
_FORGOTTEN_AFTER: Final = 600.0  # seconds: a worker that is gone for longer is no finding
_GOODBYE_SECONDS: Final = 60.0  # in which a worker that consumes no more ends its tasks
_LASTS_SECONDS: Final = 5.0  # for which a queue has more consumers than workers that report
_ACKED_SECONDS: Final = 10.0  # in which acknowledgements speak against a frozen worker


def worker_frozen(facts: Facts) -> Iterator[Judgement]:
    """Find workers that are silent and still consume: the broker gives them messages."""
    if facts.heard_since is None:
        yield needs_events(facts, "which workers are silent")
        return
    subscribers = all_subscribers_of(facts)
    topics_of: defaultdict[str, list[TopicFacts]] = defaultdict(list)
    is_unknown, mute = False, list[TopicFacts]()
    for topic in judged_topics(facts):
        workers = subscribers.get(topic.topic, ())
        excess = (topic.consumers or 0) - sum(map(_speaks, workers))
        if why_silent(facts, topic) is not None:
            mute += [topic] if topic.consumers else []
            continue
        if excess > 0 and heard_for(facts) < LATE_AFTER:
            is_unknown = True  # a worker that fell silent before we listened has no name
        silent = [w for w in workers if _is_silent(w)]
        goodbyes = _goodbyes(workers)
        candidates = [
            w for w in silent if not _lost_a_consumer(topic, goodbyes, facts.at - _silence(w))
        ]
        for worker in sorted(candidates, key=_silence)[: max(excess, 0)]:
            topics_of[worker.worker_id].append(topic)
    for worker in facts.state.workers:
        consumed = topics_of.get(worker.worker_id, [])
        is_connected = _is_silent(worker) and _has_connection(facts, worker)
        if consumed or is_connected:
            yield _frozen(facts, worker, consumed, subscribers, is_connected=is_connected)
    if is_unknown:
        yield needs_events(facts, "which worker a consumer belongs to")
    yield from needs_heartbeats(facts, mute, "which consumers are frozen")


def _silence(worker: Worker) -> float:
    return 0.0 if worker.silence is None else worker.silence


def _speaks(worker: Worker) -> bool:
    """Whether a worker has sent events itself; a frozen one is known only through others."""
    is_there = worker.state != "stopped" and not worker.uncertain
    return is_there and _silence(worker) < LATE_AFTER


def _is_silent(worker: Worker) -> bool:
    """Whether a worker fell silent without a goodbye."""
    return worker.state != "stopped" and LATE_AFTER <= _silence(worker) <= _FORGOTTEN_AFTER


def _goodbyes(workers: Iterable[Worker]) -> list[float]:
    return [worker.stopped_at.timestamp() for worker in workers if worker.stopped_at is not None]


def _lost_a_consumer(topic: TopicFacts, goodbyes: Sequence[float], since: float) -> bool:
    """Whether the queue had fewer consumers at some time since a worker fell silent, not counting
    workers that said goodbye: then the silent worker is dead, even if new consumers have replaced
    it."""
    series = topic.consumer_series
    before = None if series is None else series.before(since)
    if series is None or before is None or topic.consumers is None:
        return False
    later = series.between(since, series.times[-1])
    pairs = zip((*later.times, float("inf")), (*later.values, topic.consumers), strict=True)
    return any(
        consumers + sum(since < goodbye <= at + _GOODBYE_SECONDS for goodbye in goodbyes) < before
        for at, consumers in pairs
    )


def _lasts_above(topic: TopicFacts, workers: Sequence[Worker]) -> bool:
    """Whether the queue had more consumers than reporting *workers* for 5 s, in two samples at
    least: a new worker reports soon after it begins to consume."""
    series = topic.consumer_series
    if series is None or not series:
        return False
    starts = [at for at in series.times if at <= series.times[-1] - _LASTS_SECONDS]
    if not starts:
        return False
    window = series.between(starts[-1], series.times[-1])
    return all(
        consumers > _speakers_at(workers, at)
        for at, consumers in zip(window.times, window.values, strict=True)
    )


def _speakers_at(workers: Iterable[Worker], at: float) -> int:
    """Count the workers that report now, and those that said goodbye after *at*."""
    return sum(_speaks(worker) for worker in workers) + sum(
        at < goodbye for goodbye in _goodbyes(workers)
    )


def _has_connection(facts: Facts, worker: Worker) -> bool:
    """Whether the connection of a worker of tasktools, which has a name, is still open."""
    connections = facts.server.connections if facts.server is not None else None
    return worker.is_tasktools and any(is_connection_of(each, worker) for each in connections or ())


def _frozen(
    facts: Facts,
    worker: Worker,
    consumed: list[TopicFacts],
    subscribers: Mapping[str, Sequence[Worker]],
    *,
    is_connected: bool,
) -> Finding:
    silence = _silence(worker)
    names = [topic.topic for topic in consumed] or list(worker.topics)
    acked = [change_of(topic, "acked", _ACKED_SECONDS) for topic in consumed]
    moves = sum(change for change in acked if change is not None)
    others = [w for w in live_workers(facts.state.workers) if _silence(w) < LATE_AFTER]
    is_alone = not any(set(names) & {*other.topics} for other in others)
    is_cut_off = bool(moves) and is_alone and silence >= _ACKED_SECONDS + STATISTICS_LAG
    where = f"{worker.host or 'an unknown host'}, pid {worker.pid}"
    lasted = bool(consumed) and all(
        _lasts_above(topic, subscribers.get(topic.topic, ())) for topic in consumed
    )
    return Finding(
        check="worker_frozen",
        severity=(
            "suspect"
            if is_cut_off
            else "critical"
            if silence > FROZEN_CRITICAL_AFTER
            else "warning"
        ),
        subject_kind="worker",
        subject=worker.worker_id,
        finding=(
            f"{worker.worker_id} ({where}) is silent for {in_words(silence)} and still consumes "
            f"{', '.join(names) or 'nothing that is known'}: it is frozen, or cut off."
        ),
        evidence={
            "silence": round(silence, 1),
            "consumers": {topic.topic: topic.consumers for topic in consumed},
            "connection is open": is_connected or "not known",
            "unacknowledged": sum(topic.unacked or 0 for topic in consumed),
        },
        against={
            "acknowledged in 10 s": moves,
            "other workers that send events": len(others),
        },
        since=facts.at - silence,
        remedy=(
            f"`kill -9 {worker.pid}` on {worker.host or 'its host'}: "
            f"{dialect_of(facts, worker).after_death}. The broker itself drops it when it misses "
            "heartbeats of AMQP (20 to 120 s)."
        ),
        call="cluster.workers()",
        needs=("events", "broker"),
        needs_second_look=not (is_connected or lasted),
        topics=tuple(names),
        workers=(worker.worker_id,),
    )


def workers_gone(facts: Facts) -> Iterator[Judgement]:
    """Find topics with messages, without a consumer, and with silent last workers."""
    subscribers = all_subscribers_of(facts)
    for topic in judged_topics(facts):
        if not topic.queued or topic.consumers != 0:
            continue
        if facts.heard_since is None:
            yield needs_events(facts, f"whether {topic.topic} had workers")
            continue
        if why_silent(facts, topic) is not None:
            yield from needs_heartbeats(facts, [topic], "which workers consumed messages")
            continue
        if topic.topic not in subscribers and heard_for(facts) < _FORGOTTEN_AFTER:
            yield needs_events(facts, f"whether {topic.topic} had workers before")
            continue
        last = [worker for worker in subscribers.get(topic.topic, ()) if worker.state != "stopped"]
        if not last or min(map(_silence, last)) < SILENT_AFTER:
            continue
        silence = min(map(_silence, last))
        workers = tuple(sorted(worker.worker_id for worker in last))
        lost = _lost_tasks(facts, workers, topic.topic)
        yield Finding(
            check="workers_gone",
            severity="critical",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"The workers of {topic.topic} are gone: {named(workers)} silent for "
                f"{in_words(silence)}, {counted(topic.queued, 'message', 'wait')}, 0 consumers."
            ),
            evidence={
                "queued": topic.queued,
                "consumers": 0,
                "silence": round(silence, 1),
                "workers": list(workers),
                "tasks that they were running": lost,
            },
            against={"workers that send events and report consuming it": 0},
            since=facts.at - silence,
            remedy=(
                "Start workers of this topic again, and see why they ended (their log, the "
                f"kernel's out-of-memory killer). {after_death(facts, topic.topic)}"
            ),
            call="cluster.workers()",
            needs=("events", "broker"),
            needs_second_look=not stays_at_most(topic.consumer_series, 0.0),
            workers=workers,
        )


def _lost_tasks(facts: Facts, workers: tuple[str, ...], topic: str | None = None) -> list[str]:
    return [
        orphan.task.task_id
        for orphan in facts.orphans
        if orphan.task.worker_id in workers and topic in (None, orphan.task.topic)
    ]


def worker_gone(facts: Facts) -> Iterator[Judgement]:
    """Find workers that are silent for more than 30 s, within the last 10 min."""
    yield from _absent(facts, "worker_gone", GONE_AFTER, _FORGOTTEN_AFTER)


def worker_late(facts: Facts) -> Iterator[Judgement]:
    """Find workers that are silent for 10 to 30 s."""
    yield from _absent(facts, "worker_late", LATE_AFTER, GONE_AFTER)


def _absent(facts: Facts, check: str, after: float, until: float) -> Iterator[Judgement]:
    if facts.heard_since is None:
        yield needs_events(facts, "which workers are silent")
        return
    if heard_for(facts) < until:  # who fell silent before is not known to us
        yield needs_events(facts, "which workers fell silent before")
    live = Counter(
        topic
        for worker in facts.state.workers
        if worker.state != "stopped" and _silence(worker) < LATE_AFTER
        for topic in set(worker.topics)
    )
    for worker in facts.state.workers:
        silence = _silence(worker)
        if worker.state == "stopped" or not after < silence <= until:
            continue
        alone = [topic for topic in worker.topics if not live[topic]]
        lost = _lost_tasks(facts, (worker.worker_id,))
        rest = f"nobody else consumes {', '.join(alone)}" if alone else "others consume its topics"
        yield Finding(
            check=check,
            severity="warning" if alone and not worker.uncertain else "suspect",
            subject_kind="worker",
            subject=worker.worker_id,
            finding=(
                f"{worker.worker_id} ({worker.host or 'unknown host'}) is silent for "
                f"{in_words(silence)}, without a goodbye; {rest}."
            ),
            evidence={
                "silence": round(silence, 1),
                "topics without another worker": alone,
                "tasks that it was running": lost,
            },
            against={"a deploy or a scale-down": dialect_of(facts, worker).at_a_stop},
            since=facts.at - silence,
            remedy="See whether it was stopped on purpose; if not, start it again.",
            call="cluster.workers()",
            needs=("events",),
            topics=worker.topics,
            workers=(worker.worker_id,),
        )


RULES: Final = (
    Rule("worker_frozen", 4, worker_frozen, "a worker that is frozen"),
    Rule("workers_gone", 4, workers_gone, "a topic whose workers are gone"),
    Rule("worker_gone", 4, worker_gone, "a worker that is gone"),
    Rule("worker_late", 4, worker_late, "a worker that is late"),
)
