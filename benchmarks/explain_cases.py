"""Made-up tasks with known causes of failure, for `tt.explain`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Cause = Callable[[pd.DataFrame], Any]

_START = pd.Timestamp("2026-11-23T00:00Z")
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Case:
    """A cause: its name as `field=value`, and which tasks it makes fail."""

    name: str
    cause: Cause

    @property
    def parts(self) -> set[str]:
        """The values that it is made of."""
        return set(self.name.split(" & "))


def tasks(rng: np.random.Generator, count: int, *, customers: int = 400) -> pd.DataFrame:
    """Return *count* tasks of 20 fields, as `Cluster.tasks` has them: nested, ids, missing."""

    def pick(values: list[Any], weights: list[float] | None = None) -> np.ndarray[Any, Any]:
        chances = None if weights is None else np.array(weights) / sum(weights)
        return np.array(values, dtype=object)[rng.choice(len(values), count, p=chances)]

    def share(part: float) -> Mask:
        return rng.random(count) < part

    worker = rng.choice(20, count)
    host = np.array([f"host-{n // 4}" for n in range(20)], dtype=object)[worker]
    topic = rng.choice(5, count, p=[0.4, 0.25, 0.15, 0.12, 0.08])
    name = topic * 3 + rng.choice(3, count)
    # A few customers have most tasks, and most customers few.
    weights = 1 / np.arange(5, customers + 5)
    customer = rng.choice(customers, count, p=weights / weights.sum())
    started = _START + pd.to_timedelta(rng.integers(0, _WEEK, count), unit="s")
    size = np.rint(rng.lognormal(6, 1, count)).astype(int)
    parts = {
        "customer": [f"c-{n:04}" for n in customer],
        "order_id": [f"o-{n:x}" for n in rng.integers(0, 2**60, count)],
        "mode": pick(["fast", "safe", "dry"], [6, 3, 1]),
        "country": pick(["de", "fr", "es", "it", "pl", "us"], [8, 5, 4, 3, 2, 2]),
        "currency": pick(["eur", "usd", "pln"], [8, 2, 1]),
        "items": rng.poisson(4, count).tolist(),
        "amount": np.round(rng.lognormal(3, 1, count), 2).tolist(),
        "retry": (share(0.2)).tolist(),
        "coupon": pick(["X10", "X20", None], [6, 6, 88]),
        "lang": pick(["en", "de", "fr"], [3, 5, 2]),
    }
    rows = zip(*parts.values(), share(0.9).tolist(), strict=True)
    kwargs = [
        {
            "customer": row[0],
            "order_id": row[1],
            "opts": {"mode": row[2], "retry": row[7]},
            "country": row[3],
            "currency": row[4],
            "items": row[5],
            "amount": row[6],
            **({"coupon": row[8]} if row[8] is not None else {}),
            **({"lang": row[9]} if row[10] else {}),
        }
        for row in rows
    ]
    return pd.DataFrame(
        {
            "task_id": [f"t-{n:x}" for n in rng.integers(0, 2**62, count)],
            "topic": pd.Series([f"topic-{n}" for n in topic], dtype="string"),
            "task_name": pd.Series([f"app:task_{n}" for n in name], dtype="string"),
            "worker_id": pd.Series([f"worker-{n}" for n in worker], dtype="string"),
            "host": pd.Series(host, dtype="string"),
            "version": pd.Series(pick(["1.3", "1.4", "1.5"], [5, 3, 2]), dtype="string"),
            "tries": pd.Series(1 + rng.poisson(0.1, count), dtype="Int64"),
            "size": pd.Series(size, dtype="Int64"),
            "published_at": started - pd.to_timedelta(rng.exponential(1_200, count), unit="s"),
            "started_at": started,
            "args": [
                [level, flag]
                for level, flag in zip(pick([1, 2, 3, 4]), pick(["a", "b"]), strict=True)
            ],
            "kwargs": kwargs,
            "error_type": pd.Series([None] * count, dtype="string"),
        }
    )


def _equals(column: str, value: Any) -> Cause:
    return lambda frame: (frame[column] == value).to_numpy(bool)


def _argument(name: str, value: Any) -> Cause:
    return _of_kwargs(lambda kwargs: bool(kwargs.get(name) == value))


def _of_kwargs(test: Callable[[dict[str, Any]], bool]) -> Cause:
    return lambda frame: np.array([test(kwargs) for kwargs in frame["kwargs"]])


def both(first: Cause, second: Cause) -> Cause:
    """Return the cause that is there where two others are."""
    return lambda frame: first(frame) & second(frame)


CAUSES = (
    Case("topic=topic-2", _equals("topic", "topic-2")),
    Case("task_name=app:task_7", _equals("task_name", "app:task_7")),
    Case("worker_id=worker-13", _equals("worker_id", "worker-13")),
    Case("host=host-1", _equals("host", "host-1")),
    Case("version=1.5", _equals("version", "1.5")),
    Case("kwargs.country=us", _argument("country", "us")),
    Case(
        "kwargs.opts.mode=dry",
        lambda f: np.array([k["opts"]["mode"] == "dry" for k in f["kwargs"]]),
    ),
    Case("kwargs.coupon=X10", _argument("coupon", "X10")),
    Case("kwargs.lang=(missing)", _of_kwargs(lambda kwargs: "lang" not in kwargs)),
    Case("args[0]=3", lambda f: np.array([args[0] == 3 for args in f["args"]])),
    Case("started_at.hour=13", lambda f: (f["started_at"].dt.hour == 13).to_numpy(bool)),
)
FEW_ROWS = Case("kwargs.customer=c-0003", _argument("customer", "c-0003"))
"""A customer with 2.8 % of all tasks."""
INTERACTIONS = (
    Case("host=host-1 & version=1.4", both(_equals("host", "host-1"), _equals("version", "1.4"))),
    Case(
        "topic=topic-1 & kwargs.country=fr",
        both(_equals("topic", "topic-1"), _argument("country", "fr")),
    ),
)


def fails(
    rng: np.random.Generator, is_cause: Mask, *, base: float = 0.03, risk: float = 0.3
) -> Mask:
    """Return which tasks fail: *base* of all, and *risk* of those that have the cause."""
    answer: Mask = rng.random(len(is_cause)) < np.where(is_cause, risk, base)
    return answer


def copied(rng: np.random.Generator, column: pd.Series[Any], share: float) -> pd.Series[Any]:
    """Return the values of a column by other names; *share* of the rows keep theirs."""
    values = column.to_numpy(object).copy()
    moved = rng.random(len(values)) >= share
    values[moved] = rng.permutation(values[moved])
    return pd.Series([f"zone of {value}" for value in values], dtype="string")
