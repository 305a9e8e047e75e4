"""Service times of tasks, from tries that ended and from those whose end is not known.

A try that still runs, or was lost, took at least as long as it was seen to run. Leaving such tries
out makes service times too short, as long tries are left out more often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasktools.capacity.demand import FloatArray, TopicDemand


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """The distribution of service times: `weights` at `values`, in seconds, ascending."""

    values: FloatArray
    weights: FloatArray
    """The weights of `values`; they add up to 1."""
    tries: int
    """Tries that it is made of, the censored ones included."""
    censored: int
    reach: float
    """The share of the distribution that was seen to end; beyond it, quantiles are not known."""

    @property
    def mean(self) -> float:
        """The mean in seconds; a try whose end is unknown counts as the longest time."""
        if not len(self.values):
            return float("nan")
        # A matrix product would take a thread a core, for 60,000 numbers.
        return float((self.weights * self.values).sum())

    @property
    def scv(self) -> float:
        """The squared coefficient of variation: the variance over the square of the mean."""
        mean = self.mean
        if not mean > 0:
            return float("nan")
        return float((self.weights * (self.values - mean) ** 2).sum()) / mean**2

    def quantile(self, share: float) -> float:
        """Return the time within which *share* (0 to 1) of the tries end; NaN: not known."""
        if not len(self.values) or share > self.reach:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.weights), share - 1e-12))
        return float(self.values[min(place, len(self.values) - 1)])


def service_times(ended: FloatArray, censored: FloatArray) -> ServiceTimes:
    """Return the distribution of service times by the estimator of Kaplan and Meier.

    Parameters
    ----------
    ended
        Durations of the tries that ended, in seconds; failed ones are included, since they held a
        slot.
    censored
        Seconds for which other tries are known to have run.

    Returns
    -------
    ServiceTimes
        The distribution.

    References
    ----------
    Kaplan and Meier 1958, Nonparametric estimation from incomplete observations. What lies beyond
    the longest try is put there, as Efron 1967, The two sample problem with censored data.

    Examples
    --------
    >>> import numpy as np
    >>> times = service_times(np.array([1.0, 2.0]), np.array([1.5]))
    >>> times.values.tolist(), times.weights.round(3).tolist()
    ([1.0, 2.0], [0.333, 0.667])

    """
    count = len(ended) + len(censored)
    values, deaths = np.unique(ended, return_counts=True)
    # Those that were seen to run just so long have not ended yet at that time.
    at_risk = count - np.searchsorted(np.sort(ended), values, side="left")
    at_risk = at_risk - np.searchsorted(np.sort(censored), values, side="left")
    left = np.cumprod(1.0 - deaths / at_risk)
    weights = np.concatenate([[1.0], left[:-1]]) - left if len(left) else np.empty(0)
    rest = float(left[-1]) if len(left) else 1.0
    if len(values) and rest > 0:
        longest = max(float(values[-1]), float(censored.max()))
        values, weights = np.append(values, longest), np.append(weights, rest)
    return ServiceTimes(values, weights, count, len(censored), 1.0 - rest)


def of_topic(topic: TopicDemand) -> ServiceTimes:
    """Return the distribution of the service times of *topic*."""
    return service_times(topic.service_times, topic.censored)
