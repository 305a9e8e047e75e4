"""The state of each topic, from a sliding window of wall-clock time, never from its depth."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from statistics import median
from typing import Final, Literal

import msgspec
import pandas as pd

from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import TOPIC_STATES
from tasktools.core.plurals import counted
from tasktools.core.series import Series
from tasktools.core.timespans import in_words
from tasktools.core.trend import Trend, trend
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.service_times import usual_time
from tasktools.diagnosis.worker_reports import why_no_task_events

StateName = Literal[
    "stopped", "stalled", "falling behind", "draining", "steady", "clear", "cannot tell"
]

_WINDOW_SECONDS: Final = 600.0
_WINDOW_SAMPLES: Final = 40
"""The window is the longer of both: recordings keep one sample a minute, later one in ten."""
_MIN_SAMPLES: Final = 4
_MIN_WINDOW_SECONDS: Final = 25.0
_STOPPED_SECONDS: Final = 60.0
_STALLED_SECONDS: Final = 120.0
_TIMES_P95: Final = 3
"""Multiple of the p95 service time without a begin or end that is not due to chance."""
_COVERED_SHARE: Final = 0.9
"""Share of a span that the samples must cover: samples of 5 s over a minute sometimes cover 55
s."""
_STALE_SECONDS: Final = 30.0
_GAP_SECONDS: Final = 60.0
_GAP_STEPS: Final = 4
"""A pause between samples of more than so many usual steps, and of a minute, is a gap."""


class TopicSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The samples by which the state of a topic is judged. `None` where unknown.

    *began* and *ended* are counters of tasks, *acked* is the broker's counter of acknowledgements.
    *heard_since*: from then on *began* and *ended* have no gap; `None`: they are not known. *p95*
    is the 95th percentile of service times, in seconds.
    """

    topic: str
    queued: Series | None
    running: Series | None = None
    began: Series | None = None
    ended: Series | None = None
    acked: Series | None = None
    unacked: Series | None = None
    heard_since: float | None = None
    p95: float | None = None


