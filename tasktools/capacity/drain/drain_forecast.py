"""`drain_forecast`: when a queue is empty, on a live cluster or a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from tasktools.capacity.drain.bins import Timing
from tasktools.capacity.drain.forecast import Forecast, forecast
from tasktools.capacity.drain.forecast_log import ForecastLog, Past, opened
from tasktools.capacity.drain.gather import Reading, depths, read, usual_depth
from tasktools.capacity.question import check_cluster, span_of
from tasktools.cluster.cluster import Cluster
from tasktools.core.arguments import is_number
from tasktools.core.clock import moment
from tasktools.core.errors import LedgerError
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import DRAIN_FORECAST
from tasktools.core.plurals import counted
from tasktools.core.suggestions import did_you_mean
from tasktools.core.timespans import Span
from tasktools.history.recent import RecentHistory

_MIN_LEVEL: Final = 10.0
_MAX_HORIZON: Final = 86_400.0
_MIN_SCORED: Final = 30
"""Scored forecasts that are needed before their coverage is reported."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A forecast of *topic*, made *at* (s since the epoch), or why there is none (*note*)."""

    topic: str
    at: float
    level: float
    reading: Reading
    forecast: Forecast | None
    past: Past
    note: str
    log_problem: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the queue is at the level already."""
        return self.reading.depth is not None and self.reading.depth <= self.level


def drain_forecast(
    cluster: Cluster, topic: str, level: float | None = None, horizon: Span = "6h"
) -> pd.DataFrame:
    """Return when the queue of *topic* is empty, with a band that holds the end with 80 %.

    The forecast uses the last 30 min: how many tasks came and ended, and how many slots there were.
    It changes nothing in the cluster. A forecast cannot foresee that workers come or go, or a
    second wave of tasks: ask again every minute. Each forecast is stored in the ledger's database
    (`TASKTOOLS_LEDGER`), at most one in 5 min and topic; once its drain has ended it is scored, and
    the scores set the width of the next band.

    For a live cluster, samples are taken only while it is used: keep a board open, or record it. At
    a moment of a recording, take ``cluster.at("2h")``.

    Parameters
    ----------
    cluster
        The cluster, live or a recording.
    topic
        The topic.
    level
        Messages at which the drain has ended; by default the usual length of the queue (the median
        of 7 days of a recording), at least 10.
    horizon
        How far to look ahead: seconds, or a text as ``"2h"``, up to a day.

    Returns
    -------
    pandas.DataFrame
        One row (schema `DRAIN_FORECAST`); its values are missing where nothing is known, and
        `note` says why.

    Raises
    ------
    ValueError
        *level* or *horizon* cannot be used; nothing was read.
    RecordingError
        The recording cannot be read.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     forecast = tt.drain_forecast(cluster, "orders")
    >>> forecast["topic"].tolist(), "not_within" in forecast
    (['orders'], True)

    References
    ----------
    Kalman 1960, A new approach to linear filtering and prediction problems; Kuleshov, Fenner &
    Ermon 2018, Accurate uncertainties for deep learning using calibrated regression.

    """
    answer = answer_of(cluster, topic, level, _timing(horizon))
    frame = cluster.labelled(frame_from(DRAIN_FORECAST, [_row(answer)]))
    frame.attrs["notes"] += _notes(answer)
    return frame


def answer_of(cluster: Cluster, topic: str, level: float | None, timing: Timing) -> Answer:
    """Return the forecast for *topic*, on the time scale *timing*; it is stored, and earlier ones
    are scored."""
    check_cluster(cluster)
    if not isinstance(topic, str):
        raise ValueError(  # noqa: TRY004 - whatever cannot be used is one error
            f"topic is {topic!r}, not the name of a topic; nothing was read."
        )
    if level is not None and not (is_number(level) and level >= 0):
        raise ValueError(f"level is {level!r}, not a number of messages; nothing was read.")
    with cluster.observed() as observation:
        at, recent = round(observation.sample.at, 3), observation.recent
        reading = read(recent, topic, at, timing)
        if observation.sample.report is None:
            reason = observation.sample.why or "it does not say why"
            reading = replace(reading, bins=None, why=f"the broker did not answer: {reason}")
        if level is None:
            level = max(usual_depth(recent, topic) or 0.0, _MIN_LEVEL)
        level = float(level)
        rng = np.random.default_rng([round(at * 1000), *topic.encode(errors="replace")])
        past, problem = Past(), None
        made = None
        try:
            ledger = cluster.ledger_file
            if reading.bins is not None or ledger.path.exists():
                with opened(ledger, observation.address) as log:
                    if not cluster.is_recorded:
                        log.forget_from(at + timing.longest_step)
                    _score(log, recent, at, timing, rng)
                    past = log.past(at)
                    made = _made(reading, level, timing, past, rng)
                    if made is not None and made.depth > level:
                        log.store(topic, at, made, timing.longest_step)
        except LedgerError as error:
            problem = str(error)
            made = _made(reading, level, timing, past, rng)
        note = _note(made, reading, level, at)
        known = recent.topics()
        if topic not in known and (hint := did_you_mean(topic, known)):
            note += f"; {hint}"
    return Answer(topic, at, level, reading, made, past, note, problem)


def score_waiting(cluster: Cluster, timing: Timing) -> int:
    """Score the forecasts of *cluster* whose drains have ended; return the number of topics with
    forecasts still to be scored. Raises `LedgerError` if the log cannot be read."""
    with cluster.observed() as observation:
        at = observation.sample.at
        rng = np.random.default_rng(round(at * 1000))
        with opened(cluster.ledger_file, observation.address) as log:
            _score(log, observation.recent, at, timing, rng)
            return len(log.waiting(at))


def _score(
    log: ForecastLog, recent: RecentHistory, at: float, timing: Timing, rng: np.random.Generator
) -> None:
    for topic, seen_until in log.waiting(at).items():
        queued = depths(recent, topic, max(at - seen_until, 0.0) + timing.bin)
        log.score(topic, queued, rng, timing.longest_step)


def _made(
    reading: Reading, level: float, timing: Timing, past: Past, rng: np.random.Generator
) -> Forecast | None:
    if reading.bins is None:
        return None
    return forecast(reading.bins, level, timing, past.ranks, rng)


def _note(made: Forecast | None, reading: Reading, level: float, at: float) -> str:
    """Return the forecast in words, or why there is none."""
    if reading.depth is not None and reading.depth <= level:
        return f"at {reading.depth:,.0f} now, no more than {level:,.0f}"
    if made is None:
        return f"not known: {reading.why or 'the rates of arrivals and completions are not known'}"
    words = made.words(at, has_date=made.horizon > _MAX_HORIZON / 2)
    return f"{words}; if workers stay as they are"


def _timing(horizon: Span) -> Timing:
    length, timing = span_of(horizon, "horizon"), Timing()
    if not 2 * timing.bin <= length <= _MAX_HORIZON:
        raise ValueError(
            f"horizon is {horizon!r}, not from {2 * timing.bin:g} s to 1 day; nothing was read."
        )
    return Timing(ahead=math.ceil(length / timing.bin))


def _row(answer: Answer) -> tuple[object, ...]:
    made, reading, past = answer.forecast, answer.reading, answer.past
    ends: list[object] = [moment(answer.at) if answer.is_over else None] * 3
    not_within = 0.0 if answer.is_over else None
    rates: tuple[float | None, ...] = (None, None, None)
    if made is not None:
        ends = [_moment(answer.at, span) for span in made.shown]
        not_within = made.not_within
        rates = (made.arrivals, made.completions, made.arrivals - made.completions)
    return (
        answer.topic,
        moment(answer.at),
        None if reading.depth is None else round(reading.depth),
        answer.level,
        *ends,
        not_within,
        *rates,
        reading.slots,
        len(past.ranks),
        past.covered,
        past.pinball,
        answer.note,
    )


def _moment(at: float, span: float) -> object:
    return moment(at + span) if math.isfinite(span) else None


def _notes(answer: Answer) -> list[str]:
    """Return the data behind the band, and the reasons why it is not narrower."""
    scored, notes = len(answer.past.ranks), []
    if answer.forecast is not None and answer.past.covered is not None:
        share = f"{answer.past.covered:.0%} of the last {counted(scored, 'band')} held the end"
        few = " (few: no more than chance)" if scored < _MIN_SCORED else ""
        notes.append(f"{share}; 80 % is meant{few}")
    elif answer.forecast is not None:
        notes.append("no earlier forecast of this cluster is scored yet: the band is untested")
    if answer.forecast is not None and not answer.reading.knows_hours:
        notes.append(
            "arrivals are expected to continue as in the last minutes: it takes a recording of "
            "2 days to know the daily pattern"
        )
    if answer.forecast is not None and answer.reading.slots is None:
        notes.append("how many tasks its workers can run at once is not known")
    if answer.log_problem is not None:
        notes.append(f"this forecast is not stored: {answer.log_problem}")
    return notes
