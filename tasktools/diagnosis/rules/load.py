"""Checks of how much work arrives, and whether there are places for it."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from statistics import fmean, median
from typing import Final

from tasktools.core.models import Worker
from tasktools.core.plurals import agreeing, counted, named
from tasktools.core.series import Series, total
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts, OwnRun, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    ALL_TOPICS,
    begin_growing,
    change_of,
    heard_for,
    is_as_on_earlier_days,
    judged_topics,
    limit_of,
    needs_events,
    needs_server,
    ready_of,
    subscribers_of,
    subscribers_to,
    wait_of,
)
from tasktools.diagnosis.running_tasks import places_of
from tasktools.diagnosis.worker_reports import needs_heartbeats

_GROWTH_SECONDS: Final = 15.0
"""Seconds over which the growth of a queue is measured."""
_GROWTH_AT_LEAST: Final = 9.0
"""Seconds that samples must cover: two steps of 5 s, as the management API takes them."""
_MIN_GROWTH: Final = 20
"""Least growth of a queue in that time, in messages."""
_MIN_QUEUED: Final = 50
"""Waiting messages below which there are enough workers."""
_SURGE_SAMPLES: Final = 3
_BASE_SAMPLES: Final = 9
_MIN_BASE_SAMPLES: Final = 4
"""Samples of a surge, and of the time before it: as many as there are, but not fewer than 4."""
_SURGE_TIMES: Final = 3.0
_SURGE_PER_SECOND: Final = 5.0
"""Least factor and least difference by which each of the newest samples exceeds those before; a
batch that is published at once makes a single high sample."""
_USUAL_SECONDS: Final = 600.0
"""Seconds over which the arrivals of now are compared with those of earlier days."""
_PEAK_TIMES: Final = 2.0
"""Least factor between the busiest and the usual 10 minutes of a day with a peak at this time."""
_BUSY_SHARE: Final = 0.9
"""Share of a topic's places that are taken where workers are too few, or have no reserve."""
_MEAN_SHARE: Final = 0.75
_MEAN_SHARE_HELD: Final = 0.5
"""The same on average over the growth of the queue: a look may fall between the end of a task and
the begin of the next. The second is that of workers that hold a message for each place."""
_FULL_SHARE: Final = 0.95
_FULL_SECONDS: Final = 600.0
"""Share of the places that are taken all the time where nothing is in reserve, and that time."""
_COVERED_SHARE: Final = 0.9
"""Share of that time that samples must cover."""
_REPLAY_SECONDS: Final = 60.0
_REPLAY_SHARE: Final = 0.3
"""Share of the publishes in that time that a run of tasktools must send to explain them."""
_MAX_NAMED: Final = 5  # topics


def _grew(topic: TopicFacts) -> float:
    """Return by how much the queue grew in 15 s; 0 where that is not known."""
    ready = ready_of(topic)
    growth = ready.change(_GROWTH_SECONDS, at_least=_GROWTH_AT_LEAST) if ready else None
    return growth or 0.0


def _length(topic: TopicFacts) -> int:
    """Return the length to which the queue grew: the last of the samples that `_grew` compares, not
    the count of another moment."""
    ready = ready_of(topic)
    return round((ready.last if ready else None) or 0.0)


# --- what arrives -----------------------------------------------------------------------


def _publisher_surge(facts: Facts) -> Iterator[Judgement]:
    for topic in judged_topics(facts):
        if _grew(topic) <= _MIN_GROWTH:
            continue
        published = topic.queue.published if topic.queue else None
        rates = _rates(published) if published else []
        if len(rates) < _SURGE_SAMPLES + _MIN_BASE_SAMPLES:
            yield needs_server(facts, "samples", f"the publish rate of {topic.topic!r}")
            continue
        newest = [rate for _, rate in rates[-_SURGE_SAMPLES:]]
        before = rates[-_SURGE_SAMPLES - _BASE_SAMPLES : -_SURGE_SAMPLES]
        base = median(rate for _, rate in before)
        is_high = min(newest) >= max(_SURGE_TIMES * base, base + _SURGE_PER_SECOND)
        if is_high and not is_as_on_earlier_days(_arrived(topic), _peaks(topic)):
            yield _surge(topic, base, newest, since=_high_since(rates, 2 * base))


def _arrived(topic: TopicFacts) -> float | None:
    """Return how many messages arrived in the last 10 minutes: the begun tasks, and the growth of
    the queue."""
    began = topic.began.change(_USUAL_SECONDS) if topic.began else None
    grew = topic.ready.change(_USUAL_SECONDS) if topic.ready else None
    return None if began is None or grew is None else began + grew


def _peaks(topic: TopicFacts) -> list[float]:
    """Return how many messages arrived in the busiest 10 minutes around this time, on each earlier
    day; 0 where no 10 minutes had far more than the others."""
    return [
        day.busiest if day.busiest >= _PEAK_TIMES * day.usual else 0.0
        for day in topic.earlier_days
        if day.busiest is not None and day.usual is not None
    ]


