"""The inputs of capacity planning, as frames: arrivals, service times, bursts, and their quality.

`tasktools.capacity` computes with these inputs; the frames are for people to check them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.capacity import quality
from tasktools.capacity.demand import Demand
from tasktools.capacity.estimates import Estimates, estimates
from tasktools.capacity.gather import gather_with_names
from tasktools.capacity.hour_of_week import HOURS_OF_WEEK
from tasktools.capacity.service_times import ServiceTimes
from tasktools.cluster.cluster import Cluster
from tasktools.core.frames import build
from tasktools.core.frames import capacity_schemas as schemas
from tasktools.core.timespans import Moment

_MAX_NOTES: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The known demand as frames (schemas `ARRIVALS`, `SERVICES`, `BURSTS`, `QUALITY`)."""

    arrivals: pd.DataFrame = field(repr=False)
    """Arrival rates by topic and hour of the week."""
    services: pd.DataFrame = field(repr=False)
    """Service times by topic, and by task name where messages have it."""
    bursts: pd.DataFrame = field(repr=False)
    """Burstiness of arrivals by topic."""
    quality: pd.DataFrame = field(repr=False)
    """Checks of all this, in words."""
    demand: Demand = field(repr=False)
    """The arrays that they are made of."""

    def __repr__(self) -> str:
        problems = int((~self.quality["ok"].fillna(value=True)).sum())
        days = quality.recorded_days(self.demand)
        return f"<Inputs of {len(self.demand.topics)} topics, {days:.1f} days, {problems} notes>"


def inputs(history: Cluster, since: Moment = "28D", until: Moment | None = None) -> Inputs:
    """Return what is known of the demand: arrivals, service times, burstiness, and checks of the
    data.

    Time that was not recorded is left out: it has no arrivals, and is not 0. Retries are not
    arrivals; each try holds a slot.

    Parameters
    ----------
    history
        A recording (``tt.connect("sqlite:///ops.db")``), or a live cluster, of which only events
        received by this process are known.
    since
        The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"28D"``).
    until
        The end; by default now, or the end of the recording.

    Returns
    -------
    Inputs
        Frames (schemas `ARRIVALS`, `SERVICES`, `BURSTS`, `QUALITY`); notes on too little data are
        in ``quality``, and in ``attrs["notes"]`` of the others.

    Raises
    ------
    RecordingError
        The recording cannot be read.
    ValueError
        *since* is no moment, or not before *until*.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     inputs = tt.capacity.inputs(cluster, since="1h")
    >>> bool(inputs.quality.set_index(["topic", "check"])["ok"]["orders", "days from start to end"])
    False

    """
    demand, by_task = gather_with_names(history, since=since, until=until)
    by_topic = estimates(demand)
    checks = quality.checks(demand, by_topic)
    frames = (
        build.frame_from(schemas.ARRIVALS, list(_arrival_rows(by_topic))),
        build.frame_from(schemas.SERVICES, list(_service_rows(by_topic, by_task))),
        build.frame_from(schemas.BURSTS, list(_burst_rows(by_topic))),
        build.frame_from(
            schemas.QUALITY,
            [(c.topic, c.check, _known(c.value), c.limit, c.ok, c.note) for c in checks],
        ),
    )
    notes = _notes(checks)
    for frame in frames:
        frame.attrs.update(demand.label, notes=list(notes))
    return Inputs(*frames, demand=demand)


def _notes(checks: Iterable[quality.Check]) -> list[str]:
    """Return the notes of failed checks, each once with the topics that it is about."""
    topics: dict[str, list[str]] = {}
    for check in checks:
        if check.ok is False and check.note is not None:
            topics.setdefault(check.note, []).append(check.topic)
    notes = [f"{', '.join(of_note)}: {note}" for note, of_note in topics.items()]
    more = len(notes) - _MAX_NOTES
    return notes[:_MAX_NOTES] + ([f"and {more} more (quality has them)"] if more > 0 else [])


def _arrival_rows(by_topic: Mapping[str, Estimates]) -> Iterator[tuple[Any, ...]]:
    for topic, of_topic in by_topic.items():
        rates = of_topic.rates
        for hour in range(HOURS_OF_WEEK):
            values = (rates.rate[hour], rates.low[hour], rates.high[hour])
            yield (
                topic,
                hour,
                *map(_known, values),
                float(rates.weeks[hour]),
                round(rates.tasks[hour]) if rates.weeks[hour] > 0 else None,
            )


def _service_rows(
    by_topic: Mapping[str, Estimates], by_task: Mapping[tuple[str, str], ServiceTimes]
) -> Iterator[tuple[Any, ...]]:
    for name, of_topic in by_topic.items():
        yield name, None, *_spans(of_topic.services)
        for own, task_name in sorted(by_task):
            if own == name:
                yield name, task_name, *_spans(by_task[name, task_name])


def _spans(times: ServiceTimes) -> tuple[Any, ...]:
    quantiles = (times.quantile(share) for share in (0.5, 0.95, 0.99))
    spans = (times.mean, *quantiles)
    return times.tries, times.censored, *map(_known, spans), _known(times.scv)


def _burst_rows(by_topic: Mapping[str, Estimates]) -> Iterator[tuple[Any, ...]]:
    for name, of_topic in by_topic.items():
        yield name, of_topic.window, _known(of_topic.dispersion)


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
