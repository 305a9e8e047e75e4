"""Tests of two-by-two tables, against exact fractions and published examples."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from tasktools.diagnosis import exact_tests
from tasktools.diagnosis.exact_tests import HypergeometricTail


def exact(hits: int, rows: int, failed: int, total: int) -> float:
    """Return ln of the chance of *hits* or more, by fractions."""
    ways = sum(
        math.comb(failed, k) * math.comb(total - failed, rows - k)
        for k in range(hits, min(rows, failed) + 1)
    )
    part = Fraction(ways, math.comb(total, rows))
    return math.log(part.numerator) - math.log(part.denominator)


def test_the_tail_is_that_of_exact_fractions() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        total = int(rng.integers(2, 600))
        failed, rows = (int(n) for n in rng.integers(1, total, 2))
        hits = int(rng.integers(max(0, rows + failed - total), min(rows, failed) + 1))
        table = np.array([hits]), np.array([rows])
        (ln_p,) = HypergeometricTail(total).ln_p(*table, failed)
        if hits * total <= rows * failed:
            assert ln_p == 0  # not more than expected: never shown
        else:
            assert ln_p == pytest.approx(exact(hits, rows, failed, total), abs=1e-9)
        (least,) = HypergeometricTail(total).ln_least(table[1], failed)
        top = min(rows, failed)
        assert least == pytest.approx(exact(top, rows, failed, total), abs=1e-9)


def test_a_tail_within_a_part_of_the_rows() -> None:
    (ln_p,) = HypergeometricTail(1_000).ln_p(np.array([9]), np.array([20]), 30, 200)
    assert ln_p == pytest.approx(exact(9, 20, 30, 200), abs=1e-9)


def test_the_lady_tasting_tea() -> None:
    """Fisher 1935: all four cups right have a chance of 1 in 70, three of four 17 in 70."""
    tail = HypergeometricTail(8)
    ln_p = tail.ln_p(np.array([4, 3]), np.array([4, 4]), 4)
    assert np.exp(ln_p).tolist() == pytest.approx([1 / 70, 17 / 70])


def test_a_tail_far_below_the_smallest_number_is_finite() -> None:
    (ln_p,) = HypergeometricTail(100_000).ln_p(np.array([3_000]), np.array([3_000]), 3_000)
    assert -13_600 < ln_p < -13_400


def test_values_that_cannot_pass_are_no_tests() -> None:
    possible = np.log([1e-9, 1e-9, 1e-9])
    hopeless = np.log(np.full(1_000, 0.3))
    assert exact_tests.tarone(np.concatenate([possible, hopeless]), 0.01) == 3
    assert exact_tests.tarone(possible, 0.01) == 3
    assert exact_tests.tarone(np.array([]), 0.01) == 1


def test_tarone_takes_the_least_factor() -> None:
    # At 0.01 / 1 two can pass, at 0.01 / 2 only one of them: the factor is 2.
    assert exact_tests.tarone(np.log([0.001, 0.008]), 0.01) == 2
    assert exact_tests.tarone(np.log([0.001, 0.02]), 0.01) == 1


def test_g2_is_twice_the_likelihood_ratio_with_a_sign() -> None:
    """Agresti's example of gender and party, scaled: by hand."""
    hits, rows, failed, total = 30, 100, 50, 400
    table = np.array([[30, 70], [20, 280]])
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / total
    by_hand = 2 * float((table * np.log(table / expected)).sum())
    (g2,) = exact_tests.signed_g2(np.array([hits]), np.array([rows]), failed, total)
    assert g2 == pytest.approx(by_hand)
    (less,) = exact_tests.signed_g2(np.array([0]), np.array([rows]), failed, total)
    assert less < 0


def test_the_risk_ratio_has_an_interval_even_with_an_empty_cell() -> None:
    ratio, low, high = exact_tests.risk_ratio(10, 20, 10, 100)
    assert ratio == pytest.approx((10.5 / 21) / (0.5 / 81))
    assert 1 < low < ratio < high < math.inf


def test_the_interval_of_a_difference_is_that_of_newcombe() -> None:
    """Newcombe 1998, table II, example (a): 56/70 against 48/80, method 10."""
    difference, low, high = exact_tests.risk_difference(56, 70, 104, 150)
    assert difference == pytest.approx(0.2)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_mantel_haenszel_of_strata() -> None:
    """Two strata in which the value has nothing to do with failing, though it has in their sum."""
    rows, total = np.array([80, 20]), np.array([100, 100])
    failed = np.array([50, 5])
    hits = np.array([40, 1])
    assert exact_tests.mantel_haenszel(hits, rows, failed, total) == 0
    assert exact_tests.mantel_haenszel(np.array([48, 4]), rows, failed, total) < math.log(1e-4)
    assert exact_tests.mantel_haenszel(*(np.array([n]) for n in (1, 1, 1, 1))) == 0


def test_a_normal_tail_far_out_goes_on() -> None:
    assert exact_tests.ln_normal_tail(1.6448536269514722) == pytest.approx(math.log(0.05))
    near, far = exact_tests.ln_normal_tail(37.0), exact_tests.ln_normal_tail(39.0)
    assert far == pytest.approx(near + (37**2 - 39**2) / 2, rel=1e-3)
