"""Changes of the states of topics, as entries of a timeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from tasktools.diagnosis.finding import Severity
from tasktools.diagnosis.timeline_entry import Entry
from tasktools.diagnosis.topic_states import StateName, TopicSamples, TopicState, topic_state
from tasktools.history.topic_series import TopicSeries

_LOOKS: Final = 120
_MIN_LOOK_SECONDS: Final = 15.0
_REACH_SECONDS: Final = 1_800.0
_REACH_SAMPLES: Final = 50
"""Samples that a state rests on at most: more would only take time."""
_SEVERITIES: Final[Mapping[StateName, Severity]] = {
    "stopped": "critical",
    "stalled": "critical",
    "falling behind": "warning",
}
_CERTAIN: Final = ("stopped", "stalled", "cannot tell")
"""States that one look shows; others count once two looks in a row agree."""


Span = tuple[float, float]
"""Begin and end (s since the epoch)."""


class _Stretch(msgspec.Struct):
    """A time from *begin* on in which a topic has one state; *state* is the last sample of it."""

    begin: float
    state: TopicState


def topic_entries(
    series: Mapping[str, TopicSeries],
    p95: Mapping[str, float],
    since: float,
    until: float,
    missed: Sequence[Span],
    unsampled: Sequence[Span],
) -> Iterator[Entry]:
    """Yield the states of each topic from *since* to *until* (s since the epoch), if it was ever in
    trouble.

    *series* begin before *since*, *p95* is the 95th percentile of service times by topic (s). In
    the spans *missed* events were not received, in those *unsampled* queues were not looked at;
    both are in order.
    """
    step = max((until - since) / _LOOKS, _MIN_LOOK_SECONDS)
    count = max(int((until - since) / step), 0)
    looks = [until - step * n for n in range(count, -1, -1)]
    for topic, samples in series.items():
        stretches = _stretches(topic, samples, p95.get(topic), looks, missed, unsampled)
        if any(each.state.state in _SEVERITIES for each in stretches):
            yield from _entries(topic, stretches, since)


def _stretches(
    topic: str,
    series: TopicSeries,
    p95: float | None,
    looks: Sequence[float],
    missed: Sequence[Span],
    unsampled: Sequence[Span],
) -> list[_Stretch]:
    """Return the states of a topic, one after the other."""
    stretches: list[_Stretch] = []
    previous: tuple[TopicState, float] | None = None
    first_sample = series.queued.times[0] if series.queued else looks[-1]
    step = series.queued.span / max(len(series.queued), 1)
    reach = max(_REACH_SECONDS, _REACH_SAMPLES * step, 4 * (p95 or 0.0))
    for at in looks:
        samples = TopicSamples(
            topic=topic,
            queued=series.queued.between(at - reach, at),
            running=series.running.between(at - reach, at),
            began=series.began.between(at - reach, at),
            ended=series.ended.between(at - reach, at),
            heard_since=_heard_since(at, missed, first_sample),
            p95=p95,
        )
        gap = next((begin for begin, end in unsampled if begin < at <= end), None)
        if gap is None:
            state = topic_state(samples, at)
        else:  # samples from before it would make a calm of it
            why = "nothing was sampled"
            state = TopicState(topic=topic, state="cannot tell", why=why, since=gap)
        agrees = previous is not None and state.state == previous[0].state
        if stretches and stretches[-1].state.state == state.state:
            stretches[-1].state = state
        elif not stretches or agrees or state.state in _CERTAIN:
            first, begin = (state, at) if previous is None or not agrees else previous
            stretches.append(_Stretch(_begin(first, begin, stretches), state))
        previous = state, at
    return stretches


def _begin(state: TopicState, at: float, before: Sequence[_Stretch]) -> float:
    """Return when *state* began, which is not before the state before it."""
    begin = at if state.since is None else min(state.since, at)
    return max([begin, *(stretch.begin for stretch in before[-1:])])


def _heard_since(at: float, gaps: Sequence[Span], first_sample: float) -> float | None:
    """Return from when on events have no gap at *at*; `None` within one."""
    ends = [first_sample]
    for begin, end in gaps:
        if begin < at:
            if at <= end:
                return None
            ends.append(end)
    return max(ends) if max(ends) <= at else None


def _entries(topic: str, stretches: Sequence[_Stretch], since: float) -> Iterator[Entry]:
    ends: list[float | None] = [*(stretch.begin for stretch in stretches[1:]), None]
    for stretch, end in zip(stretches, ends, strict=True):
        state = stretch.state
        if end is not None and end <= max(stretch.begin, since):
            continue
        details: dict[str, Any] = {"why": state.why, "queued": state.queued, "wait": state.wait}
        yield Entry(
            at=max(stretch.begin, since),
            until=end,
            lasts=end is None,
            kind="topic",
            subject_kind="topic",
            subject=topic,
            event=state.state,
            sentence=_sentence(topic, state),
            severity=_SEVERITIES.get(state.state),
            source="samples",
            details={name: value for name, value in details.items() if value is not None},
        )


def _sentence(topic: str, state: TopicState) -> str:
    why = f": {state.why}" if state.why and state.state not in _CALM else ""
    return f"{topic} {_VERBS[state.state]}{why}"


_CALM: Final = ("steady", "clear")
_VERBS: Final[Mapping[StateName, str]] = {
    "stopped": "is stopped",
    "stalled": "is stalled",
    "falling behind": "falls behind",
    "draining": "drains",
    "steady": "is steady",
    "clear": "is clear",
    "cannot tell": "cannot be judged",
}
