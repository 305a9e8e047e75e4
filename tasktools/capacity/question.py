"""The question that is asked of a demand: the target, and what if traffic or tasks change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasktools.core.timespans import Span, seconds

_NOTHING_DONE = "nothing was computed."


@dataclass(frozen=True, slots=True)
class Question:
    """A target for waits, utilisation and backlogs, and factors of traffic and service time."""

    wait_below: float | None
    """Seconds; `None`: waits may be as long as they are."""
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
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile!r}, not between 0 and 1; {_NOTHING_DONE}")
    if utilisation_below is not None and not 0 < utilisation_below <= 1:
        raise ValueError(
            f"utilisation_below is {utilisation_below!r}, not above 0 and up to 1; {_NOTHING_DONE}"
        )
    for name, factor in (("traffic", traffic), ("service", service)):
        if not (factor > 0 and math.isfinite(factor)):
            raise ValueError(f"{name} is {factor!r}, not a factor above 0; {_NOTHING_DONE}")
    if wait_below is None and utilisation_below is None and clear_within is None:
        raise ValueError(
            "One of wait_below, utilisation_below and clear_within says what is enough; "
            f"{_NOTHING_DONE}"
        )
    return Question(
        None if wait_below is None else seconds(wait_below),
        quantile,
        utilisation_below,
        None if clear_within is None else seconds(clear_within),
        traffic,
        service,
    )
