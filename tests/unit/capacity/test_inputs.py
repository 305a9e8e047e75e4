"""`tt.capacity.inputs`: its frames, and what `quality` says of thin recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tasktools as tt
from tasktools.capacity.inputs import Inputs
from tasktools.core.frames import capacity_schemas as schemas
from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.demo import write_week
from tests.recorded_shop import DAY, load, poisson, record


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    path = tmp_path_factory.mktemp("week") / "week.db"
    write_week(path)
    return inputs_of(path)


def inputs_of(path: Path, **options: Any) -> Inputs:
    with tt.connect(f"sqlite:///{path}") as history:
        return tt.capacity.inputs(history, **options)


def check(inputs: Inputs, name: str, topic: str = "emails") -> Any:
    quality: Any = inputs.quality
    (row,) = quality.index[(quality["topic"] == topic) & (quality["check"] == name)]
    return quality.loc[row]


def thin(path: Path, seconds: float = 3_600.0, **options: Any) -> Inputs:
    """Return the inputs of a short recording of one topic."""
    mean, rate = options.pop("mean", 10.0), options.pop("rate", 0.1)
    dice = np.random.default_rng(2)
    arrivals = poisson(dice, rate, seconds)
    cluster = load({"emails": arrivals}, {"emails": dice.exponential(mean, len(arrivals))})
    return inputs_of(record(path, cluster, (0, seconds), **options))


@pytest.mark.parametrize(
    ("frame", "schema"),
    [
        ("arrivals", schemas.ARRIVALS),
        ("services", schemas.SERVICES),
        ("bursts", schemas.BURSTS),
        ("quality", schemas.QUALITY),
    ],
)
def test_each_frame_has_its_schema(week: Inputs, frame: str, schema: Schema) -> None:
    types = {name: str(dtype) for name, dtype in getattr(week, frame).dtypes.items()}
    assert types == {column.name: DTYPES[column.kind] for column in schema.columns}
    assert isinstance(getattr(week, frame).attrs["notes"], list)


def test_a_week_has_all_hours_of_each_topic(week: Inputs) -> None:
    assert len(week.arrivals) == 5 * 168
    assert (week.arrivals["low"] <= week.arrivals["rate"]).all()
    assert (week.arrivals["rate"] <= week.arrivals["high"]).all()
    orders: Any = week.arrivals[week.arrivals["topic"] == "orders"].set_index("hour_of_week")
    assert orders.loc[14, "rate"] > 3 * orders.loc[3, "rate"]  # Monday 14:00 and 03:00
    assert orders.loc[14, "rate"] > 1.5 * orders.loc[5 * 24 + 14, "rate"]  # Saturday
    assert orders.loc[2 * 24 + 14, "weeks"] == pytest.approx(0.1)  # the gap
    assert orders.loc[2 * 24 + 14, "rate"] == pytest.approx(orders.loc[24 + 14, "rate"], rel=0.3)


def test_tasks_have_their_own_service_times(week: Inputs) -> None:
    services: Any = week.services.set_index(["topic", "task_name"]).sort_index()
    orders: Any = services.loc["orders"]
    assert orders.index.dropna().tolist() == ["charge_card", "refund"]
    whole: Any = week.services[week.services["topic"] == "orders"].iloc[0]
    assert pd.isna(whole["task_name"])
    assert orders.loc[["charge_card", "refund"], "tries"].sum() == whole["tries"]
    assert whole["mean"] / pd.Timedelta(seconds=40) == pytest.approx(1.0, rel=0.05)
    assert whole["p50"] < whole["mean"] < whole["p95"] < whole["p99"]


def test_batches_and_bursts_are_seen(week: Inputs) -> None:
    bursts: Any = week.bursts.set_index("topic")["dispersion"]
    assert bursts["newsletters"] == pytest.approx(40, rel=0.2)
    assert bursts["images"] > 4
    assert bursts["orders"] == pytest.approx(1, abs=0.3)


def test_the_limit_that_was_binding_is_named(week: Inputs) -> None:
    row = check(week, "share of time at the limit", "reports")
    assert not row["ok"]
    assert "its limit was binding for" in row["note"]
    assert week.demand.topics["reports"].limit == 2


def test_retries_of_the_week_are_no_arrivals(week: Inputs) -> None:
    orders = week.demand.topics["orders"]
    assert orders.failed.sum() > 300
    assert len(orders.service_times) > len(orders.arrivals) + 300
    assert (orders.retry_delay, orders.max_retries) == (30.0, 2)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0.1, "hold for these hours only"),
        (1.5, "intervals are too narrow"),
        (3.0, "some days of the week are unknown"),
        (7.0, None),
    ],
)
def test_a_short_recording_is_noted(tmp_path: Path, days: float, words: str | None) -> None:
    inputs = thin(tmp_path / "ops.db", days * DAY, every=600.0, rate=0.002)
    row = check(inputs, "days from start to end")
    assert row["value"] == pytest.approx(days, abs=0.01)
    assert row["ok"] == (words is None)
    if words is None:
        assert pd.isna(row["note"])
    else:
        assert words in row["note"]
        assert any(words in note for note in inputs.arrivals.attrs["notes"])


def test_a_gap_in_the_busiest_hours_is_noted(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    arrivals = poisson(dice, 0.02, 8 * DAY)
    hour = (arrivals % DAY) // 3_600
    arrivals = arrivals[(hour == 14) | (dice.random(len(hour)) < 0.2)]
    cluster = load({"emails": arrivals}, {"emails": np.full(len(arrivals), 5.0)})
    gap = (2 * DAY + 14 * 3_600, 2 * DAY + 14.5 * 3_600)
    path = record(tmp_path / "ops.db", cluster, (0, gap[0]), (gap[1], 7 * DAY), every=600.0)
    row = check(inputs_of(path), "share of the busiest hours recorded")
    assert row["value"] == pytest.approx(0.5, abs=0.01)
    assert not row["ok"]
    assert "Wednesday 14:00 UTC" in row["note"]


def test_few_tasks_are_noted(tmp_path: Path) -> None:
    inputs = thin(tmp_path / "ops.db", rate=0.01)
    assert not check(inputs, "tries that ended")["ok"]
    assert not check(inputs, "independent arrivals")["ok"]


def test_a_window_of_few_mean_services_is_noted(tmp_path: Path) -> None:
    inputs = thin(tmp_path / "ops.db", mean=900.0)
    row = check(inputs, "recorded mean service times")
    assert row["value"] < 6
    assert not row["ok"]
    assert not check(inputs, "share of tries without an end")["ok"]


@pytest.mark.parametrize(("every", "is_ok"), [(5.0, True), (60.0, False)])
def test_arrivals_from_coarse_samples_are_noted(
    tmp_path: Path,
    every: float,
    is_ok: bool,  # noqa: FBT001
) -> None:
    inputs = thin(tmp_path / "ops.db", every=every, messages=False)
    row = check(inputs, "arrivals known within, s")
    assert (row["value"], row["ok"]) == (every, is_ok)


def test_what_is_not_known_is_missing(tmp_path: Path) -> None:
    inputs = thin(tmp_path / "ops.db", 300.0)
    rates: Any = inputs.arrivals.set_index("hour_of_week")
    assert rates.loc[100, ["rate", "low", "high", "tasks"]].isna().all()
    assert rates.loc[100, "weeks"] == 0
    assert "<Inputs of 1 topics" in repr(inputs)


def test_of_nothing_recorded_nothing_is_said() -> None:
    with tt.connect("memory://") as cluster:
        inputs = tt.capacity.inputs(cluster)
    for frame in (inputs.arrivals, inputs.services, inputs.bursts, inputs.quality):
        assert frame.empty


def test_a_moment_that_is_none_is_refused() -> None:
    with tt.connect("memory://") as cluster, pytest.raises(ValueError, match="no moment"):
        tt.capacity.inputs(cluster, since="yesterday")


def test_the_week_is_the_same_for_a_seed_and_is_not_written_over(tmp_path: Path) -> None:
    from tasktools.demo.week import simulated_week

    first, second, other = (simulated_week(seed).tries for seed in (3, 3, 4))
    assert np.array_equal(first.started, second.started)
    assert not np.array_equal(first.started, other.started[: len(first.started)])
    (tmp_path / "week.db").touch()
    with pytest.raises(FileExistsError, match="nothing was written"):
        write_week(tmp_path / "week.db")
