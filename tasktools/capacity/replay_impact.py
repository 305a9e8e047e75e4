"""`tt.replay_impact`: what a replay does to the waits of live tasks, and the choice of its rate."""

from __future__ import annotations

import math
from typing import Any, Final

import pandas as pd

from tasktools.capacity.like_hours import DAY, MAX_MESSAGES, LikeHours
from tasktools.capacity.question import check_cluster, span_of
from tasktools.capacity.replay_history import ReplayHistory
from tasktools.capacity.replay_rates import (
    LOWEST_RATE,
    Impact,
    fastest_useful,
    highest_rate,
    impact_of,
)
from tasktools.cluster.cluster import Cluster
from tasktools.core.arguments import is_count, is_number
from tasktools.core.clock import moment
from tasktools.core.errors import InvalidPlan, NotRecorded
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.capacity_schemas import REPLAY_IMPACT
from tasktools.core.plurals import counted
from tasktools.core.timespans import Span, in_words
from tasktools.replay.rates import ChosenRate, RateQuestion

MIN_DAYS: Final = 5
"""Days with an hour like this one, below which the band is a guess."""
_MIN_RATE: Final = 1e-6


def replay_impact(
    history: Cluster,
    topic: str,
    *,
    messages: int,
    rate: float,
    wait_below: Span | None = None,
) -> pd.DataFrame:
    """Return how long live tasks of a topic wait while messages are replayed into it.

    The replay is simulated into the recorded traffic of up to 7 days before, around the time of day
    at which the recording ends (or of the moment that `Cluster.at` shows), with the workers that
    were there last. Topics that share workers are simulated together.

    Parameters
    ----------
    history
        A recording, of 5 days at least.
    topic
        The topic that the messages are sent to.
    messages
        The number of messages.
    rate
        Messages a second.
    wait_below
        The longest wait that live tasks should have, for the column `late`: seconds, or a span as
        ``"30s"``.

    Returns
    -------
    pandas.DataFrame
        One row (schema `REPLAY_IMPACT`); waits are missing where no hour like this was recorded.

    Raises
    ------
    NotRecorded
        No arrival, no end of a task or no worker of *topic* was recorded.
    ValueError
        An argument makes no sense, as *messages* that are not from 1 to 200,000; nothing was
        computed.

    Examples
    --------
    >>> import os, tempfile
    >>> import tasktools as tt
    >>> from tasktools.demo import write_week
    >>> path = os.path.join(tempfile.mkdtemp(), "week.db")
    >>> write_week(path)
    >>> with tt.connect(f"sqlite:///{path}") as history:
    ...     impact = tt.replay_impact(history, "orders", messages=50, rate=0.05)
    >>> impact[["rate", "lasts", "days"]]
    DEMO replay impact: 1 row; sqlite:... layout fp,
      RabbitMQ 4.3.6, read_only
         rate        lasts  days
    0  0.05/s  16 min 40 s     7
    note: recorded from amqp://shop, 2026-11-16 00:00:00 UTC to 2026-11-23 00:00:00
      UTC, with 1 gap: 2026-11-18 14:06:00 UTC to 2026-11-18 15:24:00 UTC (all: no
      recorder was running); this is as it was at 2026-11-23 00:00:00 UTC

    References
    ----------
    Kiefer & Wolfowitz 1955, *On the theory of queues with many servers*.

    """
    check_cluster(history)
    if not isinstance(topic, str):
        raise ValueError(  # noqa: TRY004 - whatever cannot be used is one error
            f"topic is {topic!r}, not the name of a topic; nothing was computed."
        )
    if not is_count(messages, MAX_MESSAGES):
        raise ValueError(
            f"messages is {messages!r}, not a whole number from 1 to {MAX_MESSAGES:,}; nothing was "
            "computed."
        )
    if not (is_number(rate) and rate >= _MIN_RATE):
        raise ValueError(
            f"rate is {rate!r}, not messages a second, of which there is one in "
            f"{in_words(1 / _MIN_RATE)} at least; nothing was computed."
        )
    limit = None if wait_below is None else span_of(wait_below, "wait_below")
    at = history.clock.time()
    hours = ReplayHistory.read(history, at).hours(topic, at=at, messages=messages)
    impact = impact_of(hours, rate, wait_below=limit)
    waits: list[Any] = [None] * 5
    if impact is not None:
        waits = [impact.wait_without, impact.wait, impact.low, impact.high, impact.late]
    row = [topic, messages, rate, messages / rate, *waits, hours.days, _note(hours, impact)]
    return history.labelled(frame_from(REPLAY_IMPACT, [row]))