def _rates(counter: Series) -> list[tuple[float, float]]:
    """Return for each two neighbouring samples the time of the first, and the rate (per s) of
    *counter*."""
    samples = zip(counter.times, counter.values, strict=True)
    return [
        (at, max(value - earlier, 0.0) / (later - at))
        for (at, earlier), (later, value) in itertools.pairwise(samples)
    ]


def _high_since(rates: list[tuple[float, float]], level: float) -> float:
    """Return when the rate rose above *level*, where it is still."""
    high = itertools.takewhile(lambda each: each[1] > level, reversed(rates))
    return min(began for began, _ in high)


def _surge(topic: TopicFacts, base: float, newest: list[float], since: float) -> Finding:
    rate = sum(newest) / len(newest)
    acked = _rates(topic.queue.acked) if topic.queue and topic.queue.acked else []
    newest_acked = [each for _, each in acked[-_SURGE_SAMPLES:]]
    peaks = _peaks(topic)
    return Finding(
        check="publisher_surge",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"{rate:.3g} messages/s are published to {topic.topic!r}, {_ratio(rate, base)} the "
            f"{base:.3g}/s before; {counted(topic.queued or 0, 'message', 'wait')}."
        ),
        evidence={
            "published a second": round(rate, 2),
            "before": round(base, 2),
            "grew in 15 s": _grew(topic),
            "queued": topic.queued,
            "peak on earlier days": median(peaks) if peaks else None,
        },
        against={
            "acknowledged a second": round(sum(newest_acked) / len(newest_acked), 2)
            if newest_acked
            else None
        },
        since=since,
        effect=wait_of(topic),
        remedy="See who publishes; slow the publisher down, or start more workers.",
        call=f"cluster.throughput({topic.topic!r}, since='15min', every='10s')",
        needs=("management",),
        topics=(topic.topic,),
    )


def _ratio(rate: float, base: float) -> str:
    return f"{rate / base:.3g} times" if base else "after"


def _own_replay(facts: Facts) -> Iterator[Judgement]:
    topics = {topic.topic: topic for topic in judged_topics(facts)}
    for run in facts.runs:
        if run.ended_at is not None or not run.done:
            continue
        targets = [topics[run.to]] if run.to in topics else list(topics.values())
        grown = [topic for topic in targets if _grew(topic) > _MIN_GROWTH]
        if run.to not in topics and run.to is not None:
            continue
        changes = [change_of(each, "published", _REPLAY_SECONDS) for each in grown]
        published = [change for change in changes if change is not None]
        if len(published) < len(grown):
            yield needs_server(facts, "samples", "the share of a replay in the arrivals")
            continue
        lasting = max(facts.at - run.started_at, 1.0)
        sent = run.done * min(_REPLAY_SECONDS / lasting, 1.0)
        if published and sum(published) and sent >= _REPLAY_SHARE * sum(published):
            yield _replay(run, grown, sent, sum(published))


def _replay(run: OwnRun, topics: list[TopicFacts], sent: float, published: float) -> Finding:
    names = tuple(topic.topic for topic in topics)
    share = min(sent / published, 1.0)
    return Finding(
        check="own_replay",
        severity="warning",
        subject_kind="topic",
        subject=names[0],
        finding=(
            f"Run {run.run} ({run.verb}) of this user's ledger sends {share:.0%} of what arrives "
            f"at {', '.join(map(repr, names))}."
        ),
        evidence={"run": run.run, "sent in 60 s": round(sent), "published in 60 s": published},
        since=run.started_at,
        remedy="Wait for it, or interrupt it and continue with a lower rate.",
        call="cluster.ledger()",
        needs=("management",),
        topics=names,
    )


# --- and the places for it --------------------------------------------------------------


def _too_few_workers(facts: Facts) -> Iterator[Judgement]:
    growing = [
        topic
        for topic in judged_topics(facts)
        if _grew(topic) > _MIN_GROWTH and (topic.queued or 0) > _MIN_QUEUED and _is_growing(topic)
    ]
    if not growing:
        return
    if facts.heard_since is None or not facts.state.settled:
        yield needs_events(facts, "which tasks workers run")
        return
    yield from needs_heartbeats(facts, growing, "which tasks workers run")
    subscribers = subscribers_of(facts)
    for topic in growing:
        workers = subscribers_to(subscribers, topic.topic)
        places, running = places_of(workers), _running_on(workers)
        if not places or running is None:
            continue
        mean = _mean_running(facts, topic)
        least = _MEAN_SHARE_HELD if (topic.unacked or 0) >= places else _MEAN_SHARE
        is_full = running >= _BUSY_SHARE * places
        if (is_full or mean >= least * places) and not _is_limited(facts, topic):
            taken = f"{running}" if is_full else f"On average {mean:.3g}"
            yield _too_few(topic, len(workers), places, taken, max(running, mean))


