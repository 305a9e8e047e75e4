"""Exact and stratified tests of a two-by-two table: failed or not, with a value or without it.

Everywhere *hits* of the *rows* with the value failed, and *failed* of *total* rows altogether. All
tests are one-sided: they ask whether the value has more failures than chance gives it.

Sources: Tarone 1990, A modified Bonferroni method for discrete data; Katz et al. 1978, Obtaining
confidence intervals for the risk ratio in cohort studies; Newcombe 1998, Interval estimation for
the difference between independent proportions (method 10); Mantel & Haenszel 1959, Statistical
aspects of the analysis of data from retrospective studies of disease.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

_Z: Final = 1.959963984540054  # standard deviations of a two-sided interval of 95 %
_NEGLIGIBLE: Final = 1e-17  # share of the sum from which on terms of a tail are not added
_HALF: Final = 0.5  # added to each cell, so that no ratio is infinite


class HypergeometricTail:
    """Chances that *hits* or more of *rows* are among *failed* of *total*, as logarithms."""

    def __init__(self, total: int) -> None:
        self._total = total
        logs = np.log(np.arange(1, total + 1, dtype=np.float64))
        self._ln_factorial = np.concatenate([[0.0], np.cumsum(logs)])

    def ln_least(self, rows: Counts, failed: int) -> Floats:
        """Return the least possible ln p of values with so many *rows*."""
        return self._ln_chance(np.minimum(rows, failed), rows, failed, self._total)

    def ln_p(
        self, hits: Counts, rows: Counts, failed: int | Counts, total: int | Counts | None = None
    ) -> Floats:
        """Return ln p of each table. *total* replaces the number of all rows, for tests within a
        part of them."""
        total = self._total if total is None else total
        first = self._ln_chance(hits, rows, failed, total)
        last = np.minimum(rows, failed)
        term = np.ones(hits.shape)
        tail = np.ones(hits.shape)
        # Where the value has no more failures than expected, the tail is long and p is large.
        is_open = (hits < last) & (hits * np.float64(total) > rows * np.float64(failed))
        at = hits.astype(np.float64)
        rest = np.asarray(total - rows - failed, dtype=np.float64)
        while is_open.any():
            ratio = (failed - at) * (rows - at) / ((at + 1) * (rest + at + 1))
            term = np.where(is_open, term * ratio, 0.0)
            tail += term
            at += 1
            is_open &= (at < last) & (term > _NEGLIGIBLE * tail)
        expected = hits * np.float64(total) <= rows * np.float64(failed)
        return np.where(expected, 0.0, np.minimum(first + np.log(tail), 0.0))

    def _ln_chance(
        self, hits: Counts, rows: Counts, failed: int | Counts, total: int | Counts
    ) -> Floats:
        """Return ln of the chance of exactly *hits*."""

        def ln_choose(n: Any, k: Any) -> Any:
            return self._ln_factorial[n] - self._ln_factorial[k] - self._ln_factorial[n - k]

        answer: Floats = (
            ln_choose(failed, hits)
            + ln_choose(total - failed, rows - hits)
            - ln_choose(total, rows)
        )
        return answer


def tarone(ln_least: Floats, level: float) -> int:
    """Return the factor that p is multiplied by: the number of values that could be significant at
    all.

    A value with so few rows that even its least possible p (*ln_least*) is too large is no test.
    """
    testable = np.sort(ln_least)
    if not len(testable):
        return 1
    factors = np.arange(1, len(testable) + 1)
    passing = np.searchsorted(testable, math.log(level) - np.log(factors), side="right")
    return int(factors[np.argmax(passing <= factors)])


def signed_g2(hits: Counts, rows: Counts, failed: int, total: int) -> Floats:
    """Return twice the log-likelihood ratio of each table; negative if the value fails less."""
    observed = np.array([hits, rows - hits, failed - hits, total - failed - rows + hits])
    row_sums = np.array([rows, rows, total - rows, total - rows], dtype=np.float64)
    column_sums = np.array([[failed], [total - failed], [failed], [total - failed]])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = observed * np.log(observed * total / (row_sums * column_sums))
    g2 = 2 * np.nansum(np.where(observed > 0, terms, 0.0), axis=0)
    answer: Floats = np.where(hits * np.float64(total) >= rows * np.float64(failed), g2, -g2)
    return answer


def risk_ratio(hits: int, rows: int, failed: int, total: int) -> tuple[float, float, float]:
    """Return how many times as often rows with the value fail as others, and its 95 % interval."""
    a, b, c, d = _cells(hits, rows, failed, total)
    ratio = (a / (a + b)) / (c / (c + d))
    width = math.exp(_Z * math.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    return ratio, ratio / width, ratio * width


def odds_ratio(hits: int, rows: int, failed: int, total: int) -> float:
    """Return the odds ratio; it does not depend on how many of the succeeded rows were sampled."""
    a, b, c, d = _cells(hits, rows, failed, total)
    return a * d / (b * c)


def risk_difference(hits: int, rows: int, failed: int, total: int) -> tuple[float, float, float]:
    """Return by how much the share of failures is higher with the value, and its 95 % interval."""
    share, low, high = _wilson(hits, rows)
    other, other_low, other_high = _wilson(failed - hits, total - rows)
    difference = share - other
    return (
        difference,
        difference - math.hypot(share - low, other_high - other),
        difference + math.hypot(high - share, other - other_low),
    )


def ln_normal_tail(z: float) -> float:
    """Return ln of the chance that a standard normal value exceeds *z*."""
    p = math.erfc(z / math.sqrt(2)) / 2
    if p > 0:
        return math.log(p)
    # Abramowitz & Stegun 26.2.12: far out, where p is no number any more.
    return -z * z / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log1p(-1 / (z * z))


def mantel_haenszel(hits: Counts, rows: Counts, failed: Counts, total: Counts) -> float:
    """Return ln p of a value over strata; each argument has a number for each stratum."""
    tables = total > 1
    a, n, f, t = (values[tables].astype(np.float64) for values in (hits, rows, failed, total))
    excess = float(np.sum(a - n * f / t))
    variance = float(np.sum(n * (t - n) * f * (t - f) / (t * t * (t - 1))))
    if variance <= 0 or excess <= _HALF:
        return 0.0
    return ln_normal_tail((excess - _HALF) / math.sqrt(variance))


def _cells(hits: int, rows: int, failed: int, total: int) -> tuple[float, float, float, float]:
    return (
        hits + _HALF,
        rows - hits + _HALF,
        failed - hits + _HALF,
        total - rows - failed + hits + _HALF,
    )


def _wilson(hits: int, rows: int) -> tuple[float, float, float]:
    """Return a share and its interval of 95 % by Wilson; 0 to 1 if there are no rows."""
    if rows == 0:
        return 0.0, 0.0, 1.0
    share = hits / rows
    centre = (share + _Z * _Z / (2 * rows)) / (1 + _Z * _Z / rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + (_Z / (2 * rows)) ** 2)
    half /= 1 + _Z * _Z / rows
    return share, max(centre - half, 0.0), min(centre + half, 1.0)