def _note(hours: LikeHours, impact: Impact | None) -> str | None:
    if not hours.windows:
        return "no hour like this one was recorded"
    if impact is None:
        return "no task arrived in the hours like this one"
    if hours.days < MIN_DAYS:
        return f"few like hours: {counted(hours.days, 'day')}; the band is too narrow"
    return None


def choose_rate(question: RateQuestion, history: Cluster) -> ChosenRate:
    """Return the highest rate of a replay that keeps the waits of live tasks.

    Raises `InvalidPlan` if too little was recorded, or no rate keeps them.
    """
    limit, topic = question.wait_below, question.topic
    if question.messages > MAX_MESSAGES:
        raise InvalidPlan(
            f"No rate can be chosen for {question.messages:,} messages: up to {MAX_MESSAGES:,} are "
            "simulated; nothing was done. Give a rate, as rate=0.5, or plan a part of them."
        )
    try:
        recorded = ReplayHistory.read(history, question.at)
    except ValueError as error:
        raise InvalidPlan(f"No rate can be chosen. {error}") from error
    demand = recorded.demand
    try:
        hours = recorded.hours(
            topic,
            at=question.at,
            messages=question.messages,
            backlog=question.backlog,
        )
    except NotRecorded as error:
        raise InvalidPlan(f"No rate can be chosen. {error}") from error
    if hours.days < MIN_DAYS:
        raise InvalidPlan(
            f"No rate can be chosen: hours like this one were recorded on {hours.days} of the last "
            f"7 days, and it takes {MIN_DAYS}; nothing was done. Give a rate, as rate=0.5, or a "
            "history that is longer."
        )
    rate = highest_rate(hours, limit, most=fastest_useful(demand, hours))
    if rate is None:
        raise InvalidPlan(_why_none(hours, question))
    rate = _rounded_down(rate)
    impact = impact_of(hours, rate)
    why = _why(hours, impact, limit)
    if question.at - demand.until > DAY:
        why += f"; recorded up to {moment(demand.until):%Y-%m-%d}"
    return ChosenRate(rate, why)


def _why_none(hours: LikeHours, question: RateQuestion) -> str:
    """Return why no rate keeps the wait."""
    lowest = impact_of(hours, LOWEST_RATE)
    text = f"No rate keeps the p95 wait of live tasks of {hours.topic!r} below "
    text += in_words(question.wait_below)
    if lowest is not None:
        text += (
            f": at {LOWEST_RATE:g} a second it would be up to {in_words(lowest.high)} at this hour"
        )
        text += f", and {in_words(lowest.wait_without)} without"
    if question.backlog:
        text += f"; {counted(question.backlog, 'message')} wait already"
    return (
        f"{text}; nothing was done. Replay at a quieter hour, with more workers, or with a higher "
        "keep_wait_below."
    )


def _why(hours: LikeHours, impact: Impact | None, limit: float) -> str:
    if impact is None:
        return f"no live task came in the hours like this one, of {hours.days} days"
    return (
        f"it keeps the p95 wait of live tasks below {in_words(limit)}: {_from_to(impact)} in hours "
        f"like this one of {hours.days} days (80 %), {in_words(impact.wait_without)} without it"
    )


def _from_to(impact: Impact) -> str:
    return f"{in_words(impact.low)} to {in_words(impact.high)}"


def _rounded_down(rate: float) -> float:
    """Return *rate* with two digits, not above it.

    >>> _rounded_down(0.0687), _rounded_down(14.99)
    (0.068, 14.0)
    """
    step = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return round(math.floor(rate / step + 1e-9) * step, 12)
