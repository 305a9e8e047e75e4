"""Tests of `tt.capacity.solve` and `curve`, on traffic whose need is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tasktools as tt
from tasktools.capacity.demand import Demand, WorkerSlots
from tasktools.capacity.hour_of_week import HOUR
from tasktools.core.frames.capacity_schemas import CURVES, HOURS, SOLUTIONS
from tests.capacity.traffic import (
    SINCE,
    demand_of,
    exponential,
    poisson,
    topic_of,
    traffic,
    workers_of,
)
from tests.capacity.truth import NEEDS


def solved(demand: Demand, **options: Any) -> dict[str, Any]:
    frame = tt.capacity.solve(demand, **options)
    assert list(frame.columns) == list(SOLUTIONS.names)
    return {str(row["topic"]): row for _, row in frame.iterrows()}


@pytest.mark.parametrize("kind", NEEDS)
def test_a_week_tells_the_need_to_one_slot(kind: str) -> None:
    """One seed of each kind; `make capacity` has a hundred."""
    row = solved(demand_of([topic_of(*traffic(kind, 6))]))["work"]
    assert abs(row["slots"] - math.ceil(NEEDS[kind])) <= 1
    assert row["need_low"] < row["need"] < row["need_high"]
    assert row["method"] == "trace"
    assert row["load"] == pytest.approx(6.0, rel=0.15)
    assert row["wait_low"] <= row["wait"] <= row["wait_high"]


def test_bursts_need_more_than_the_formula_has() -> None:
    row = solved(demand_of([topic_of(*traffic("batches", 3))]))["work"]
    assert row["slots"] >= row["erlang_c"] + 5
    calm = solved(demand_of([topic_of(*traffic("M/M", 3))]))["work"]
    assert abs(calm["slots"] - calm["erlang_c"]) <= 1


def test_two_days_of_bursts_do_not_determine_the_need() -> None:
    row = solved(demand_of([topic_of(*traffic("batches", 3, days=2.0))], days=2.0))["work"]
    assert not row["determined"]
    assert "not known to ±1 slot: a recording about" in row["note"]
    assert "some days of the week are unknown" in row["note"]


@pytest.mark.parametrize(
    ("days", "text"),
    [(0.25, "these hours only"), (1.5, "too narrow"), (3.0, "some days of the week")],
)
def test_a_short_recording_says_what_it_cannot_tell(days: float, text: str) -> None:
    row = solved(demand_of([topic_of(*traffic("M/M", 1, days))], days))["work"]
    assert text in row["note"]
    assert row["determined"] == (days > 2)


def test_workers_are_counted_by_their_capacity() -> None:
    topic = topic_of(*traffic("M/M", 6))
    row = solved(demand_of([topic], workers=workers_of(5, 4, ("work",))))["work"]
    assert (row["slots"], row["slots_now"], row["capacity"], row["workers"]) == (9, 20, 4, 3)
    assert row["workers_low"] <= 3 <= row["workers_high"]


def test_without_workers_their_number_is_missing() -> None:
    row = solved(demand_of([topic_of(*traffic("M/M", 6))]))["work"]
    assert pd.isna(row["workers"])
    assert pd.isna(row["slots_now"])
    assert "no worker was recorded" in row["note"]


def test_a_topic_of_which_nothing_is_known_is_missing_not_0() -> None:
    nothing = np.zeros(0)
    topics = [topic_of(nothing, np.ones(3), "idle"), topic_of(np.arange(3.0), nothing, "stuck")]
    rows = solved(demand_of(topics))
    for name, note in (("idle", "no task arrived"), ("stuck", "no try has ended")):
        assert pd.isna(rows[name]["slots"])
        assert pd.isna(rows[name]["load"])
        assert note in rows[name]["note"]


def test_other_targets_ask_for_more_slots() -> None:
    demand = demand_of([topic_of(*traffic("daily", 6))], workers=workers_of(5, 4, ("work",)))
    by_wait = solved(demand)["work"]
    half_busy = solved(demand, utilisation_below=0.5)["work"]
    assert half_busy["need"] == by_wait["need"]
    assert half_busy["slots"] == math.ceil(half_busy["peak_load"] / 0.5) > by_wait["slots"]
    assert half_busy["workers_low"] == half_busy["workers"]
    cleared = [
        solved(demand, wait_below=None, clear_within=span)["work"]["slots"]
        for span in ("1h", "6h", "1D")
    ]
    assert by_wait["load"] < cleared[2] < cleared[1] < cleared[0] <= by_wait["peak_load"] + 1


def test_the_busiest_hour_is_no_less_busy_than_the_mean_of_minutes() -> None:
    """Nearly all tasks came in a minute of an hour of which too little is known."""
    since = SINCE + HOUR - 60.0
    rng = np.random.default_rng(2)
    arrivals = np.sort(np.concatenate([rng.uniform(0, 60, 400), rng.uniform(60, 300, 40)]))
    topic = topic_of(since + arrivals, exponential(rng, len(arrivals)) / 10)
    span = (since, since + 300.0)
    demand = Demand(*span, (span,), {"work": topic}, ())
    row = solved(demand, utilisation_below=0.5)["work"]
    assert row["peak_load"] == row["load"] > 1
    assert row["slots"] >= row["load"] / 0.5


def test_more_traffic_and_longer_tasks_need_more() -> None:
    demand = demand_of([topic_of(*traffic("M/M", 6))])
    base = solved(demand)["work"]["need"]
    assert solved(demand, traffic=1.5)["work"]["need"] == pytest.approx(12.6, abs=1)
    assert solved(demand, service=1.5)["work"]["need"] > base + 3
    assert solved(demand, traffic=0.5)["work"]["need"] < base - 3


@pytest.mark.parametrize(
    "options",
    [
        {"quantile": 1.0},
        {"wait_below": "soon"},
        {"wait_below": None},
        {"utilisation_below": 1.2},
        {"traffic": 0.0},
        {"service": math.nan},
        {"service": 1e9},
        {"wait_below": math.inf},
        {"quantile": "most"},
        {"since": "7D"},
        *({name: [1]} for name in ("wait_below", "quantile", "traffic", "utilisation_below")),
        *({name: None} for name in ("quantile", "traffic", "service")),
        *({name: True} for name in ("wait_below", "quantile", "traffic", "clear_within")),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    """Values of wrong types were a `TypeError` of Python, and factors of 1e9 all of the memory."""
    with pytest.raises(ValueError, match=r"[Nn]othing was computed\."):
        tt.capacity.solve(demand_of([]), **options)


@pytest.mark.parametrize("history", [None, "sqlite:///ops.db", 3])
def test_what_is_no_cluster_is_refused(history: Any) -> None:
    for ask in (tt.capacity.solve, tt.capacity.curve, tt.capacity.by_hour, tt.capacity.inputs):
        with pytest.raises(ValueError, match=r"Open a recording by tt\.connect"):
            ask(history)


# --- shared workers -----------------------------------------------------------------------


def two_topics(days: float, workers: tuple[WorkerSlots, ...], **options: Any) -> Demand:
    topics = [
        topic_of(*traffic("daily", seed, days), name, **options)
        for seed, name in ((1, "a"), (2, "b"))
    ]
    return demand_of(topics, days, workers)


def test_what_hoarding_costs_is_said() -> None:
    """Each of two topics needs 13 slots alone; with one slot a worker they wait behind each
    other."""
    rows = solved(two_topics(1.0, workers_of(24, 1, ("a", "b"))))
    assert rows["a"]["method"] == rows["b"]["method"] == "events"
    assert rows["a"]["workers"] == rows["b"]["workers"] > 40
    assert "workers of their own for each topic" in rows["a"]["note"]
    large = solved(two_topics(1.0, workers_of(2, 24, ("a", "b"))))
    assert large["a"]["slots"] <= 48
    assert "slots and workers are those of a, b together" in large["a"]["note"]


def test_a_pool_may_have_workers_of_different_sizes() -> None:
    workers = (*workers_of(2, 8, ("a", "b")), *workers_of(2, 2, ("b",)))
    row = solved(two_topics(0.5, workers), wait_below="2min")["b"]
    sizes = [8, 2, 8, 2] * 10
    assert row["slots"] == sum(sizes[: row["workers"]])
    assert (row["capacity"], row["slots_now"]) == (8, 20)


def test_a_limit_that_is_too_small_is_said() -> None:
    demand = two_topics(1.0, workers_of(4, 4, ("a",)), limit=5)
    row = solved(demand)["a"]
    assert pd.isna(row["need"])
    assert "its limit of 5 is too small" in row["note"]


def test_permits_that_stick_are_said() -> None:
    rng = np.random.default_rng(3)
    arrivals = SINCE + poisson(rng, 86_400.0)
    topic = topic_of(arrivals, exponential(rng, len(arrivals)) / 10, limit=4)
    row = solved(demand_of([topic], 1.0, workers_of(3, 4, ("work",))))["work"]
    assert row["method"] == "events"
    assert "all permits of its limit of 4 stay with the first 1 worker of 3" in row["note"]


def test_a_model_that_does_not_fit_is_said() -> None:
    arrivals, services = traffic("M/M", 6)
    workers = workers_of(2, 4, ("work",))
    waits = np.full(500, 4_000.0)
    row = solved(demand_of([topic_of(arrivals, services, waits=waits)], workers=workers))["work"]
    assert row["fit"] < 0.1
    assert "the model does not fit" in row["note"]


# --- more workers that do not help ----------------------------------------------------------


def test_tasks_that_slow_each_other_down_are_a_warning() -> None:
    arrivals, services = traffic("batches", 6)
    rng = np.random.default_rng(2)
    running = rng.integers(1, 13, len(services)).astype(float)
    slowed = services / 2 * (1 + 0.02 * running * (running - 1))
    row = solved(demand_of([topic_of(arrivals, slowed, running=running)]))["work"]
    assert "more workers may not help: with over 7 running" in row["note"]
    calm = solved(demand_of([topic_of(arrivals, services, running=running)]))["work"]
    assert pd.isna(calm["note"]) or "running" not in calm["note"]


# --- the curve ------------------------------------------------------------------------------


def test_the_curve_falls_through_the_target_at_the_need() -> None:
    demand = demand_of([topic_of(*traffic("M/M", 6))])
    frame = tt.capacity.curve(demand)
    assert list(frame.columns) == list(CURVES.names)
    assert frame["late"].is_monotonic_decreasing
    enough = frame[frame["late"] <= 0.05]
    assert enough["slots"].min() == solved(demand)["work"]["slots"]
    assert (frame["late_low"] <= frame["late"]).all()
    assert (frame["late"] <= frame["late_high"]).all()
    assert frame["slots"].iloc[0] == 7
    assert frame["utilisation"].iloc[0] == pytest.approx(6 / 7, rel=0.02)


def test_by_hour_the_waits_are_where_the_load_is() -> None:
    demand = demand_of([topic_of(*traffic("daily", 6))])
    frame = tt.capacity.by_hour(demand)
    assert list(frame.columns) == list(HOURS.names)
    assert frame["hour_of_week"].tolist() == list(range(168))
    assert (frame["slots"] == solved(demand)["work"]["slots"]).all()
    noon, night = (frame[frame["hour_of_week"] % 24 == hour] for hour in (12, 0))
    assert noon["utilisation"].mean() > 3 * night["utilisation"].mean()
    assert noon["late"].mean() > night["late"].mean() == 0
    late = float((frame["late"] * frame["tasks"]).sum() / frame["tasks"].sum())
    assert late == pytest.approx(tt.capacity.curve(demand).set_index("slots")["late"][13], abs=1e-3)
    more = tt.capacity.by_hour(demand, {"work": 20})
    assert (more["slots"] == 20).all()
    assert more["late"].sum() < frame["late"].sum()
    for slots in ({"play": 3}, {"work": 0}, {"work": 1.5}, {"work": "3"}, {"work": 10**9}):
        with pytest.raises(ValueError, match="names of recorded topics"):
            tt.capacity.by_hour(demand, slots)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"it is slots by topic, as {\"emails\": 5}"):
        tt.capacity.by_hour(demand, [1, 2])  # type: ignore[arg-type]


def test_by_hour_topics_that_share_workers_have_whole_ones() -> None:
    frame = tt.capacity.by_hour(two_topics(1.0, workers_of(2, 24, ("a", "b"))), {"a": 30})
    assert (frame["slots"] == 48).all()
    assert set(frame["topic"]) == {"a", "b"}
    assert frame.groupby("hour_of_week")["utilisation"].nunique().max() == 1


def test_a_very_large_topic_is_sampled_and_has_the_same_need() -> None:
    rng = np.random.default_rng(9)
    arrivals, _ = traffic("daily", 1)
    many = np.sort(np.repeat(arrivals, 5) + rng.uniform(-60, 60, 5 * len(arrivals)))
    row = solved(demand_of([topic_of(many, exponential(rng, len(many)) / 5)]))["work"]
    whole = solved(demand_of([topic_of(arrivals, exponential(rng, len(arrivals)))]))["work"]
    assert row["load"] == pytest.approx(whole["load"], rel=0.03)
    assert row["slots"] == whole["slots"] - 1  # with five times as many of a fifth of the time
    assert row["need_low"] < row["need"] < row["need_high"] < row["need_low"] + 2
