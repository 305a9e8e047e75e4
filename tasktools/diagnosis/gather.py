"""The gathering of facts: one pass over each source of a cluster, live or recorded.

It changes nothing and looks into no queue: a look would mark messages redelivered, which is one of
the facts. A fact that cannot be read is missing, and `Facts.missing` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from msgspec.structs import replace

from tasktools.cluster.cluster import Cluster
from tasktools.cluster.observation import Observation
from tasktools.core import workload
from tasktools.core.clock import moment
from tasktools.core.dialects import registry
from tasktools.core.errors import BrokerError, Closed
from tasktools.core.known_workers import ONE_HEARTBEAT
from tasktools.core.layout import OWN_QUEUES, PEER_LOCKS, topic_of_permit
from tasktools.core.models import (
    ClusterState,
    DurationReading,
    Source,
    TopicReport,
    TopicSettings,
    TopicStats,
)
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerPart, ServerQueue, all_missing
from tasktools.diagnosis import changes, recent_past
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.history.recent import TopicHistory

_NO_ANSWER: Final = "the broker did not answer"
_NO_SETTINGS: Final = "the settings that the broker keeps could not be read"
_DEFAULT_TOPIC: Final = TopicHistory()


def gather(cluster: Cluster, *, settle: float = ONE_HEARTBEAT) -> Facts:
    """Return the facts of *cluster* now, or at the moment of its recording.

    A live cluster is sampled once, after waiting up to *settle* seconds for the workers' first
    heartbeats.
    """
    with cluster.observed(settle=settle) as observation:
        sample, recent = observation.sample, observation.recent
        state = sample.state or _nothing_heard(sample.at, sample.why)
        histories, durations = recent.topics(), recent.durations()
        earlier_durations = recent.earlier_durations(recent_past.EARLIER_SECONDS)
        earlier_days = recent.earlier_days()
        begins, ends = recent_past.begins(recent), recent_past.ends(recent, cluster.redaction)
        earlier_ends = recent_past.earlier_ends(recent, ends, sample.at)
        if cluster.is_recorded:
            presence = recent_past.recorded_presence(recent)
            orphans = recent_past.recorded_orphans(state, recent, begins, ends)
        else:
            presence, orphans = recent_past.presence(state), recent_past.orphans(state)
        lock_holds = recent_past.lock_holds(recent)
        unconsumed_for = recent_past.unconsumed(recent, sample.report)
        recorded_changes = changes.recorded(recent, cluster.redaction)
        heard_since, gap = _heard_since(observation, state), recent.note_of_gap()
    report = sample.report or TopicReport(topics=(), sources=())
    settings = {**state.settings, **(sample.settings or {})}
    server = _server(cluster, sample.at, report, settings)
    silent = workload.why_silent(state, report) or _why_no_events(state, report)
    if silent:
        heard_since = None
    runs, why_no_runs = changes.runs(cluster, observation.address, sample.at)
    missing = {
        "events": None if heard_since is not None else silent or state.events.note or "none arrive",
        "broker": sample.why or _NO_ANSWER if sample.report is None else _why_no_topics(report),
        "management": None if cluster.is_recorded else _in_words(server.missing),
        "settings": None if sample.settings is not None else _NO_SETTINGS,
        "ledger": why_no_runs,
    }
    all_changes = (
        *changes.of_workers(state.workers, sample.at),
        *changes.of_versions(state.workers, sample.at),
        *changes.of_topics(histories),
        *changes.of_runs(runs),
        *recorded_changes,
    )
    queues = server.queues or {}
    topics = _topics(cluster, state, report, server, settings, histories, durations)
    return Facts(
        at=round(sample.at, 3),  # as the recording has it: the newest sample is not of the future
        heard_since=heard_since,
        state=state,
        layout=cluster.broker.layout,
        topics={
            name: replace(
                topic,
                earlier_durations=earlier_durations.get(name, ()),
                earlier_days=earlier_days.get(name, ()),
            )
            for name, topic in topics.items()
        },
        begins=begins,
        ends=ends,
        earlier_ends=earlier_ends,
        presence=presence,
        orphans=orphans,
        durations=recent_past.durations(state),
        server=server,
        changes=tuple(sorted(all_changes, key=lambda change: change.at)),
        runs=runs,
        permits=_permits(queues),
        locks_of_peers={
            name.removeprefix(PEER_LOCKS): (queue.ready, queue.unacked)
            for name, queue in queues.items()
            if name.startswith(PEER_LOCKS)
        },
        lock_holds=lock_holds,
        unconsumed_for=unconsumed_for,
        own_queues=frozenset(name for name in queues if name.startswith(OWN_QUEUES)),
        is_recorded=cluster.is_recorded,
        sources=_sources(state, report, _management(cluster, server), gap),
        missing={source: why for source, why in missing.items() if why is not None},
    )


def _nothing_heard(at: float, why: str | None) -> ClusterState:
    events = Source(name="events", ok=False, note=why or _NO_ANSWER)
    return ClusterState(at=moment(at), events=events, settled=False)


def _why_no_events(state: ClusterState, report: TopicReport) -> str | None:
    """Return why no events arrive, where those of all topics cannot be received; `None` if some
    can, or their dialects send none."""
    names = {stats.dialect for stats in report.topics if registry.has_heartbeats(stats.dialect)}
    if not names or not names <= state.without_events.keys():
        return None
    each = {name: state.without_events[name] for name in sorted(filter(None, names))}
    return f"no events of {registry.workers_of(each)} arrive: {'; '.join(each.values())}"


def _heard_since(observation: Observation, state: ClusterState) -> float | None:
    """Return since when events were received without a gap, and recorded."""
    recorded = observation.recent.heard_since()
    if recorded is None or not state.events.ok:
        return None
    listening = state.listening_since
    return recorded if listening is None else max(recorded, listening.timestamp())


def _server(
    cluster: Cluster, at: float, report: TopicReport, settings: Mapping[str, TopicSettings]
) -> ServerFacts:
    """Return the facts that the broker reports of itself."""
    limited = {topic for topic, each in settings.items() if each.concurrency_limit is not None}
    queues = {name for stats in report.topics for name in (stats.topic, stats.dead_queue) if name}
    try:
        return cluster.broker.server_facts(queues, limits=limited)
    except Closed:
        raise
    except BrokerError as error:
        return all_missing(at, str(error))


def _why_no_topics(report: TopicReport) -> str | None:
    """Return why a report is empty: that moment was not sampled."""
    broker = next((each for each in report.sources if each.name == "broker"), None)
    if report.topics or broker is None or broker.ok:
        return None
    return broker.note or _NO_ANSWER


def _in_words(missing: Mapping[ServerPart, str]) -> str | None:
    """Return in words which parts the broker does not report, and why."""
    parts: dict[str, list[str]] = {}
    for part, why in missing.items():
        parts.setdefault(why, []).append(part)
    if len(parts) == 1 and len(missing) == len(get_args(ServerPart)):
        return next(iter(parts))
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in parts.items()) or None


def _sources(
    state: ClusterState, report: TopicReport, management: Source | None, gap: str | None
) -> tuple[Source, ...]:
    """Return the sources of the facts, each once; *gap* describes missing events."""
    note = "; ".join(filter(None, (state.events.note, gap))) or None
    events = Source(name="events", ok=state.events.ok, age=state.events.age, note=note)
    others = {source.name: source for source in report.sources}
    if management is not None:
        others[management.name] = management
    return (events, *(_without_columns(source) for source in others.values()))


def _management(cluster: Cluster, server: ServerFacts) -> Source | None:
    """Return the management API as a source, with the age of its newest sample."""
    if cluster.broker.server_version is None or server.server_at is None:
        return None
    return Source(name="management", ok=True, age=max(server.at - server.server_at, 0.0))


def _without_columns(source: Source) -> Source:
    return Source(name=source.name, ok=source.ok, age=source.age, note=source.note)


# --- topics ---------------------------------------------------------------------------


def _topics(
    cluster: Cluster,
    state: ClusterState,
    report: TopicReport,
    server: ServerFacts,
    settings: Mapping[str, TopicSettings],
    histories: Mapping[str, TopicHistory],
    durations: Mapping[str, tuple[DurationReading, ...]],
) -> dict[str, TopicFacts]:
    """Return the topics, and the queues that get tasks without being topics."""
    layout, queues = cluster.broker.layout, server.queues or {}
    stats_by_topic = {stats.topic: stats for stats in report.topics}
    bound = server.routes.bound_by_name(layout.task_exchange) if server.routes else frozenset()
    others = {
        name
        for name in bound
        if name not in stats_by_topic and not cluster.broker.homes_of(name) and name in queues
    }
    loads = workload.TopicLoads(state)
    topics = {}
    for topic in sorted(stats_by_topic.keys() | others):
        history = histories.get(topic, _DEFAULT_TOPIC)
        stats = stats_by_topic.get(topic)
        if stats is None:
            stats = _stats_of(topic, queues[topic], cluster.broker.dead_queue(topic))
        topics[topic] = _topic(
            stats,
            history,
            queues.get(topic),
            queues.get(stats.dead_queue or ""),
            is_topic=topic in stats_by_topic,
            subscribers=loads.of(topic, stats.dialect).subscribers,
            settings=settings.get(topic),
            durations=durations.get(topic, ()),
        )
    return topics


def _topic(
    stats: TopicStats,
    history: TopicHistory,
    queue: ServerQueue | None,
    dead_queue: ServerQueue | None,
    *,
    is_topic: bool,
    subscribers: int | None,
    settings: TopicSettings | None,
    durations: tuple[DurationReading, ...],
) -> TopicFacts:
    seen = [*history.consumers.values, *history.subscribers.values]
    seen += [count for count in (stats.consumers, subscribers) if count is not None]
    return TopicFacts(
        topic=stats.topic,
        exists=stats.exists,
        is_topic=is_topic,
        dialect=stats.dialect,
        queued=stats.queued,
        unacked=stats.unacked,
        dead_letters=stats.dead_letter,
        consumers=stats.consumers,
        dead_lettering=stats.dead_lettering,
        trouble=stats.trouble or (queue.trouble if queue else None),
        queue=queue,
        dead_queue=dead_queue,
        settings=settings,
        ready=_together(history.ready, queue.ready_series if queue else None),
        dead_ready=_together(history.dead_ready, dead_queue.ready_series if dead_queue else None),
        consumer_series=history.consumers or None,
        running=history.running or None,
        began=history.began or None,
        ended=history.ended or None,
        durations=durations,
        had_consumer=any(seen) if seen else None,
    )


def _stats_of(topic: str, queue: ServerQueue, dead_queue: str | None) -> TopicStats:
    """Return the statistics of a queue that is no topic."""
    return TopicStats(
        topic=topic,
        exists=True,
        queued=queue.ready,
        unacked=queue.unacked,
        consumers=queue.consumers,
        dead_lettering=queue.facts.dead_letter_exchange is not None,
        dead_queue=dead_queue,
    )


def _together(recorded: Series, by_server: Series | None) -> Series | None:
    """Return the server's samples of the last minute, appended to the recorded ones before."""
    if not by_server:
        return recorded or None
    earlier = recorded.between(float("-inf"), by_server.times[0] - 0.001)
    return Series(earlier.times + by_server.times, earlier.values + by_server.values)


def _permits(queues: Mapping[str, ServerQueue]) -> dict[str, tuple[str | None, ...]]:
    """Return the connections that own the permits of each topic with a limit."""
    owners: dict[str, list[str | None]] = {}
    for name, queue in queues.items():
        if (topic := topic_of_permit(name)) is not None:
            owners.setdefault(topic, []).append(queue.owner)
    return {topic: tuple(each) for topic, each in owners.items()}