def _is_growing(topic: TopicFacts) -> bool:
    """Whether the queue grew in both halves of 15 s: a batch that is published at once makes it
    long in one of them."""
    ready = ready_of(topic)
    window = ready.window(_GROWTH_SECONDS) if ready else Series()
    middle = window.before(window.times[-1] - _GROWTH_SECONDS / 2) if window else None
    return middle is not None and window.values[0] < middle < window.values[-1]


def _mean_running(facts: Facts, topic: TopicFacts) -> float:
    """Return how many tasks of *topic* ran on average while its queue grew; 0 if not known."""
    values = _recently_running(facts, topic)
    return fmean(values) if values else 0.0


def _recently_running(facts: Facts, topic: TopicFacts) -> tuple[float, ...]:
    series = topic.running or Series()
    return series.between(facts.at - _GROWTH_SECONDS, facts.at).values


def _running_on(workers: list[Worker]) -> int | None:
    running = [worker.running for worker in workers]
    known = [each for each in running if each is not None]
    return sum(known) if len(known) == len(running) else None


def _is_limited(facts: Facts, topic: TopicFacts) -> bool:
    """Whether a limit, and not the number of workers, holds the topic back."""
    limit = limit_of(topic)
    now = len(facts.running_by_topic.get(topic.topic, ()))
    return limit is not None and max((now, *_recently_running(facts, topic))) >= limit


def _too_few(topic: TopicFacts, workers: int, places: int, taken: str, running: float) -> Finding:
    return Finding(
        check="too_few_workers",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"{taken} of {counted(places, 'place')} on {counted(workers, 'worker')} of "
            f"{topic.topic!r} {agreeing(round(running), 'are')} taken, and its queue grew by "
            f"{_grew(topic):.0f} in 15 s to {counted(_length(topic), 'message')}."
        ),
        evidence={
            "running": round(running, 2),
            "places": places,
            "workers": workers,
            "held": topic.unacked,
            "queued": _length(topic),
            "grew in 15 s": _grew(topic),
        },
        since=begin_growing(ready_of(topic)),
        effect=wait_of(topic),
        remedy="Start more workers, or raise what each runs at once.",
        call="cluster.utilisation(since='15min', every='10s')",
        needs=("events", "broker"),
        topics=(topic.topic,),
    )


def _utilisation_high(facts: Facts) -> Iterator[Judgement]:
    if facts.heard_since is None:
        if any(topic.consumers != 0 for topic in judged_topics(facts)):
            yield needs_events(facts, "which tasks workers run")
        return
    pools: defaultdict[frozenset[str], list[Worker]] = defaultdict(list)
    for worker in live_workers(facts.state.workers):
        pools[frozenset(worker.topics)].append(worker)
    pools_of = Counter(name for names in pools for name in names)
    for names, workers in sorted(pools.items(), key=lambda pool: sorted(pool[0])):
        shared = any(pools_of[name] > 1 for name in names)
        places, running = places_of(workers), _running_on(workers)
        if not names or ALL_TOPICS in names or shared or not places or running is None:
            continue
        series = [facts.topics[name].running for name in names if name in facts.topics]
        taken = total(*(each for each in series if each)).window(_FULL_SECONDS)
        if max(running, taken.last or 0) < _FULL_SHARE * places:
            continue  # not even now
        if len(taken) < 2 or taken.span < _COVERED_SHARE * _FULL_SECONDS:
            if heard_for(facts) < _FULL_SECONDS:
                yield needs_events(facts, "how busy workers were for 10 min")
        elif _is_full(taken, places):
            yield _always_busy(sorted(names), workers, places, fmean(taken.values))


def _is_full(taken: Series, places: int) -> bool:
    """Whether nearly all *places* were taken all the time: a sample may fall between the end of a
    task and the begin of the next, but not two in a row."""
    is_busy = fmean(taken.values) >= _BUSY_SHARE * places
    pairs = itertools.pairwise(taken.values)
    return is_busy and all(max(pair) >= _FULL_SHARE * places for pair in pairs)


def _always_busy(names: list[str], workers: list[Worker], places: int, mean: float) -> Finding:
    return Finding(
        check="utilisation_high",
        severity="suspect",
        subject_kind="topic",
        subject=names[0],
        finding=(
            f"On average {mean:.3g} of {counted(places, 'place')} of "
            f"{named([repr(name) for name in names], _MAX_NAMED)} "
            f"{agreeing(round(mean), 'were')} taken for 10 min, without a pause: there is nothing "
            "in reserve."
        ),
        evidence={"running on average": round(mean, 2), "places": places, "workers": len(workers)},
        remedy="Start another worker before the next burst.",
        call="cluster.utilisation(since='1h', every='1min')",
        needs=("events",),
        topics=tuple(names),
    )


RULES: Final = (
    Rule("own_replay", 6, _own_replay, "a run of this user that fills a queue"),
    Rule("publisher_surge", 6, _publisher_surge, "a publisher that sends far more than before"),
    Rule("too_few_workers", 6, _too_few_workers, "more work than places for it"),
    Rule("utilisation_high", 6, _utilisation_high, "workers without any reserve"),
)
"""Checks of how much work arrives, and whether there are places for it."""
