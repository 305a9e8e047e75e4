"""The need for slots: the least number with few enough late tasks, as a real number with limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tasktools.capacity.share_interval import Share

MAX_UNITS: Final = 100_000
_LEAST_SHARE: Final = 1e-12
_ALL_UP_TO: Final = 16
_PER_OCTAVE: Final = 8
"""Coarse numbers of units: all up to 16, then so many in each doubling."""


class OutOfReach(ValueError):
    """No number of slots or workers that was tried is enough."""


@dataclass(frozen=True, slots=True)
class Need:
    """The units that are needed: whole ones, and the real number with its interval."""

    units: int
    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """The width of the interval, in units."""
        return self.high - self.low


class LateShares:
    """Late shares by number of units (slots or workers), each simulated once.

    With *is_coarse* only some numbers above 16 are simulated, a 16th apart at most; between them
    the logarithm of the share is taken to be a line.
    """

    def __init__(
        self, simulate: Callable[[int], Share], *, most: int = MAX_UNITS, is_coarse: bool = False
    ) -> None:
        self._simulate = simulate
        self._most = most
        self._is_coarse = is_coarse
        self._shares: dict[int, Share] = {}

    def at(self, units: int) -> Share:
        """Return the late share with *units*; without any, all are late."""
        if units < 1:
            return Share(1.0, 1.0, 1.0)
        if units not in self._shares:
            if units > self._most:
                raise OutOfReach(f"More than {self._most:,} are not tried.")
            self._shares[units] = self._simulate(units)
        return self._shares[units]

    def least(self, guess: int, quantile: float) -> int:
        """Return the least units with which at most 1 - *quantile* are late."""
        return math.ceil(self._crossing(0, self._place(guess), 1 - quantile)[1])

    def need(self, guess: int, quantile: float) -> Need:
        """Return the need; *guess* is tried first. Its upper limit may be infinite.

        Raises `OutOfReach` where no number that may be tried is enough.
        """
        target = 1 - quantile
        place, value = self._crossing(0, self._place(guess), target)
        _, low = self._crossing(1, place, target)
        try:
            _, high = self._crossing(2, place, target)
        except OutOfReach:  # too few tasks: even without a late one the share may be large
            high = math.inf
        return Need(math.ceil(value), value, min(low, value), max(high, value))

    def _number(self, place: int) -> int:
        """Return the number of units at a position in the list of numbers to simulate."""
        if not self._is_coarse or place <= _ALL_UP_TO:
            return place
        octave, rest = divmod(place - _ALL_UP_TO, _PER_OCTAVE)
        return (_ALL_UP_TO + rest * _ALL_UP_TO // _PER_OCTAVE) << octave

    def _place(self, units: int) -> int:
        place = 1
        while self._number(place) < min(units, self._most):
            place += 1
        return place

    def _crossing(self, part: int, guess: int, target: float) -> tuple[int, float]:
        """Return the first position at which the late share is at most *target*, and the
        interpolated number of units there. *part* chooses the share's value (0), or its lower (1)
        or upper (2) limit."""
        place = self._least(part, guess, target)
        before, after = self._number(place - 1), self._number(place)
        above, below = (
            math.log(max(self.at(number)[part], _LEAST_SHARE)) for number in (before, after)
        )
        if above <= below:
            return place, float(after)
        share = min(max((above - math.log(target)) / (above - below), 0.0), 1.0)
        return place, before + share * (after - before)

    def _step(self, part: int, before: int, now: int, target: float) -> int:
        """Return the step to the next position: just beyond the point where the line through both
        shares (as logarithms) meets *target*."""
        above, below = (
            math.log(max(self.at(self._number(place))[part], _LEAST_SHARE))
            for place in (before, now)
        )
        slope = (above - below) / (now - before)
        twice = 2 * (now - before)
        if slope <= 0:
            return twice
        return min(max(math.ceil((below - math.log(target)) / slope), 1), 4 * twice)

    def _least(self, part: int, guess: int, target: float) -> int:
        """Return the first position that meets the target: search from *guess* in doubling steps,
        then by bisection."""

        def is_enough(place: int) -> bool:
            return self.at(self._number(place))[part] <= target

        enough, step = guess, 1
        if is_enough(guess):
            too_few = guess - 1
            while too_few > 0 and is_enough(too_few):
                enough, step = too_few, 2 * step
                too_few = max(enough - step, 0)
        else:
            too_few = guess
            while not is_enough(enough := too_few + step):
                step = self._step(part, too_few, enough, target)
                too_few = enough
        while enough - too_few > 1:
            middle = (enough + too_few) // 2
            if is_enough(middle):
                enough = middle
            else:
                too_few = middle
        return enough
