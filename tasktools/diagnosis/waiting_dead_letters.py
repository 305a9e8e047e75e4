"""The dead letters of a cluster without findings, which wait for an operator's decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tasktools.core.clock import moment
from tasktools.core.plurals import counted
from tasktools.core.series import Series
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.readings import dead_arrivals_of, dead_ready_of, judged_topics

_SECONDS: Final = 60.0
_LEAST_SHARE: Final = 1 / 6
_FULL_SHARE: Final = 0.9
"""Shares of that time that samples must cover: for any answer, and for an answer about all of
it."""
_NAMED: Final = 3
"""The largest number of topics that are named."""


def left_behind(facts: Facts) -> str | None:
    """Return in words which queues hold dead letters, and how many are new; `None` if none does.

    >>> from tasktools.core.clock import moment
    >>> from tasktools.core.layout import FP
    >>> from tasktools.core.models import ClusterState, Source
    >>> from tasktools.diagnosis.facts import TopicFacts
    >>> state = ClusterState(at=moment(100.0), events=Source(name="events", ok=True))
    >>> topics = {"orders": TopicFacts(topic="orders", dead_letters=7)}
    >>> left_behind(Facts(at=100.0, heard_since=40.0, state=state, layout=FP, topics=topics))
    "7 dead letters lie in 'orders'"
    """
    topics = sorted(
        ((each.dead_letters or 0, each) for each in judged_topics(facts) if each.dead_letters),
        key=lambda counted_topic: (-counted_topic[0], counted_topic[1].topic),
    )
    if not topics:
        return None
    number, first = topics[0]
    text = f"{counted(number, 'dead letter', 'lie')} in {first.topic!r}"
    text += "".join(f", {number:,} in {topic.topic!r}" for number, topic in topics[1:_NAMED])
    if rest := topics[_NAMED:]:
        number = sum(number for number, _ in rest)
        text += f", {number:,} in {counted(len(rest), 'other topic')}"
    arrivals = _arrivals(facts, [topic for _, topic in topics])
    return f"{text}; {arrivals}" if arrivals else text


def _arrivals(facts: Facts, topics: Sequence[TopicFacts]) -> str | None:
    """Return in words how many dead letters of *topics* came in the last minute, or since the first
    samples if these are later; `None`: not known."""
    series = [dead_arrivals_of(facts, topic) or Series() for topic in topics]
    windows = [each.window(_SECONDS) for each in series]
    if min(each.span for each in windows) < _LEAST_SHARE * _SECONDS:
        return None
    since = max(each.times[0] for each in windows)
    came = sum(_not_sampled(topic) for topic in topics)
    for each in windows:
        came += max(each.values[-1] - (each.before(since) or 0.0), 0.0)
    if max(each.times[-1] for each in windows) - since >= _FULL_SHARE * _SECONDS:
        return f"{round(came) or 'none'} came in the last minute"
    first = f"{moment(since):%H:%M:%S} UTC"
    return f"{round(came)} came since {first}" if round(came) else f"all came before {first}"


def _not_sampled(topic: TopicFacts) -> float:
    """Return how many more dead letters are counted than the newest sample has, which is some
    seconds old; 0 where that is not known."""
    series = dead_ready_of(topic)
    sampled = series.last if series else None
    return 0.0 if sampled is None else max((topic.dead_letters or 0) - sampled, 0.0)
