"""The service time against the number of tasks that run at once: whether more slots help.

Source: Gunther 1993, A simple capacity model of massively parallel transaction systems (the
universal scalability law: contention and coherency make each task slower as more run).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from tasktools.capacity.demand import FloatArray, TopicDemand

_MIN_LEVELS: Final = 3
_MIN_TRIES: Final = 20  # at a level
_RANKED: Final = 20_000
"""The largest number of tries whose ranks are correlated: enough to see a rise."""
_MAX_P: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Scalability:
    """The mean service time while *n* run: `alone` (1 + contention (n-1) + coherency n (n-1))."""

    alone: float
    """Seconds of a task that runs alone."""
    contention: float
    coherency: float
    seen: float
    """The largest number of running tasks in the fitted data."""

    def service(self, running: float) -> float:
        """Return the mean service time (s) while *running* tasks run."""
        more = running - 1
        return self.alone * (1 + self.contention * more + self.coherency * running * more)

    def throughput(self, running: float) -> float:
        """Return how many tasks end a second while *running* tasks run."""
        return running / self.service(running)

    @property
    def best(self) -> float:
        """The number running at which most tasks end; infinite if more always help."""
        if self.coherency <= 0:
            return math.inf
        return math.sqrt(max(1 - self.contention, 0.0) / self.coherency)


def scalability_of(topic: TopicDemand) -> Scalability | None:
    """Return the fit of the service times of *topic* against the number of running tasks.

    `None` if the number of running tasks is unknown, or if service times do not significantly rise
    with it.
    """
    if topic.running is None:
        return None
    running, services = topic.running, topic.service_times
    levels, place, tries = np.unique(running, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=services) / tries
    squares = np.bincount(place, weights=(services - means[place]) ** 2)
    enough = (tries >= _MIN_TRIES) & (levels >= 1)
    step = len(running) // _RANKED + 1
    if enough.sum() < _MIN_LEVELS or not _rises(running[::step], services[::step]):
        return None
    errors = squares[enough] / (tries[enough] - 1) / tries[enough]
    weights = 1 / np.sqrt(np.maximum(errors, 1e-12))
    return _fitted(levels[enough].astype(np.float64), means[enough], weights)


def _rises(running: FloatArray, services: FloatArray) -> bool:
    """Return whether the rank correlation (Spearman) is above 0 beyond chance."""
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (running, services)]
    correlation = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    z = correlation * math.sqrt(len(running) - 1)
    return math.erfc(z / math.sqrt(2)) / 2 < _MAX_P


def _fitted(levels: FloatArray, means: FloatArray, weights: FloatArray) -> Scalability | None:
    """Return the weighted least-squares fit with coefficients of at least 0."""
    columns = np.stack([np.ones_like(levels), levels - 1, levels * (levels - 1)], axis=1)
    best: tuple[float, FloatArray] | None = None
    for terms in ((0, 1, 2), (0, 1), (0, 2), (0,)):
        part = columns[:, terms] * weights[:, None]
        coefficients = np.linalg.lstsq(part, means * weights, rcond=None)[0]
        if (coefficients < 0).any():
            continue
        error = float(np.sum((part @ coefficients - means * weights) ** 2))
        if best is None or error < best[0]:
            full = np.zeros(3)
            full[list(terms)] = coefficients
            best = error, full
    if best is None or best[1][0] <= 0 or not best[1][1:].any():
        return None
    alone, contention, coherency = best[1].tolist()
    return Scalability(alone, contention / alone, coherency / alone, float(levels[-1]))
