"""The wait of the message at the head of each queue, from counts; no look into a queue is needed.

A look would mark messages redelivered at every scrape. The broker knows the age of the head for
classic queues only, by the publisher's timestamp, which retries and replays keep. A queue hands out
the oldest first: with *n* messages in it, its head is the one before the last *n* - 1 that arrived.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from tasktools.core.series import common
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.readings import subscribers_of, subscribers_to

_MAX_STEPS: Final = 2_000
"""Samples that are kept of a queue; if there are more, every other one is dropped."""


class HeadWait(NamedTuple):
    """The time (s) that the head of a queue has waited; at least, unless it *is_exact*."""

    seconds: float
    is_exact: bool


class QueueHead:
    """The head of a queue that is followed by its length and the number of arrivals.

    >>> head = QueueHead()
    >>> for at, queued, arrived in ((0, 0, 7), (10, 2, 9), (20, 4, 11)):
    ...     head.see(at, queued, arrived)
    >>> head.wait(), head.see(30, 1, 11), head.wait()
    (HeadWait(seconds=15.0, is_exact=True), None, HeadWait(seconds=10.0, is_exact=True))
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque()
        self._queued = 0.0

    @property
    def last_seen(self) -> float:
        """The time of the newest sample."""
        return self._steps[-1][0] if self._steps else float("-inf")

    @property
    def arrived(self) -> float:
        """The arrivals up to then."""
        return self._steps[-1][1] if self._steps else 0.0

    def see(self, at: float, queued: float, arrived: float) -> None:
        """Note that *queued* of *arrived* messages are in the queue *at* (s).

        With fewer arrivals than before, the queue was deleted and created again, and counting
        starts again.
        """
        if queued == 0 or arrived < self.arrived:
            self._steps.clear()
        self._queued = queued
        if len(self._steps) > 1 and self._steps[-2][1] == arrived:  # nothing came since
            self._steps.pop()
        self._steps.append((at, arrived))
        # The step before that with which the head came says when it was not there yet.
        while len(self._steps) > 2 and self._steps[1][1] < self._number_of_head:
            self._steps.popleft()
        if len(self._steps) > _MAX_STEPS:
            steps = list(self._steps)
            self._steps = deque([*steps[:-1:2], steps[-1]])

    @property
    def _number_of_head(self) -> float:
        return self.arrived - self._queued + 1

    def wait(self) -> HeadWait | None:
        """Return how long the head had waited at the newest sample; `None`: not known.

        Messages between two samples are taken to have arrived evenly.
        """
        if not self._steps:
            return None
        if self._queued == 0:
            return HeadWait(0.0, is_exact=True)
        begin, arrived = self._steps[0]
        if self._number_of_head <= arrived:
            waited = self.last_seen - begin
            return HeadWait(waited, is_exact=False) if waited else None
        end, arrived_then = self._steps[1]
        share = (self._number_of_head - arrived) / (arrived_then - arrived)
        return HeadWait(self.last_seen - (begin + share * (end - begin)), is_exact=True)


class QueueHeads:
    """The heads of the queues of all topics, from look to look.

    Arrivals are counted in two ways, of which each may be unavailable: the messages in the queue
    plus the tasks that workers have begun, and the publishes that the management API counts.
    """

    def __init__(self) -> None:
        self._by_events: defaultdict[str, QueueHead] = defaultdict(QueueHead)
        self._by_broker: defaultdict[str, QueueHead] = defaultdict(QueueHead)
        self._heard_since: float | None = None

    def see(self, facts: Facts, begun: Mapping[str, int]) -> dict[str, float]:
        """Return the head wait by topic, where known; *begun* counts the task begins in events."""
        if facts.heard_since != self._heard_since:  # begins were missed
            self._by_events.clear()
            self._heard_since = facts.heard_since
        subscribers = subscribers_of(facts)
        waits = {}
        for name, topic in facts.topics.items():
            if not topic.is_topic:
                continue
            is_heard = facts.state.events.ok and facts.state.settled
            if is_heard and len(subscribers_to(subscribers, name)) >= (topic.consumers or 0):
                _see_events(self._by_events[name], topic, facts.at, begun.get(name, 0))
            else:  # a consumer that sends no events takes messages unseen
                self._by_events.pop(name, None)
            _see_broker(self._by_broker[name], topic)
            wait = self._wait(name, topic)
            if wait is not None:
                waits[name] = wait
        for heads in (self._by_events, self._by_broker):
            for gone in heads.keys() - facts.topics.keys():
                del heads[gone]
        return waits

    def _wait(self, name: str, topic: TopicFacts) -> float | None:
        if topic.queued is None:
            return None
        if topic.queued == 0:
            return 0.0
        heads = [heads[name] for heads in (self._by_events, self._by_broker) if name in heads]
        # What counts say that are older than the message at the head is no wait of it.
        waits = [wait for wait in (head.wait() for head in heads) if wait and wait.seconds]
        exact = [wait.seconds for wait in waits if wait.is_exact]
        return exact[0] if exact else max((wait.seconds for wait in waits), default=None)


def _see_events(head: QueueHead, topic: TopicFacts, at: float, begun: int) -> None:
    if topic.queued is not None:
        # A message that is fetched and not begun is in neither number for a moment.
        head.see(at, topic.queued, max(topic.queued + begun, head.arrived))


def _see_broker(head: QueueHead, topic: TopicFacts) -> None:
    if topic.queue is None or not topic.queue.ready_series or not topic.queue.published:
        return
    lengths, published = common(topic.queue.ready_series, topic.queue.published)
    for at, queued, arrived in zip(lengths.times, lengths.values, published.values, strict=True):
        if at > head.last_seen:
            head.see(at, queued, arrived)
