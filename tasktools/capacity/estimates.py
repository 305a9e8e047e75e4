"""The estimates of a topic's demand: arrival rates, service times, burstiness."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasktools.capacity import arrivals, bursts, service_times
from tasktools.capacity.arrivals import WeeklyRates
from tasktools.capacity.demand import Demand, TopicDemand
from tasktools.capacity.service_times import ServiceTimes


@dataclass(frozen=True, slots=True)
class Estimates:
    """The estimates of one topic."""

    rates: WeeklyRates
    services: ServiceTimes
    window: float
    """Length of the windows in which arrivals are counted; seconds."""
    dispersion: float
    """The index of dispersion of these counts; NaN: too little is recorded."""


def estimates(demand: Demand) -> dict[str, Estimates]:
    """Return the estimates of each topic of *demand*."""
    return {name: estimates_of(demand, topic) for name, topic in demand.topics.items()}


def estimates_of(demand: Demand, topic: TopicDemand) -> Estimates:
    """Return the estimates of *topic* in *demand*."""
    services = service_times.of_topic(topic)
    mean = services.mean
    window = bursts.window_of(0.0 if math.isnan(mean) else mean)
    spans = demand.recorded if demand.sampled is None else demand.sampled
    dispersion = bursts.dispersion(topic.arrivals, spans, window)
    return Estimates(arrivals.of_topic(demand, topic.topic), services, window, dispersion)
