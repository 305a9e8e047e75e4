"""The question that is asked of a demand: the target, and changes of traffic or service times to
assume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tasktools.cluster.cluster import Cluster
from tasktools.core.arguments import is_number
from tasktools.core.timespans import Span, seconds

_NOTHING_DONE = "nothing was computed."
_MAX_FACTOR: Final = 100
"""The largest factor: a recording says nothing of many more tasks than it has, and they fill the
memory."""


@dataclass(frozen=True, slots=True)
class Question:
    """A target for waits, utilisation and backlogs, and factors of traffic and service time."""

    wait_below: float | None
    """Seconds that tasks may wait; `None`: no target."""
    quantile: float
    utilisation_below: float | None
    clear_within: float | None
    """Seconds."""
    traffic: float
    service: float


def question_of(
    *,
    wait_below: Span | None,
    quantile: float,
    traffic: float,
    service: float,
    utilisation_below: float | None = None,
    clear_within: Span | None = None,
) -> Question:
    """Return the question; raises `ValueError` where it makes no sense."""
    if not (is_number(quantile) and 0 < quantile < 1):
        raise ValueError(f"quantile is {quantile!r}, not between 0 and 1; {_NOTHING_DONE}")
    if utilisation_below is not None and not (
        is_number(utilisation_below) and 0 < utilisation_below <= 1
    ):
        raise ValueError(
            f"utilisation_below is {utilisation_below!r}, not above 0 and up to 1; {_NOTHING_DONE}"
        )
    for name, factor in (("traffic", traffic), ("service", service)):
        if not (is_number(factor) and 0 < factor <= _MAX_FACTOR):
            raise ValueError(
                f"{name} is {factor!r}, not a factor above 0 and up to {_MAX_FACTOR:,}; "
                f"{_NOTHING_DONE}"
            )
    if wait_below is None and utilisation_below is None and clear_within is None:
        raise ValueError(
            "One of wait_below, utilisation_below and clear_within says what is enough; "
            f"{_NOTHING_DONE}"
        )
    return Question(
        None if wait_below is None else span_of(wait_below, "wait_below"),
        quantile,
        utilisation_below,
        None if clear_within is None else span_of(clear_within, "clear_within"),
        traffic,
        service,
    )


def span_of(span: Span, name: str) -> float:
    """Return the argument *name* in seconds; raises `ValueError` unless it is a span."""
    try:
        return seconds(span)
    except ValueError as error:
        raise ValueError(f"{name}: {error} Nothing was computed.") from error


def check_cluster(history: object) -> None:
    """Raise `ValueError` unless *history* is a cluster, live or recorded."""
    if not isinstance(history, Cluster):
        raise ValueError(  # noqa: TRY004 - whatever cannot be used is one error
            f"This is about a cluster, and got {type(history).__name__}; {_NOTHING_DONE} Open a "
            'recording by tt.connect("sqlite:///ops.db").'
        )
