"""Demands that hardly occur: nothing unknown is shown as known, and no error of numpy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tasktools as tt
from tasktools.capacity.demand import Demand, FloatArray
from tests.capacity.traffic import DAY, SINCE, demand_of, topic_of, workers_of

pytestmark = pytest.mark.filterwarnings("error")

_NONE: FloatArray = np.zeros(0)


def times(count: int) -> FloatArray:
    return np.sort(np.random.default_rng(4).uniform(SINCE, SINCE + 7 * DAY, count))


def durations(count: int, mean: float = 30.0) -> FloatArray:
    return np.random.default_rng(5).exponential(mean, count)


def of_topic(*args: Any, workers: Any = (), **options: Any) -> Demand:
    return demand_of([topic_of(*args, **options)], workers=workers)


def _demands() -> Iterator[tuple[str, Demand]]:
    many = times(2_000)
    yield "no task", of_topic(_NONE, _NONE)
    yield "no time", Demand(SINCE, SINCE, (), of_topic(_NONE, _NONE).topics, ())
    yield "one task", of_topic(times(1), durations(1))
    yield "one task of 1e9 s", of_topic(times(1), np.array([1e9]))
    yield "one task of 1e15 s", of_topic(times(1), np.array([1e15]))
    yield "one task of many takes 1e9 s", of_topic(many, np.append(durations(1_999), 1e9))
    yield "tasks that take no time", of_topic(many, np.zeros(2_000))
    yield "tasks that all came at once", of_topic(np.full(2_000, SINCE), durations(2_000))
    yield "tasks that all run still", of_topic(many, _NONE, censored=np.full(5, 100.0))
    yield "tasks that all failed", of_topic(many, durations(2_000), failed=np.ones(2_000, bool))
    few = workers_of(3, 4, ("work",))
    yield "a limit of 0", of_topic(many, durations(2_000), limit=0, workers=few)
    yield (
        "a prefetch of 0",
        of_topic(many, durations(2_000), workers=workers_of(3, 4, ("work",), prefetch=0)),
    )
    without = workers_of(3, 0, ("work",))
    yield "workers without a slot", of_topic(many, durations(2_000), workers=without)


DEMANDS = dict(_demands())


@pytest.mark.parametrize("name", DEMANDS)
def test_strange_demands_have_answers_that_make_sense(name: str) -> None:
    """NaN of a wait that never ends, and a division by no slot, were raw exceptions."""
    row = tt.capacity.solve(DEMANDS[name], utilisation_below=0.8, clear_within="1h").iloc[0]
    for value in ("need", "wait", "workers"):
        limits = (row[f"{value}_low"], row[value], row[f"{value}_high"])
        known = [each for each in limits if not pd.isna(each)]
        if value != "workers":  # which is also for the utilisation
            assert all(low <= high for low, high in itertools.pairwise(known))
    assert pd.isna(row["workers"]) or row["workers"] >= 1
    assert pd.isna(row["wait"]) or row["wait"] >= pd.Timedelta(0)
    assert pd.isna(row["utilisation"]) or 0 <= row["utilisation"] <= 1
    assert row["note"] or not pd.isna(row["need"])
    tt.capacity.curve(DEMANDS[name])
    tt.capacity.by_hour(DEMANDS[name])


@pytest.mark.parametrize("name", ["tasks that all run still", "one task of many takes 1e9 s"])
def test_a_need_is_not_determined_where_service_times_are_not_known(name: str) -> None:
    """The note said that too few tries ended, and the column that the need is known to ±1."""
    row = tt.capacity.solve(DEMANDS[name]).iloc[0]
    assert row["need_high"] - row["need_low"] < 2
    assert not row["determined"]
    assert any(each in row["note"] for each in ("tries ended", "mean service times"))


def test_a_need_is_determined_where_they_are() -> None:
    row = tt.capacity.solve(of_topic(times(2_000), durations(2_000))).iloc[0]
    assert row["determined"]


def test_the_load_that_no_slots_can_take_has_no_number_by_formula() -> None:
    """It went through a million numbers of slots, and then failed for all topics."""
    demand = demand_of(
        [
            topic_of(times(1), np.array([1e15]), "long"),
            topic_of(times(2_000), durations(2_000), "short"),
        ]
    )
    frame = tt.capacity.solve(demand).set_index("topic")
    assert frame["erlang_c"].isna().tolist() == [True, False]
    assert frame["slots"].fillna(0).tolist()[1] >= 1
