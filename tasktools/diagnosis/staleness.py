"""Sources that are too old to judge by, and facts without them.

Values from a stale source are removed from the facts before they are judged, so that a rule which
needs them answers `cannot tell`, as if the source were missing.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from tasktools.core.plurals import counted
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerFacts, ServerPart
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.running_tasks import speaking_workers

MAX_EVENT_LAG: Final = 2.0
"""Largest lag (s) of the events: a silence of 4 s is significant."""
MAX_SAMPLE_AGE: Final = 15.0
"""Largest age (s) of the newest sample: RabbitMQ takes one every 5 s, and shows it 3 to 8 s
later."""

STATISTICS: Final = "the statistics of the management API"
"""Begins what is said of them where they are stale."""
_REPEATED_SECONDS: Final = (25.0, 45.0)
_COUNTED_AFTER_SECONDS: Final = 10.0
_MIN_UNCOUNTED: Final = 5
"""Seconds in which no counter moves, though so many tasks began and ended by 10 s ago: then the
statistics repeat old values, whatever the times of their samples. They are up to 8 s late."""

_SAMPLED: Final[tuple[ServerPart, ...]] = (
    "queues",
    "samples",
    "consumers",
    "connections",
    "unroutable",
)


def stale_sources(facts: Facts) -> dict[str, str]:
    """Return which sources cannot be judged by (`events`, `management`), and why.

    >>> from tasktools.core.layout import FP
    >>> from tasktools.core.clock import moment
    >>> from tasktools.core.models import ClusterState, Source
    >>> events = Source(name="events", ok=True, age=7.0)
    >>> state = ClusterState(at=moment(100.0), events=events)
    >>> stale_sources(Facts(at=100.0, heard_since=40.0, state=state, layout=FP))
    {'events': 'the events are 7 s behind'}
    """
    stale = {}
    events = facts.state.events
    if not events.ok:  # the last received events are old
        stale["events"] = events.note or "no events are received"
    elif facts.heard_since is not None and not facts.is_recorded and _lag(facts) > MAX_EVENT_LAG:
        stale["events"] = f"the events are {in_words(_lag(facts))} behind"
    for source in facts.sources:
        if source.name == "management" and (source.age or 0.0) > MAX_SAMPLE_AGE:
            stale["management"] = f"{STATISTICS} are {in_words(source.age or 0.0)} old"
    if "management" not in stale and "events" not in stale:
        uncounted = max(_uncounted_tasks(facts, seconds) for seconds in _REPEATED_SECONDS)
        missed = "no heartbeat" if _count_no_heartbeats(facts) else None
        if uncounted >= _MIN_UNCOUNTED:
            missed = f"none of {counted(uncounted, 'task')} that began and ended"
        if missed is not None:
            stale["management"] = f"{STATISTICS} repeat old values: they count {missed}"
    return stale


def _count_no_heartbeats(facts: Facts) -> bool:
    """Whether workers send heartbeats, and no exchange of the vhost counts a publish."""
    series = facts.server.published_to if facts.server else None
    known = [each for each in (series or {}).values() if each]
    stands_still = all(each.change(_REPEATED_SECONDS[0]) == 0 for each in known)
    if not any(each.last for each in known) or not stands_still:
        return False
    return any(
        worker.started_at is not None
        and facts.at - worker.started_at.timestamp() > _REPEATED_SECONDS[-1]
        for worker in speaking_workers(facts).values()
    )


def _uncounted_tasks(facts: Facts, seconds: float) -> int:
    """Return how many tasks began and ended within *seconds* in which no counter of any queue
    moved; 0 if one did."""
    tasks = 0.0
    for topic in facts.topics.values():
        counters = (topic.queue.acked, topic.queue.delivered_no_ack) if topic.queue else ()
        moves = [each.change(seconds, at_least=0.0) for each in counters if each]
        if any(moves):
            return 0
        if any(each.span >= 0.9 * seconds for each in counters if each):
            since, until = facts.at - seconds, facts.at - _COUNTED_AFTER_SECONDS
            changes = [_change(each, since, until) for each in (topic.began, topic.ended)]
            tasks += min(changes)
    return round(tasks)


def _change(counter: Series | None, since: float, until: float) -> float:
    values = counter.between(since, until).values if counter else ()
    return values[-1] - values[0] if values else 0.0


def _lag(facts: Facts) -> float:
    return facts.state.events.age or 0.0


def without_stale_sources(facts: Facts) -> Facts:
    """Return *facts* without values from stale sources; `missing` has the reasons."""
    stale = stale_sources(facts)
    if "events" in stale:
        facts = _without_events(facts)
    if "management" in stale:
        facts = _without_samples(facts, stale["management"])
    return replace(facts, missing={**facts.missing, **stale}) if stale else facts


def _without_events(facts: Facts) -> Facts:
    topics = {
        name: replace(
            topic,
            running=None,
            began=None,
            ended=None,
            durations=(),
            earlier_durations=(),
            had_consumer=topic.had_consumer or None,
        )
        for name, topic in facts.topics.items()
    }
    return replace(
        facts,
        heard_since=None,
        state=replace(facts.state, workers=(), running=(), locks=(), settled=False),
        topics=topics,
        begins=(),
        ends=(),
        earlier_ends=(),
        presence=(),
        orphans=(),
        durations={},
    )


def _without_samples(facts: Facts, why: str) -> Facts:
    topics = {name: _without_old_series(topic) for name, topic in facts.topics.items()}
    sources = tuple(
        replace(source, ok=False, note=why) if source.name == "management" else source
        for source in facts.sources
    )
    server = _without_sampled_parts(facts.server, why)
    return replace(facts, topics=topics, sources=sources, server=server)


def _without_old_series(topic: TopicFacts) -> TopicFacts:
    """Return *topic* without what the management API says of it, whose samples replace ours of the
    same minute."""
    sampled = topic.queue and topic.queue.ready_series
    dead_sampled = topic.dead_queue and topic.dead_queue.ready_series
    return replace(
        topic,
        queue=None,
        dead_queue=None,
        ready=None if sampled else topic.ready,
        dead_ready=None if dead_sampled else topic.dead_ready,
    )


def _without_sampled_parts(server: ServerFacts | None, why: str) -> ServerFacts | None:
    if server is None:
        return None
    return replace(
        server,
        queues=None,
        consumers=None,
        connections=None,
        published_to=None,
        unroutable=None,
        missing={**server.missing, **dict.fromkeys(_SAMPLED, why)},
    )
