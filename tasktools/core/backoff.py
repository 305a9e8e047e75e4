"""Growing pauses between attempts of an operation that may fail for a while."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from *first* to *most* seconds.

    Each is shortened at random by up to a half, so that many clients do not try again at the same
    moment.

    >>> backoff = Backoff(0.25, 5.0)
    >>> 0.125 <= backoff.pause() <= 0.25 <= backoff.pause() <= 0.5
    True
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def pause(self) -> float:
        """Return the seconds to wait now."""
        longest, self._next = self._next, min(2 * self._next, self._most)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def reset(self) -> None:
        """Begin with the first pause again, since an attempt succeeded."""
        self._next = self._first
