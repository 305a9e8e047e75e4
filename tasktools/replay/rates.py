"""The choice of a replay's rate: the question, and the answer.

Answering takes a history and a model of the workers, from packages above this one, so the
composition root passes the function to `Cluster`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from tasktools.core.arguments import is_number
from tasktools.core.errors import InvalidPlan
from tasktools.core.plans import Planned
from tasktools.core.timespans import Span, seconds

AUTO: Final = "auto"
Rate = float | Literal["auto"]
"""Messages a second; or ``"auto"``: as many as the waits of live tasks allow."""


class RateQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A question: the highest rate for a replay at which live tasks do not wait longer."""

    topic: str
    messages: int
    wait_below: float
    """Seconds that the p95 wait of live tasks must stay below."""
    at: float
    """The begin of the replay, in seconds since the epoch."""
    backlog: int = 0
    """Messages that wait already."""


class ChosenRate(msgspec.Struct, frozen=True):
    """A rate (messages a second), and why it was chosen; `None`: the caller set it."""

    rate: float
    why: str | None = None


def checked_rate(rate: Rate | None) -> float | None:
    """Return *rate* as a float, `None` for ``"auto"``; raises `InvalidPlan` unless above 0."""
    if rate is None or rate == AUTO:
        return None
    if not (is_number(rate) and rate > 0):
        raise InvalidPlan(
            f"rate is {rate!r}; it is in messages a second, and above 0, or 'auto'; nothing was "
            "done."
        )
    return float(rate)  # as JSON gives it back


def checked_wait(rate: Rate | None, keep_wait_below: Span | None) -> float | None:
    """Return the seconds that waits must stay below; `None` if no rate is to be chosen.

    Raises `InvalidPlan` if only one of the two arguments asks for a choice.
    """
    if rate != AUTO:
        if keep_wait_below is not None:
            raise InvalidPlan(
                "keep_wait_below chooses a rate, and the rate is given; nothing was done. Give "
                "rate='auto'."
            )
        return None
    if keep_wait_below is None:
        raise InvalidPlan(
            "rate='auto' needs the wait that live tasks may have; nothing was done. Give it, as "
            "keep_wait_below='30s'."
        )
    try:
        return seconds(keep_wait_below)
    except ValueError as error:
        raise InvalidPlan(f"keep_wait_below: {error} Nothing was done.") from error


def question_of(rows: Iterable[Planned], wait_below: float, at: float) -> RateQuestion:
    """Return the question of a plan; raises `InvalidPlan` unless all go to one queue."""
    sent = [row.to for row in rows if row.skipped is None and row.to is not None]
    targets = sorted(set(sent))
    if len(targets) != 1:
        listed = ", ".join(targets[:5]) or "none"
        raise InvalidPlan(
            f"rate='auto' is for messages that go to one queue, and these go to {len(targets)} "
            f"({listed}); nothing was done. Make one plan for each."
        )
    return RateQuestion(topic=targets[0], messages=len(sent), wait_below=wait_below, at=at)
