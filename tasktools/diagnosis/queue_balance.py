"""The balance of a queue: what came in, what went out, and what is missing.

RabbitMQ does not count expired, dropped and rejected messages by queue; they are the difference in
the balance of its other counters. Healthy queues have a difference of 0, give or take 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final, NamedTuple

from tasktools.core.series import common
from tasktools.core.server_facts import ServerQueue

_LAGS: Final = (-1, 0, 1)  # samples by which lengths and counters may be behind or ahead


class Balance(NamedTuple):
    """Messages of a queue over *span* seconds; *ready* and *unacked* are changes of its lengths.

    >>> Balance(20.0, published=100, acked=60, no_ack=0, delivered=60, redelivered=0, ready=10,
    ...         unacked=0).vanished
    30.0
    """

    span: float
    published: float
    acked: float
    no_ack: float
    delivered: float
    redelivered: float
    ready: float
    unacked: float

    @property
    def lost(self) -> float:
        """Messages that left the queue without being acknowledged: rejected, expired or dropped."""
        staying = self.ready + self.unacked
        return max(self.published - self.acked - self.no_ack - staying, 0.0)

    @property
    def rejected(self) -> float:
        """Deliveries that were neither acknowledged nor given back. Messages of a worker that died
        come back later and are not counted."""
        ended = self.delivered - self.no_ack - self.acked - self.unacked - self.redelivered
        return min(max(ended, 0.0), self.lost)

    @property
    def vanished(self) -> float:
        """Messages that left without having been delivered: expired or dropped."""
        return float(self.lost - self.rejected)


class Balances:
    """The balances of *queue* over up to *seconds*, without its *newest* samples.

    RabbitMQ samples lengths by the queue and counters by the channel: on a busy node each may be a
    sample behind the other, at the first moment as at the last. So a balance is computed for each
    possible lag, and the smallest loss counts.
    """

    def __init__(self, queue: ServerQueue, seconds: float, *, newest: int = 0) -> None:
        lengths = (queue.ready_series, queue.unacked_series)
        consumed = (queue.acked, queue.delivered_no_ack, queue.delivered, queue.redelivered)
        series = [each for each in (queue.published, *consumed, *lengths) if each is not None]
        is_complete = len(series) == 1 + len(consumed) + len(lengths)
        each_series = [each.window(seconds) for each in common(*series)] if is_complete else []
        self._times = each_series[0].times if each_series else ()
        self._published = each_series[0].values if each_series else ()
        self._consumed = [each.values for each in each_series[1 : 1 + len(consumed)]]
        self._lengths = [each.values for each in each_series[1 + len(consumed) :]]
        self._last = len(self._times) - 1 - newest

    @property
    def span(self) -> float:
        """Seconds that are balanced; 0 if counters or lengths are not known."""
        return self._times[self._last] - self._times[0] if self._last > 0 else 0.0

    @property
    def published(self) -> float:
        """Messages published in that time."""
        firsts = range(min(2, self._last)) if self._last > 0 else ()
        changes = (self._published[self._last] - self._published[first] for first in firsts)
        return min(changes, default=0.0)

    @property
    def lost(self) -> float:
        """The smallest estimate of lost messages."""
        return min((each.lost for each in self._balances), default=0.0)

    @property
    def rejected(self) -> float:
        """The smallest estimate of rejected messages."""
        return min((each.rejected for each in self._balances), default=0.0)

    @property
    def vanished(self) -> float:
        """The smallest estimate of vanished messages."""
        return min((each.vanished for each in self._balances), default=0.0)

    @property
    def surely_vanished(self) -> float:
        """The smallest estimate if the samples of channels may differ, too: one channel shows that
        a burst was published, and another only in its next sample that it was acknowledged."""
        if not self.vanished:
            return 0.0
        return min((each.vanished for each in self._with_lags(_LAGS)), default=0.0)

    @property
    def largest_share(self) -> float:
        """The largest share of the loss between two neighbouring samples: near 1 for a purge."""
        pairs = itertools.pairwise(range(self._last + 1))
        steps = [self._between(first, last).lost for first, last in pairs]
        return max(steps, default=0.0) / sum(steps) if sum(steps) else 0.0

    @cached_property
    def _balances(self) -> list[Balance]:
        return list(self._with_lags((0,)))

    def _with_lags(self, lags: Sequence[int]) -> Iterator[Balance]:
        """Yield the balances in which deliveries and acknowledgements lag by *lags*."""
        last = self._last
        for first in range(min(2, max(last, 0))):
            span = self._times[last] - self._times[first]
            published = self._published[last] - self._published[first]
            for consumed, lengths in itertools.product(
                set(self._lagging(self._consumed, first, lags)),
                set(self._lagging(self._lengths, first, _LAGS)),
            ):
                yield Balance(span, published, *consumed, *lengths)

    def _lagging(
        self, series: list[tuple[float, ...]], first: int, lags: Sequence[int]
    ) -> Iterator[tuple[float, ...]]:
        """Yield the changes of *series* since *first*, for each way in which they may lag."""
        for first_lag, last_lag in itertools.product(lags, lags):
            since, until = first + first_lag, self._last + last_lag
            if 0 <= since < until < len(self._times):
                yield tuple(values[until] - values[since] for values in series)

    def _between(self, first: int, last: int) -> Balance:
        """Return the balance between two samples, as if nothing lagged."""
        every = (self._times, self._published, *self._consumed, *self._lengths)
        return Balance(*(values[last] - values[first] for values in every))
