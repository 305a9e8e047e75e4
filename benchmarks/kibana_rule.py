"""Kibana's correlations of failed transactions, written anew from what they are described to do.

Each field is asked for its `significant_terms` with `p_value`; what is below 0.02 is shown, the
most significant first, whatever the number of fields and values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tasktools.diagnosis.field_values import FieldReader
from tasktools.diagnosis.task_rows import one_row_a_task

_THRESHOLD = 0.02
_MIN_DOCUMENTS = 3  # failed ones, by default
_TERMS = 10  # of a field, by default


def significant(failed: pd.DataFrame, succeeded: pd.DataFrame) -> list[str]:
    """Return the values that it shows, as `field=value`, the most significant first."""
    tasks = one_row_a_task(failed, succeeded, None)
    reader = FieldReader(len(tasks.is_failed), lambda _path: True)
    shown: list[tuple[float, str]] = []
    for name, column in tasks.columns.items():
        for field in reader.read(name, column):
            rows = np.bincount(field.codes, minlength=len(field.labels)).tolist()
            hits = np.bincount(field.codes[tasks.is_failed], minlength=len(rows)).tolist()
            counts = int(tasks.is_failed.sum()), len(tasks.is_failed)
            scored = [
                (_likelihood_ratio(hit, row, *counts), f"{field.name}={label}")
                for label, hit, row in zip(field.labels, hits, rows, strict=True)
                if hit >= _MIN_DOCUMENTS
            ]
            shown += sorted(scored, reverse=True)[:_TERMS]
    return [name for ratio, name in sorted(shown, reverse=True) if _p(ratio) < _THRESHOLD]


def _p(ratio: float) -> float:
    """Return the chance of twice the ratio by chi-squared with one degree of freedom."""
    return math.erfc(math.sqrt(ratio))


def _likelihood_ratio(hits: int, rows: int, failed: int, total: int) -> float:
    """Return the logarithm of the ratio; both shares are made larger by 5 % of the rows, and the
    second once more by 5 % of itself, so that small differences are none."""
    others, other_hits = total - failed, rows - hits
    if hits * others <= other_hits * failed:
        return 0.0
    slack, other_slack = _slack(failed), _slack(others)
    hits, failed = hits + slack, failed + slack
    other_hits, others = other_hits + other_slack, others + other_slack
    other_hits = int(min(1.05 * other_hits, hits / failed * others) + 0.5)
    share = (hits + other_hits) / (failed + others)
    ratio = sum(_gain(*counts, share) for counts in ((hits, failed), (other_hits, others)))
    return max(ratio, 0.0)


def _gain(hits: int, rows: int, share: float) -> float:
    """Return how much likelier *hits* of *rows* are by their own share than by *share*."""
    own = hits / rows
    return sum(_terms(hits, own, share)) + sum(_terms(rows - hits, 1 - own, 1 - share))


def _terms(count: int, own: float, share: float) -> Iterator[float]:
    if count:
        yield count * math.log(own / share)


def _slack(count: int) -> int:
    return max(int(0.05 * count + 0.5), 1)
