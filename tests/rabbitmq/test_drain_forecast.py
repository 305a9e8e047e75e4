"""A drain on a real node is forecast from what a live cluster tells of it."""

from __future__ import annotations

import numpy as np

from tests.capacity.real_drains import TIMING, Conditions, drain
from tests.vhosts import Vhost


def test_the_end_of_a_real_drain_is_foreseen(vhost: Vhost) -> None:
    """Its 80 % band is not asked for: one drain in five is outside (`make capacity`)."""
    conditions = Conditions(service=0.2, spread=0.3, slots=(3, 3), load=0.4, lasts=8.0)
    rng = np.random.default_rng(7)
    seen = drain(vhost.dsn, vhost.management_url, conditions, rng, observed=5.0)
    made = seen.answer.forecast
    assert made is not None, seen.answer.note
    assert made.slots == 6
    assert made.arrivals < made.completions
    assert made.not_within < 0.5
    assert 0 < made.earliest < made.expected < TIMING.horizon
    assert made.expected / 3 < seen.truth < 3 * made.expected
