"""Readings of facts that several rules share: changes of counters, subscribers, what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final, Literal

from tasktools.core.models import Worker
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerConnection, ServerPart
from tasktools.core.timespans import in_words
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell

Counter = Literal["published", "acked", "delivered", "delivered_no_ack", "redelivered"]
"""A counter of the broker, by queue."""

ALL_TOPICS: Final = "*"
"""The topic of a worker that says that it consumes all topics."""
SILENT_AFTER: Final = 4.0
"""Seconds: a heartbeat is due every 3, and the longest silence of 13 healthy minutes was 3.03."""
STATISTICS_LAG: Final = 8.0
"""Seconds that RabbitMQ's counters are behind, at most."""
_FORGOTTEN_SECONDS: Final = 86_400.0
"""Seconds without a consumer after which a topic counts as forgotten: a day."""
_MIN_DAYS: Final = 3
"""Least number of earlier days from which one knows what is usual at a time of the day."""
_USUAL_TIMES: Final = 1.5
"""Most that a value may be, as a multiple of what is usual."""
_RATE_SECONDS: Final = 60.0
"""Seconds over which rates are computed: the length of the broker's samples."""


def judged_topics(facts: Facts) -> Iterator[TopicFacts]:
    """Yield the topics that a rule may name: no queues of tasktools itself."""
    for name, topic in facts.topics.items():
        if name not in facts.own_queues:
            yield topic


def is_forgotten(facts: Facts, topic: TopicFacts) -> bool:
    """Whether *topic* is known to have had no consumer for a day."""
    return facts.unconsumed_for.get(topic.topic, 0.0) >= _FORGOTTEN_SECONDS


def counter_of(topic: TopicFacts, counter: Counter) -> Series | None:
    """Return the samples of a counter of the topic's queue; `None`: not known."""
    series: Series | None = getattr(topic.queue, counter, None)
    return series


def change_of(
    topic: TopicFacts, counter: Counter, seconds: float, *, at_least: float | None = None
) -> float | None:
    """Return by how much a counter of the topic's queue rose in the last *seconds*.

    `None`: not known, as when the queue is younger than *at_least*.
    """
    series = counter_of(topic, counter)
    change = None if series is None else series.change(seconds, at_least=at_least)
    return None if change is None else max(change, 0.0)  # a queue that was made anew counts from 0


def growth_of(series: Series | None, seconds: float) -> float | None:
    """Return by how much *series* changed in the last *seconds*, or in at least a sixth of them."""
    return None if series is None else series.change(seconds, at_least=seconds / 6)


def ready_of(topic: TopicFacts) -> Series | None:
    """Return the lengths of the topic's queue: the broker's samples, or ours if they cover more
    time (as with AMQP alone)."""
    return _longer(None if topic.queue is None else topic.queue.ready_series, topic.ready)


def dead_ready_of(topic: TopicFacts) -> Series | None:
    """Return the numbers of the topic's dead letters: the broker's samples, or ours if they cover
    more time."""
    by_broker = None if topic.dead_queue is None else topic.dead_queue.ready_series
    return _longer(by_broker, topic.dead_ready)


def dead_arrivals_of(facts: Facts, topic: TopicFacts) -> Series | None:
    """Return the number of dead letters as if runs of plans had taken none: all of its growth is
    arrivals.

    Messages taken by a run are added only once the broker's statistics surely include them: for
    some seconds the number may be too low, never too high.
    """
    series = dead_ready_of(topic)
    dead_queue = topic.dead_queue.facts.queue if topic.dead_queue else None
    dead_queue = dead_queue or facts.layout.dead_queue(topic.topic)
    taken = [run.taken for run in facts.runs if run.source == dead_queue and run.taken]
    if series is None or not taken:
        return series
    lag = STATISTICS_LAG if any(each.name == "management" for each in facts.sources) else 0.0
    values = (
        value + sum(each.before(at - lag) or 0.0 for each in taken)
        for at, value in zip(series.times, series.values, strict=True)
    )
    return Series(series.times, tuple(values))


def _longer(by_broker: Series | None, sampled: Series | None) -> Series | None:
    known = [series for series in (by_broker, sampled) if series]
    return max(known, key=lambda series: min(series.span, _RATE_SECONDS), default=None)


def may_move(facts: Facts, topic: TopicFacts) -> bool:
    """Whether tasks of *topic* may be running. False if the broker shows a queue without
    unacknowledged and waiting messages, and without acknowledgements."""
    if topic.consumers == 0:
        return False
    if topic.queued or topic.unacked:
        return True
    acked = change_of(topic, "acked", _RATE_SECONDS, at_least=0.0)
    return is_unsampled(facts, topic) if acked is None else acked > 0


def wait_of(topic: TopicFacts) -> float | None:
    """Return the wait (s) of a new task: queue length by the completion rate of the last minute.

    `None`: not known, or nothing moves.
    """
    acked = topic.queue.acked if topic.queue is not None else None
    moved = acked or topic.ended
    rate = None
    if moved is not None and len(moved) > 1:
        window = moved.window(_RATE_SECONDS)
        rate = (window.values[-1] - window.values[0]) / window.span if window.span else None
    if topic.queued is None or not rate or rate < 0:
        return 0.0 if topic.queued == 0 else None
    return topic.queued / rate


