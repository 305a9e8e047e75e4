"""The reader of the demand in a recording: arrivals, tries and workers, by topic."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from tasktools.core.duration_histogram import Histogram
from tasktools.core.models import RetryRule, TopicSettings
from tasktools.history import demand, recorded_spans, sampled_arrivals, server_facts, snapshot
from tasktools.history.demand import Floats, Tries
from tasktools.history.recorded_spans import Spans
from tasktools.history.sampled_arrivals import SampledFacts, TopicSamples
from tasktools.history.series import Window
from tasktools.history.service_times import histograms_by_topic
from tasktools.history.worker_slots import RecordedWorker, workers

_HOUR_MS: Final = 3_600_000
_WARM_UP_MS: Final = 600_000
_NOTHING: Final = np.empty(0)
_NO_TRIES: Final = Tries(_NOTHING, _NOTHING, _NOTHING, np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class RecordedTopic:
    """A topic of a recording."""

    topic: str
    arrivals: Floats
    """First publications, in seconds since the epoch."""
    arrivals_from: Literal["messages", "balance"]
    resolution: float
    """Seconds within which the time of an arrival is known; 0: to the millisecond."""
    hourly: Floats
    """Arrivals in each of the reader's hours."""
    tries: Tries
    limit: int | None
    max_retries: int | None
    retry_delay: float | None
    waits: Floats | None
    facts: SampledFacts
    histogram: Histogram | None
    """Durations of its tasks, where workers keep histograms."""


