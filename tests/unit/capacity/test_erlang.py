"""Tests of Erlang's formulas, against published numbers and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tasktools.capacity import erlang


def exact_b(slots: int, load: Fraction) -> Fraction:
    terms = [load**k / math.factorial(k) for k in range(slots + 1)]
    return terms[-1] / sum(terms)


def exact_c(slots: int, load: Fraction) -> Fraction:
    blocked = exact_b(slots, load)
    return blocked / (1 - load / slots * (1 - blocked))


@pytest.mark.parametrize(
    ("slots", "load", "ln_b"),
    [
        # from Mathematica, in the tests of a public package for capacity planning
        (100, 120, -1.62826407041),
        (10_000, 12_000, -1.78927734649),
        (100, 20, -84.1661482002),
        (10_000, 200, -29325.7541713),
        (100, 10_000, -0.01004931575),
    ],
)
def test_erlang_b_of_mathematica(slots: int, load: float, ln_b: float) -> None:
    assert float(erlang.ln_erlang_b(slots, load)) == pytest.approx(ln_b, abs=1e-6)


@pytest.mark.parametrize(
    ("slots", "load", "ln_c"),
    [
        # from Mathematica, as above
        (100, 90, -1.52813224460),
        (10_000, 9_000, -56.8266885378),
        (100, 10, -143.375505741),
        (10_000, 100, -36157.2159266),
        # in that file these three are wrong; here they are from arithmetic of 60 digits
        (10_000, 5_000, -1936.302775),
        (10_000, 9_990, -0.1272179798),
        (100, 50, -21.84392783),
    ],
)
def test_erlang_c_of_mathematica(slots: int, load: float, ln_c: float) -> None:
    assert float(erlang.ln_erlang_c(slots, load)) == pytest.approx(ln_c, abs=1e-6)


@pytest.mark.parametrize(("slots", "load", "chance"), [(8, 3.87, 0.05), (10, 4.08, 0.01)])
def test_erlang_c_of_printed_tables(slots: int, load: float, chance: float) -> None:
    """A handbook of TETRA has the load by slots and chance to wait, to two decimals."""
    below, above = np.exp(erlang.ln_erlang_c(slots, np.array([load - 0.005, load + 0.005])))
    assert below <= chance <= above


def test_both_formulas_are_those_of_exact_fractions() -> None:
    for slots in (1, 2, 3, 7, 20, 60):
        for percent in range(5, 100, 10):
            load = Fraction(slots * percent, 100)
            b, c = (
                math.exp(float(formula(slots, float(load))))
                for formula in (erlang.ln_erlang_b, erlang.ln_erlang_c)
            )
            assert b == pytest.approx(float(exact_b(slots, load)), rel=1e-11)
            assert c == pytest.approx(float(exact_c(slots, load)), rel=1e-11)


def test_the_closed_forms_of_one_and_two_slots() -> None:
    for use in (0.1, 0.5, 0.9):
        assert np.exp(erlang.ln_erlang_c(1, use)) == pytest.approx(use)
        assert np.exp(erlang.ln_erlang_c(2, 2 * use)) == pytest.approx(2 * use**2 / (1 + use))
    assert np.exp(erlang.ln_erlang_c(3, 2.0)) == pytest.approx(4 / 9)


def test_the_quantile_of_the_wait_of_one_slot() -> None:
    """M/M/1: the use times exp(-(1 - use) t / E[S]) wait longer than t."""
    wait = erlang.wait_quantile(1, 0.8, 2.0, 0.95)
    assert 0.8 * math.exp(-0.2 * wait / 2.0) == pytest.approx(0.05)
    assert erlang.wait_quantile(30, 0.8, 2.0, 0.95) == 0
    assert erlang.wait_quantile(1, 1.0, 2.0, 0.95) == math.inf


def test_no_load_needs_a_slot_and_keeps_nobody_waiting() -> None:
    nothing = np.array([0.0, 0.0])
    assert erlang.late_share(1, nothing, np.array([1.0, 1.0]), 1.0, 30.0) == 0
    assert erlang.slots_needed(nothing, np.array([1.0, 1.0]), 1.0, 30.0, 0.95) == 1


def test_the_late_share_weighs_hours_by_their_tasks() -> None:
    loads, tasks = np.array([2.0, 9.0]), np.array([2.0, 9.0])
    apart = [erlang.late_share(8, loads[n : n + 1], tasks[n : n + 1], 10.0, 30.0) for n in (0, 1)]
    assert apart[1] == 1  # nine erlang are too much for eight slots
    both = erlang.late_share(8, loads, tasks, 10.0, 30.0)
    assert both == pytest.approx((2 * apart[0] + 9 * apart[1]) / 11)


def test_the_slots_needed_are_the_fewest() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        loads = rng.gamma(2.0, 4.0, 24)
        target = float(rng.uniform(1, 60))
        slots = erlang.slots_needed(loads, loads, 10.0, target, 0.95)
        assert erlang.late_share(slots, loads, loads, 10.0, target) <= 0.05
        assert slots == 1 or erlang.late_share(slots - 1, loads, loads, 10.0, target) > 0.05