def begin_above(series: Series | None, level: float = 0.0) -> float | None:
    """Return since when *series* has stayed above *level*; `None`: since before its first sample.

    >>> begin_above(Series((0.0, 5.0, 10.0), (0.0, 2.0, 3.0)))
    5.0
    """
    if series is None or not series or series.values[-1] <= level:
        return None
    began = None
    for at, value in zip(reversed(series.times), reversed(series.values), strict=True):
        if value <= level:
            return began
        began = at
    return None


def begin_rising(series: Series | None) -> float | None:
    """Return when a counter began to rise without a pause; `None`: before its first sample.

    >>> begin_rising(Series((0.0, 5.0, 10.0, 15.0), (7.0, 7.0, 9.0, 9.0)))
    5.0
    """
    if series is None or len(series) < 3:
        return None
    rises = [later > earlier for earlier, later in pairwise(series.values)]
    if not rises[-1]:
        rises.pop()  # the newest sample may only repeat the one before
    place = next((place for place in reversed(range(len(rises))) if not rises[place]), None)
    return None if place is None else series.times[place + 1]


def begin_growing(series: Series | None) -> float | None:
    """Return when a length was last at its lowest; `None`: not since its first sample.

    >>> begin_growing(Series((0.0, 5.0, 10.0, 15.0), (7.0, 2.0, 2.0, 9.0)))
    10.0
    """
    if not series:
        return None
    lowest = min(series.values)
    last = max(at for at, value in zip(series.times, series.values, strict=True) if value == lowest)
    return None if last == series.times[0] else last


def stays_at_most(series: Series | None, at_most: float, *, seconds: float = 5.0) -> bool:
    """Whether all samples of the last *seconds* were at most *at_most*, so that no second look is
    needed."""
    if series is None:
        return False
    window = series.window(seconds)
    return window.span >= 0.8 * seconds and max(window.values) <= at_most


def is_unsampled(facts: Facts, topic: TopicFacts) -> bool:
    """Whether the counters of a topic's queue are unavailable for another reason than that it is
    idle."""
    if topic.queue is not None and topic.queue.acked is not None:
        return False
    server = facts.server
    return server is None or topic.queue is None or "samples" in server.missing


def subscribers_of(facts: Facts) -> dict[str, list[Worker]]:
    """Return the live workers that report each topic as consumed; under `ALL_TOPICS` workers that
    consume all."""
    return _by_topic(live_workers(facts.state.workers))


def all_subscribers_of(facts: Facts) -> dict[str, list[Worker]]:
    """Return the workers, including gone ones, that reported each topic as consumed."""
    return _by_topic(facts.state.workers)


def subscribers_to(subscribers: Mapping[str, Sequence[Worker]], topic: str) -> list[Worker]:
    """Return the *subscribers* that consume *topic*, by its name or as one of all topics."""
    of_all = (each for each in subscribers.get(ALL_TOPICS, ()) if topic not in each.topics)
    return [*subscribers.get(topic, ()), *of_all]


def _by_topic(workers: Iterable[Worker]) -> dict[str, list[Worker]]:
    by_topic: defaultdict[str, list[Worker]] = defaultdict(list)
    for worker in workers:
        for topic in set(worker.topics):
            by_topic[topic].append(worker)
    return dict(by_topic)


def is_connection_of(connection: ServerConnection, worker: Worker) -> bool:
    """Whether *connection* belongs to the process of *worker*, by its name; only tasktools names
    connections so."""
    return (connection.client or "").endswith(f" {worker.host}:{worker.pid}")


def limit_of(topic: TopicFacts) -> int | None:
    """Return how many tasks of *topic* may run at once; `None`: any number, or not known."""
    return None if topic.settings is None else topic.settings.concurrency_limit


def why_missing(facts: Facts, part: ServerPart) -> str:
    """Return why the broker does not report *part*, and how to make it available."""
    if facts.server is not None and part in facts.server.missing:
        return facts.server.missing[part]
    if facts.is_recorded:
        return "a recording does not hold it"
    return facts.missing.get("management", "the broker does not report it")


def needs_broker(facts: Facts, what: str) -> CannotTell:
    """Return `CannotTell`: *what* is unknown, since the broker reports nothing of its queues."""
    why = facts.missing.get("broker", "the broker does not report it")
    return CannotTell(why=f"{what}: {why}", needs=("broker",))


def needs_server(facts: Facts, part: ServerPart, what: str) -> CannotTell:
    """Return `CannotTell`: *what* is unknown, since the broker does not report *part*."""
    return CannotTell(why=f"{what}: {why_missing(facts, part)}", needs=("management",))


def needs_events(facts: Facts, what: str) -> CannotTell:
    """Return `CannotTell`: *what* is unknown, since no events are received, or not for long
    enough."""
    if facts.heard_since is None:
        why = facts.missing.get("events", "no events are received")
    else:
        why = f"events are received for {in_words(facts.at - facts.heard_since)} only"
    return CannotTell(why=f"{what}: {why}", needs=("events",))


def heard_for(facts: Facts) -> float:
    """Return for how many seconds events were received without a gap; 0 if none are."""
    return 0.0 if facts.heard_since is None else max(facts.at - facts.heard_since, 0.0)


def is_as_on_earlier_days(value: float | None, days: Sequence[float]) -> bool:
    """Whether *value* is not far above what it was around the same time on most of *days*; False
    where that is not known."""
    if value is None or len(days) < _MIN_DAYS:
        return False
    return value <= _USUAL_TIMES * median(days)