class DemandReader:
    """The demand of a recording within *window*; usable as long as *connection* is open."""

    max_tries: ClassVar[int] = 3_000_000
    """Tries up to which all are read."""
    sampled_tries: ClassVar[int] = 2_000_000
    """Tries that are read, about, of a recording that has more."""

    def __init__(self, connection: sqlite3.Connection, window: Window) -> None:
        self._connection = connection
        self.window = window
        self.recorded: Spans = recorded_spans.recorded(connection, window)
        """The spans in which events were recorded; ms."""
        first, last = (self.recorded[0][0], self.recorded[-1][1]) if self.recorded else (0, 0)
        self.since, self.until = first, last
        whole = np.arange(first // _HOUR_MS, -(-last // _HOUR_MS))
        self.hours: Floats = whole.astype(np.float64) * (_HOUR_MS / 1000)
        """Starts of the hours that the recording touches, in seconds since the epoch."""
        self.covered = _covered(self.recorded, self.hours)
        """Seconds of each hour that are recorded."""

    @functools.cached_property
    def is_sampled(self) -> bool:
        """Whether there are so many tries that only those of some hours are read."""
        return demand.count_tries(self._connection, self.since, self.until) > self.max_tries

    @functools.cached_property
    def read(self) -> Spans:
        """The spans (ms) from which arrivals and tries are read.

        Of a large recording they are whole hours chosen at random, as many of each hour of the
        day, each with the ten minutes before it.
        """
        if not self.is_sampled:
            return self.recorded
        tries = demand.count_tries(self._connection, self.since, self.until)
        full = [
            int(hour * 1000)
            for hour, covered in zip(self.hours, self.covered, strict=True)
            if covered >= _HOUR_MS / 1000 - 1
        ]
        each = max(int(self.sampled_tries / tries * len(full) / 24), 1)
        dice = np.random.default_rng(0)
        chosen: list[int] = []
        for hour in range(24):
            same = [start for start in full if start // _HOUR_MS % 24 == hour]
            picked = dice.choice(len(same), min(each, len(same)), replace=False)
            chosen += [same[place] for place in picked]
        spans: Spans = []
        for start in sorted(chosen):
            begin = max(start - _WARM_UP_MS, spans[-1][1] if spans else 0)
            spans.append((begin, start + _HOUR_MS))
        return recorded_spans.common(self.recorded, spans)

    def topics(self) -> dict[str, RecordedTopic]:
        """Return all topics that have samples, by name."""
        names = demand.topics(self._connection, self.since, self.until + 1)
        tries = demand.tries(self._connection, self.read)
        exact = recorded_spans.with_messages(self._connection, self.window)
        seen = recorded_spans.common(self.read, exact)
        unseen = recorded_spans.without(self.read, seen)
        arrivals = demand.arrivals(self._connection, seen)
        again = demand.again(self._connection, self.since, self.until) if unseen else {}
        waits = (
            demand.waits(self._connection, self.since, self.until, topic_count=len(names))
            if seen
            else {}
        )
        histograms = histograms_by_topic(self._connection, self.window)
        settings = snapshot.settings(self._connection, self.until)
        topics = {}
        for number, name in names.items():
            times, resolution = arrivals.get(number, _NOTHING), 0.0
            samples = self._samples(number) if unseen or self.is_sampled else None
            later = again.get(number, _NOTHING)
            if samples is not None and unseen:
                counts = sampled_arrivals.counted(samples, unseen, later)
                times = np.sort(np.concatenate([times, counts.times(number)]))
                resolution = counts.resolution
            facts = sampled_arrivals.facts(self._connection, number, self.since, self.until + 1)
            topics[name] = RecordedTopic(
                topic=name,
                arrivals=times,
                arrivals_from="balance" if unseen else "messages",
                resolution=resolution,
                hourly=self._hourly(times, samples, later),
                tries=tries.get(number, _NO_TRIES),
                limit=_limit(facts, settings.get(name)),
                max_retries=self._max_retries(number, name, settings),
                retry_delay=self._retry_delay(number, name),
                waits=waits.get(number),
                facts=facts,
                histogram=histograms.get(number),
            )
        return topics

    def _samples(self, topic: int) -> TopicSamples:
        return sampled_arrivals.topic_samples(self._connection, topic, self.since, self.until + 1)

    def _hourly(self, times: Floats, samples: TopicSamples | None, again: Floats) -> Floats:
        """Return the arrivals in each hour; estimated from the samples if only some hours are
        read."""
        edges = np.append(self.hours, self.hours[-1:] + _HOUR_MS / 1000)
        if samples is None or not self.is_sampled:
            return np.histogram(times, edges)[0].astype(np.float64)
        counts = sampled_arrivals.counted(samples, self.recorded, again)
        return np.histogram(counts.ends, edges, weights=counts.counts)[0].astype(np.float64)

    def task_names(self) -> dict[str, set[str]]:
        """Return the names of the tasks of each topic, from recorded messages."""
        topics = demand.topics(self._connection, self.since, self.until + 1)
        return {topics[n]: names for n, names in self._task_names.items() if n in topics}

    def tries_by_task(self) -> dict[tuple[str, str], Tries]:
        """Return the latest tries of topics with several tasks, by names of topic and task."""
        topics = demand.topics(self._connection, self.since, self.until + 1)
        several = [n for n, names in self._task_names.items() if len(names) > 1 and n in topics]
        tries = demand.tries_by_task(self._connection, several, self.since, self.until)
        return {(topics[topic], name): of_name for (topic, name), of_name in tries.items()}

    @functools.cached_property
    def workers(self) -> tuple[RecordedWorker, ...]:
        """The workers that were present, in the order of their start."""
        return workers(self._connection, self.since, self.until + 1)

    @functools.cached_property
    def prefetch_of_consumers(self) -> Mapping[str, int]:
        """The prefetch that all consumers of a queue have in common, by topic, as the server last
        reported it."""
        facts = server_facts.latest(self._connection, self.until / 1000)
        by_queue: dict[str, set[int | None]] = {}
        for consumer in (facts and facts.consumers) or ():
            by_queue.setdefault(consumer.queue, set()).add(consumer.prefetch)
        unanimous = {queue: next(iter(of)) for queue, of in by_queue.items() if len(of) == 1}
        return {queue: prefetch for queue, prefetch in unanimous.items() if prefetch}

    # --- tries after the first --------------------------------------------------------

    def _max_retries(
        self, number: int, topic: str, settings: Mapping[str, TopicSettings]
    ) -> int | None:
        """Return how often a task of the topic is retried, by the rules of its tasks or the topic's
        settings."""
        most = {rule.max_retries for rule in self._rules(number, topic)}
        if len(most) == 1 and None not in most:
            return most.pop()
        by_topic = settings.get(topic)
        return None if by_topic is None else by_topic.max_retries

    def _retry_delay(self, number: int, topic: str) -> float | None:
        """Return the seconds before the second try: as recorded, else as all tasks of the topic are
        configured."""
        if number in self._retry_delays:
            return self._retry_delays[number]
        delays = {rule.retry_delay for rule in self._rules(number, topic)}
        return delays.pop() if len(delays) == 1 else None

    @functools.cached_property
    def _retry_delays(self) -> dict[int, float]:
        return demand.retry_delays(self._connection, self.since, self.until)

    @functools.cached_property
    def _task_names(self) -> dict[int, set[str]]:
        return demand.task_names(self._connection, self.until)

    def _rules(self, number: int, topic: str) -> list[RetryRule]:
        """Return the retry rules of the tasks seen in the topic; if none was seen, of all tasks
        that its workers have."""
        rules = {
            name: rule
            for worker in self.workers
            if topic in worker.topics
            for name, rule in worker.retries.items()
        }
        if not rules:
            return []
        names = self._task_names.get(number, set())
        short = {name.rpartition(":")[2] for name in names} | names
        return [rules[name] for name in short if name in rules] or list(rules.values())


def _limit(facts: SampledFacts, settings: TopicSettings | None) -> int | None:
    """Return the limit of the topic at the end of the recording."""
    if settings is not None and settings.concurrency_limit is not None:
        return settings.concurrency_limit
    return facts.limit


def _covered(spans: Spans, hours: Floats) -> Floats:
    seconds = np.zeros(len(hours))
    for since, until in spans:
        ends = np.minimum(hours + _HOUR_MS / 1000, until / 1000)
        seconds += np.maximum(ends - np.maximum(hours, since / 1000), 0.0)
    return seconds