class TopicState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a topic at one moment, with the numbers behind it. Spans are seconds."""

    topic: str
    state: StateName
    why: str
    since: float | None = None
    queued: int | None = None
    growth: Trend | None = None
    wait: float | None = None
    empty_in: float | None = None
    window: float | None = None
    samples: int | None = None


def topic_states(facts: Facts) -> list[TopicState]:
    """Return the state of each topic of *facts*, by name."""
    topics = sorted(facts.topics.items())
    return [topic_state(_samples(facts, entry), facts.at) for _, entry in topics if entry.is_topic]


def topic_states_frame(states: Iterable[TopicState]) -> pd.DataFrame:
    """Return *states* as a frame `topic_states`."""
    rows = [
        (
            state.topic,
            state.state,
            state.why,
            None if state.since is None else pd.Timestamp(state.since, unit="s", tz="UTC"),
            state.queued,
            *(msgspec.structs.astuple(state.growth) if state.growth else [None] * 3),
            state.wait,
            state.empty_in,
            state.window,
            state.samples,
        )
        for state in states
    ]
    return frame_from(TOPIC_STATES, rows)


def _samples(facts: Facts, entry: TopicFacts) -> TopicSamples:
    by_server = entry.queue.ready_series if entry.queue else None
    is_told = why_no_task_events(facts, entry) is None
    candidates = [series for series in (entry.ready, by_server) if series]
    return TopicSamples(
        topic=entry.topic,
        queued=max(candidates, key=lambda series: series.span, default=None),
        running=entry.running,
        began=entry.began if is_told else None,
        ended=entry.ended if is_told else None,
        acked=entry.queue.acked if entry.queue else None,
        unacked=entry.queue.unacked_series if entry.queue else None,
        heard_since=facts.heard_since if is_told else None,
        p95=usual_time(facts, entry.topic).p95,
    )


def topic_state(samples: TopicSamples, at: float) -> TopicState:
    """Return the state of a topic at *at* (seconds since the epoch), from samples up to then.

    >>> from tasktools.core.series import Series
    >>> times = tuple(float(at) for at in range(0, 65, 5))
    >>> queued = Series(times, tuple(10 + 2 * at for at in times))
    >>> growing = TopicSamples(topic="emails", queued=queued)
    >>> topic_state(growing, 60.0).state, topic_state(growing, 10.0).state
    ('falling behind', 'cannot tell')
    """
    queued = _window(samples.queued or Series(), at)
    reason = _incomplete(queued, at)
    if reason is not None:
        return TopicState(topic=samples.topic, state="cannot tell", why=reason)
    state, why, since = (
        _stopped(samples, queued, at)
        or _stalled(samples, at)
        or _cleared(queued)
        or ("cannot tell", "", None)
    )
    growth = None
    if not why:
        growth = trend(queued)
        state, why, since = _moving(samples, queued, growth, at)
    length = queued.last or 0.0
    return TopicState(
        topic=samples.topic,
        state=state,
        why=why,
        since=since,
        queued=round(length),
        growth=growth,
        wait=_wait(samples, length, at),
        empty_in=length / -growth.slope if growth and state == "draining" else None,
        window=queued.span,
        samples=len(queued),
    )


_Judged = tuple[StateName, str, float | None]


def _window(series: Series, at: float) -> Series:
    """Return the samples of the window that ends *at*, from the last gap on."""
    until = series.between(float("-inf"), at)
    if len(until) < 2:
        return until
    first = min(at - _WINDOW_SECONDS, until.times[-_WINDOW_SAMPLES:][0])
    window = until.between(first, at)
    steps = [later - earlier for earlier, later in itertools.pairwise(window.times)]
    if max(steps, default=0.0) <= _GAP_SECONDS:
        return window
    widest = max(_GAP_SECONDS, _GAP_STEPS * median(steps))
    ends = [at for at, step in zip(window.times[1:], steps, strict=True) if step > widest]
    return window.between(ends[-1], at) if ends else window


def _incomplete(queued: Series, at: float) -> str | None:
    """Return why the samples do not suffice; `None`: they do."""
    if not queued:
        return "the length of its queue is not known"
    if len(queued) < _MIN_SAMPLES or queued.span < _MIN_WINDOW_SECONDS:
        return (
            f"only {counted(len(queued), 'sample')} of the last {in_words(at - queued.times[0])}; "
            f"it takes {_MIN_SAMPLES} over {_MIN_WINDOW_SECONDS:g} s"
        )
    step = queued.span / (len(queued) - 1)
    if at - queued.times[-1] > max(_STALE_SECONDS, 3 * step):
        return f"the newest sample is {in_words(at - queued.times[-1])} old"
    return None


def _stopped(samples: TopicSamples, queued: Series, at: float) -> _Judged | None:
    least = max(_STOPPED_SECONDS, _TIMES_P95 * (samples.p95 or 0.0))
    waiting = _above_zero_since(queued)
    if waiting is None:
        return None
    idle = _idle_since(samples, at, samples.began, samples.ended)
    if idle is None:
        return None
    since = max(waiting, idle)
    if at - since < _COVERED_SHARE * least:
        return None
    count = counted(round(queued.last or 0), "message")
    return (
        "stopped",
        f"{count} queued, no begin and no end of a task for {in_words(at - since)}",
        since,
    )


def _stalled(samples: TopicSamples, at: float) -> _Judged | None:
    least = max(_STALLED_SECONDS, _TIMES_P95 * (samples.p95 or 0.0))
    running = (samples.running or Series()).between(float("-inf"), at)
    busy = _above_zero_since(running)
    if busy is None or at - running.times[-1] > _STALE_SECONDS:
        return None
    idle = _idle_since(samples, at, samples.ended)
    if idle is None:
        return None
    since = max(busy, idle)
    if at - since < _COVERED_SHARE * least:
        return None
    count = counted(round(running.last or 0), "task")
    return "stalled", f"{count} running, none ended for {in_words(at - since)}", since


def _cleared(queued: Series) -> _Judged | None:
    if min(queued.values) > 0:
        return None
    newest_first = zip(reversed(queued.times), reversed(queued.values), strict=True)
    empty = next(at for at, value in newest_first if value <= 0)
    return "clear", f"the queue was empty {in_words(queued.times[-1] - empty)} ago", None


def _moving(samples: TopicSamples, queued: Series, growth: Trend | None, at: float) -> _Judged:
    """Judge a queue that was not empty within the window by its trend."""
    if growth is None:
        return "cannot tell", "all samples are of one moment", None
    interval = f"({growth.low:+.3g} to {growth.high:+.3g}) messages/s over {in_words(queued.span)}"
    if growth.low > 0:
        return (
            "falling behind",
            f"{growth.slope:+.3g} {interval}",
            _turn(queued, min(queued.values)),
        )
    if growth.high < 0:
        return "draining", f"{growth.slope:+.3g} {interval}", _turn(queued, max(queued.values))
    acked = (samples.acked or Series()).between(queued.times[0], at)
    if samples.heard_since is None and len(set(acked.values)) < 2:
        # A queue that nothing enters looks the same whether it is consumed or not.
        why = "the queue neither grows nor shrinks, and whether tasks begin and end is not known"
        return "cannot tell", why, None
    return "steady", f"{growth.slope:+.3g} {interval}", None


def _turn(queued: Series, length: float) -> float | None:
    """Return when the queue last had *length* messages; `None`: not since its first sample."""
    newest_first = zip(reversed(queued.times), reversed(queued.values), strict=True)
    last = next(at for at, each in newest_first if each == length)
    return None if last == queued.times[0] else last


def _above_zero_since(series: Series) -> float | None:
    """Return from when on all samples are above 0; `None` if the newest is not."""
    since = None
    for at, value in zip(reversed(series.times), reversed(series.values), strict=True):
        if value <= 0:
            break
        since = at
    return since


def _idle_since(samples: TopicSamples, at: float, *counters: Series | None) -> float | None:
    """Return since when none of *counters* rose, and nothing was acknowledged; `None`: not known.

    A consumer without events shows only by acknowledgements; without events, a queue with no
    unacknowledged message counts as idle.
    """
    known = [each for each in counters if each is not None]
    if samples.heard_since is not None and len(known) == len(counters):
        acked = [samples.acked] if samples.acked else []
        return max([samples.heard_since, *(_last_change(each, at) for each in [*known, *acked])])
    if samples.acked and samples.unacked and samples.unacked.last == 0:
        return max(_last_change(samples.acked, at), _last_change(samples.unacked, at))
    return None


def _last_change(counter: Series, at: float) -> float:
    """Return the time since which *counter* has had its newest value, by its samples."""
    until = counter.between(float("-inf"), at)
    if not until:
        return at
    newest, since = until.last, until.times[-1]
    for time, value in zip(reversed(until.times), reversed(until.values), strict=True):
        if value != newest:
            break
        since = time
    return since


def _wait(samples: TopicSamples, queued: float, at: float) -> float | None:
    """Return the wait of a new task: queue length by the rate at which tasks end."""
    for counter in (samples.ended, samples.acked):
        ended = (counter or Series()).between(at - _WINDOW_SECONDS, at)
        count = ended.change(_WINDOW_SECONDS, at_least=_MIN_WINDOW_SECONDS)
        if count:
            return queued * ended.span / count
    return None
