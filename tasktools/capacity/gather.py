"""The gathering of the demand: one pass over the recording of a cluster, live or recorded."""

from __future__ import annotations

import numpy as np

from tasktools.capacity.demand import (
    BoolArray,
    Demand,
    Evidence,
    FloatArray,
    TopicDemand,
    WorkerSlots,
)
from tasktools.capacity.question import check_cluster
from tasktools.capacity.service_times import ServiceTimes, of_topic, service_times
from tasktools.cluster.cluster import Cluster
from tasktools.core.duration_histogram import Histogram
from tasktools.core.timespans import Moment
from tasktools.history.demand import Tries
from tasktools.history.demand_reader import DemandReader, RecordedTopic
from tasktools.history.recorded_spans import Spans
from tasktools.history.store import OUTCOMES

_FAILED = OUTCOMES.index("failed")


def gather(history: Cluster, *, since: Moment = "28D", until: Moment | None = None) -> Demand:
    """Return the demand of *history*: of a recording, or of the events this process received.

    A live cluster is sampled once more. Times are by our clock.
    """
    check_cluster(history)
    with history.demand(since=since, until=until) as reader:
        return _demand(reader, history)[0]


def gather_with_names(
    history: Cluster, *, since: Moment = "28D", until: Moment | None = None
) -> tuple[Demand, dict[tuple[str, str], ServiceTimes]]:
    """Return the demand, and service times by topic and task name if messages were recorded."""
    check_cluster(history)
    with history.demand(since=since, until=until) as reader:
        demand, topics = _demand(reader, history)
        by_task = {
            (topic, next(iter(names))): of_topic(demand.topics[topic])
            for topic, names in reader.task_names().items()
            if len(names) == 1
        }
        for (topic, name), tries in reader.tries_by_task().items():
            is_ended = tries.is_ended & (tries.ends <= demand.until)
            durations, _ = _durations(tries, is_ended, topics[topic].histogram)
            ends = _last_seen(tries, is_ended, reader.recorded)
            censored = np.maximum(ends - tries.starts, 0.0)[~is_ended]
            by_task[topic, name] = service_times(durations, censored)
    return demand, by_task


def _demand(reader: DemandReader, history: Cluster) -> tuple[Demand, dict[str, RecordedTopic]]:
    topics = reader.topics()
    demand = Demand(
        since=reader.since / 1000,
        until=reader.until / 1000,
        recorded=_in_seconds(reader.recorded),
        topics={name: _topic(topic, reader) for name, topic in topics.items()},
        workers=_workers(reader),
        sampled=_in_seconds(reader.read) if reader.is_sampled else None,
        hours=reader.hours,
        covered=reader.covered,
        label={"cluster": repr(history)} | ({"demo": "DEMO"} if history.broker.demo else {}),
    )
    return demand, topics


def _in_seconds(spans: Spans) -> tuple[tuple[float, float], ...]:
    return tuple((since / 1000, until / 1000) for since, until in spans)


def _workers(reader: DemandReader) -> tuple[WorkerSlots, ...]:
    consumers = reader.prefetch_of_consumers
    return tuple(
        WorkerSlots(
            worker=worker.worker,
            host=worker.host,
            capacity=worker.capacity,
            topics=worker.topics,
            prefetch={
                topic: prefetch
                for topic in worker.topics
                if (prefetch := worker.prefetch.get(topic, consumers.get(topic))) is not None
            },
            since=worker.since,
            until=worker.until,
        )
        for worker in reader.workers
    )


