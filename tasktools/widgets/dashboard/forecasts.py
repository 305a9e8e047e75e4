"""The forecast on the chart of queue depth, for the topic whose queue takes longest to drain."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Final

from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.drain_forecast import Answer, answer_of, score_waiting
from tasktools.capacity.drain.forecast import MAY_NOT, WILL_NOT, Forecast
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.errors import LedgerError
from tasktools.core.escaping import harmless
from tasktools.core.timespans import in_words
from tasktools.widgets.dashboard.board_data import Board

FORECAST_SECONDS: Final = 30.0
_EMPTY: Final = 10.0
"""Messages: a queue that is down to them is called empty here; the tooltip has the number."""

Shown = dict[str, Any]
"""`topic`, `words`, `title` and `band` for the page: rows of time (s since the epoch), lower end,
middle and upper end of the depth to come. Empty: nothing is known."""


class DepthForecasts:
    """Forecasts the queue of *cluster* with the longest wait on the *board*."""

    def __init__(self, cluster: Cluster, board: Board) -> None:
        self._cluster, self._board = cluster, board
        self._topic: str | None = None
        self.waits = False  # whether earlier ones are not scored yet

    def look(self, hidden: frozenset[str]) -> Shown:
        """Return the forecast of the topic with the longest drain, except those *hidden*."""
        self._topic = self._board.longest_queue(hidden, self._topic)
        if self._topic is not None:
            self.waits = True
            return shown_of(answer_of(self._cluster, self._topic, None, Timing()))
        if self.waits:  # of queues that are short by now
            with contextlib.suppress(LedgerError):  # told with the next forecast
                self.waits = score_waiting(self._cluster, Timing()) > 0
        return {}


def shown_of(answer: Answer) -> Shown:
    """Return the *answer* in the form that the page gets."""
    made = answer.forecast
    if made is None or answer.is_over:
        return {}
    ranks, share = len(answer.past.ranks), answer.past.covered
    held = "not scored yet" if share is None else f"held {share:.0%} of {ranks:,}"
    topic = harmless(answer.topic)
    return {
        "topic": topic,
        "words": f"{topic} {_short(made, answer.at)} ({held})",
        "title": f"{topic}: {answer.note}\nbands of earlier forecasts: {held}, 80 % is meant",
        "band": [[answer.at + span, *depth] for span, *depth in made.band()],
    }


def _short(made: Forecast, at: float) -> str:
    """Return the forecast in a few words."""
    if made.not_within >= WILL_NOT:
        return made.words(at)
    within = in_words(made.horizon)
    if made.not_within >= MAY_NOT:
        return f"may not end within {within}"
    if math.isinf(made.earliest):
        return made.words(at)
    goal = "empties" if made.level <= _EMPTY else f"is down to {made.level:,.0f}"
    early = f"{moment(at + made.earliest):%H:%M}"
    if math.isinf(made.latest):
        return f"{goal} after {early} UTC, 80 %"
    return f"{goal} {early}\N{EN DASH}{moment(at + made.latest):%H:%M} UTC, 80 %"
