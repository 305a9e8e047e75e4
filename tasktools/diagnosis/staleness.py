"""Sources that are too old to judge by, and facts without them.

Values from a stale source are removed from the facts before they are judged, so that a rule which
needs them answers `cannot tell`, as if the source were missing.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from tasktools.core.server_facts import ServerFacts, ServerPart
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts

MAX_EVENT_LAG: Final = 2.0
"""Largest lag (s) of the events: a silence of 4 s is significant."""
MAX_SAMPLE_AGE: Final = 15.0
"""Largest age (s) of the newest sample: RabbitMQ takes one every 5 s, and shows it 3 to 8 s
later."""

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
            stale["management"] = (
                f"the statistics of the management API are {in_words(source.age or 0.0)} old"
            )
    return stale


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
        presence=(),
        orphans=(),
        durations={},
    )


def _without_samples(facts: Facts, why: str) -> Facts:
    topics = {name: _without_old_series(topic, facts.at) for name, topic in facts.topics.items()}
    return replace(facts, topics=topics, server=_without_sampled_parts(facts.server, why))


def _without_old_series(topic: TopicFacts, now: float) -> TopicFacts:
    is_fresh = topic.ready and topic.ready.times[-1] >= now - MAX_SAMPLE_AGE
    return replace(
        topic,
        queue=None,
        dead_queue=None,
        ready=topic.ready if is_fresh else None,
        dead_ready=topic.dead_ready if is_fresh else None,
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