def _topic(recorded: RecordedTopic, reader: DemandReader) -> TopicDemand:
    tries, facts, until = recorded.tries, recorded.facts, reader.until / 1000
    is_ended = tries.is_ended & (tries.ends <= until)
    durations, by_clock = _durations(tries, is_ended, recorded.histogram)
    ends = _last_seen(tries, is_ended, reader.recorded)
    return TopicDemand(
        topic=recorded.topic,
        arrivals=recorded.arrivals,
        arrivals_from=recorded.arrivals_from,
        service_times=durations,
        failed=tries.outcomes[is_ended] == _FAILED,
        censored=np.maximum(ends - tries.starts, 0.0)[~is_ended],
        limit=recorded.limit,
        retry_delay=recorded.retry_delay,
        max_retries=recorded.max_retries,
        waits=recorded.waits,
        running=_running(tries.starts, ends)[is_ended],
        hourly=recorded.hourly,
        evidence=Evidence(
            resolution=recorded.resolution,
            by_clock=by_clock,
            lost=int((tries.outcomes == OUTCOMES.index("lost")).sum()),
            backlog=None if facts.backlog is None else round(facts.backlog),
            at_limit=facts.at_limit,
            held=facts.held,
        ),
    )


def _durations(
    tries: Tries, is_ended: BoolArray, histogram: Histogram | None
) -> tuple[FloatArray, float]:
    """Return the durations (s) of ended tries, and the share measured by our clock alone.

    Where workers keep histograms instead of reporting each duration, the tries get the durations of
    the histogram, in the order of the durations by our clock.
    """
    durations = tries.durations[is_ended]
    is_unknown = np.isnan(durations)
    if not is_unknown.any():
        return durations, 0.0
    by_clock = np.maximum(tries.ends - tries.starts, 0.0)[is_ended][is_unknown]
    if histogram is not None and histogram.count:
        ranks = np.argsort(np.argsort(by_clock, kind="stable"), kind="stable")
        durations = durations.copy()
        durations[is_unknown] = _spread(histogram, len(by_clock))[ranks]
        return durations, 0.0
    return np.where(is_unknown, _at(is_unknown, by_clock), durations), float(is_unknown.mean())


def _at(is_unknown: BoolArray, values: FloatArray) -> FloatArray:
    placed = np.zeros(len(is_unknown))
    placed[is_unknown] = values
    return placed


def _spread(histogram: Histogram, count: int) -> FloatArray:
    """Return *count* durations, ascending, in the buckets of *histogram* and with its mean.

    Within each bucket, a duration lies at a power of its rank; the exponent is the one that gives
    the mean.
    """
    bounds = sorted(histogram.buckets)
    above = max(histogram.count - sum(histogram.buckets.values()), 0)
    uppers = np.array([*bounds, (bounds[-1] if bounds else 1.0) * 2])
    lowers = np.concatenate([[0.0], uppers[:-1]])
    counts = np.array([*(histogram.buckets[bound] for bound in bounds), above], np.float64)
    shares = np.cumsum(counts) / counts.sum()
    weights, widths = counts / counts.sum(), uppers - lowers
    mean = histogram.sum / histogram.count - float((weights * lowers).sum())
    middle = min(max(mean / float((weights * widths).sum()), 0.02), 0.98)
    ranks = (np.arange(count) + 0.5) / count
    places = np.minimum(np.searchsorted(shares, ranks), len(shares) - 1)
    inside = (ranks - shares[places] + weights[places]) / np.maximum(weights[places], 1e-12)
    inside = np.clip(inside, 0.0, 1.0) ** (1 / middle - 1)
    return np.asarray(lowers[places] + widths[places] * inside, np.float64)


def _last_seen(tries: Tries, is_ended: BoolArray, recorded: Spans) -> FloatArray:
    """Return the end of each try (s since the epoch). For a try without a known end it is the time
    up to which it surely ran: the end of the recording, the begin of the next gap, or the time at
    which its loss was noticed."""
    until = np.array([end / 1000 for _, end in recorded])
    if not len(until):
        return tries.ends
    places = np.minimum(np.searchsorted(until, tries.starts, side="right"), len(until) - 1)
    latest = np.fmin(tries.ends, until[places])
    return np.where(is_ended, tries.ends, latest)


def _running(starts: FloatArray, ends: FloatArray) -> FloatArray:
    """Return how many tries ran when each began, itself included."""
    begun = np.searchsorted(starts, starts, side="right")
    over = np.searchsorted(np.sort(ends, kind="stable"), starts, side="right")
    return np.asarray(np.maximum(begun - over, 1), np.float64)
