"""The balance of a queue: what came in, what went out, and what is missing.

RabbitMQ does not count what expires, is dropped or rejected by queue; what is missing of the
balance is that. Healthy queues come out at 0, give or take 1.
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from tasktools.core.series import Series, common
from tasktools.core.server_facts import ServerQueue

_LAGS: Final = (-1, 0, 1)  # samples by which lengths may be behind or ahead of counters


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
        """Messages that left neither acknowledged nor to stay: rejected, expired or dropped."""
        staying = self.ready + self.unacked
        return max(self.published - self.acked - self.no_ack - staying, 0.0)

    @property
    def rejected(self) -> float:
        """Deliveries that were neither acknowledged nor given back. What a worker that died held
        comes back later, and is not lost."""
        ended = self.delivered - self.no_ack - self.acked - self.unacked - self.redelivered
        return min(max(ended, 0.0), self.lost)

    @property
    def vanished(self) -> float:
        """Messages that left without having been delivered: expired or dropped."""
        return float(self.lost - self.rejected)


class Balances:
    """The balances of *queue* over up to *seconds*, without its *newest* samples.

    RabbitMQ samples lengths by the queue and counters by the channel: on a busy node each may be a
    sample behind the other, at the first moment as at the last. So there is a balance for each way
    in which they may be: the mildest counts.
    """

    def __init__(self, queue: ServerQueue, seconds: float, *, newest: int = 0) -> None:
        series = (
            queue.published,
            queue.acked,
            queue.delivered_no_ack,
            queue.delivered,
            queue.redelivered,
            queue.ready_series,
            queue.unacked_series,
        )
        known = [each for each in series if each is not None]
        is_complete = len(known) == len(series)
        self._series = [each.window(seconds) for each in common(*known)] if is_complete else []
        self._count = len(self._series[0]) if self._series else 0
        self._newest = newest

    @property
    def span(self) -> float:
        """Seconds that are balanced; 0 if counters or lengths are not known."""
        return self._balances()[0].span if self._balances() else 0.0

    @property
    def published(self) -> float:
        """Messages published in that time."""
        return min((each.published for each in self._balances()), default=0.0)

    @property
    def lost(self) -> float:
        """The milder of what was lost."""
        return min((each.lost for each in self._balances()), default=0.0)

    @property
    def rejected(self) -> float:
        """The milder of what was rejected."""
        return min((each.rejected for each in self._balances()), default=0.0)

    @property
    def vanished(self) -> float:
        """The milder of what vanished."""
        return min((each.vanished for each in self._balances()), default=0.0)

    @property
    def largest_share(self) -> float:
        """Share of what was lost that was lost between two samples: near 1 for a purge."""
        last = self._count - 1 - self._newest
        steps = [self._between(i, j).lost for i, j in itertools.pairwise(range(last + 1))]
        return max(steps, default=0.0) / sum(steps) if sum(steps) else 0.0

    def _balances(self) -> list[Balance]:
        last = self._count - 1 - self._newest
        return [
            self._between(first, last, first_lag, last_lag)
            for first in (0, 1)
            for first_lag, last_lag in itertools.product(_LAGS, _LAGS)
            if first < last and 0 <= first + first_lag < last + last_lag < self._count
        ]

    def _between(self, first: int, last: int, first_lag: int = 0, last_lag: int = 0) -> Balance:
        """Return the balance between two samples, with the lengths of samples that much later."""

        def counted(series: Series) -> float:
            return series.values[last] - series.values[first]

        def length(series: Series) -> float:
            return series.values[last + last_lag] - series.values[first + first_lag]

        published, acked, no_ack, delivered, redelivered, ready, unacked = self._series
        return Balance(
            span=published.times[last] - published.times[first],
            published=counted(published),
            acked=counted(acked),
            no_ack=counted(no_ack),
            delivered=counted(delivered),
            redelivered=counted(redelivered),
            ready=length(ready),
            unacked=length(unacked),
        )
