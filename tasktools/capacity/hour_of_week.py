"""Hours of the week, in UTC: 0 is the first hour of Monday."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from tasktools.capacity.demand import FloatArray

HOUR: Final = 3600.0
DAY: Final = 86_400.0
HOURS_OF_WEEK: Final = 168
_FIRST_MONDAY: Final = 4 * DAY  # 1970-01-05

Whole = npt.NDArray[np.int64]


def hour_of_week(times: FloatArray) -> Whole:
    """Return the hour of the week of *times* (seconds since the epoch), 0 to 167.

    >>> hour_of_week(np.array([4 * DAY, 4 * DAY - 1])).tolist()
    [0, 167]
    """
    return np.asarray((times - _FIRST_MONDAY) // HOUR, np.int64) % HOURS_OF_WEEK


def is_weekend(times: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether *times* (seconds since the epoch) are on a Saturday or a Sunday."""
    return np.asarray(hour_of_week(times) >= 5 * 24)
