"""`tt.replay_impact` and ``plan_replay(rate="auto")``, by the demo's week."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.capacity.added_waits import AddedWaits
from tasktools.capacity.replay_history import ReplayHistory
from tasktools.capacity.replay_impact import choose_rate
from tasktools.cli import main
from tasktools.core.clock import ManualClock
from tasktools.core.frames.capacity_schemas import REPLAY_IMPACT
from tasktools.core.plans import Planned
from tasktools.demo import write_week
from tasktools.history.demand_reader import DemandReader
from tasktools.replay.rates import question_of
from tasktools.widgets.dead_letters import DeadLettersWidget
from tests.screen import WidgetScreen


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("week") / "week.db"
    write_week(path)
    return path


@pytest.fixture
def history(week: Path) -> Iterator[tt.Cluster]:
    with tt.connect(f"sqlite:///{week}") as history:
        yield history


@pytest.fixture
def cluster() -> Iterator[tt.Cluster]:
    """A cluster on the Monday after the week, at noon."""
    clock = ManualClock(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp())
    with tt.Cluster(MemoryBroker(clock=clock), clock=clock, choose_rate=choose_rate) as cluster:
        yield cluster


def dead(cluster: tt.Cluster, topic: str = "orders", count: int = 30) -> pd.DataFrame:
    """Return so many dead letters of *topic*."""
    for n in range(count):
        cluster.publish(topic, "shop:charge_card", args=[n], create=True)
        delivery = cluster.broker.claim(topic, "worker-1")
        assert delivery is not None
        cluster.broker.nack(delivery.id, requeue=False)
    return cluster.dead_letters(topic)


def test_a_faster_replay_makes_live_tasks_wait_longer(history: tt.Cluster) -> None:
    noon = history.at("2026-11-22T12:00Z")
    frames = [
        tt.replay_impact(noon, "orders", messages=300, rate=rate, wait_below="30s")
        for rate in (0.02, 2.0)
    ]
    frame = pd.concat(frames)
    assert tuple(frame.columns) == REPLAY_IMPACT.names
    assert frame["lasts"].dt.total_seconds().tolist() == [15_000, 150]
    assert frame["wait"].is_monotonic_increasing
    assert frame["late"].is_monotonic_increasing
    assert (frame["low"] <= frame["wait"]).all()
    assert (frame["wait"] <= frame["high"]).all()
    assert frame["high"].iloc[1] > pd.Timedelta("2min")


def test_few_like_hours_are_said_and_none_leave_waits_missing(history: tt.Cluster) -> None:
    (few,) = tt.replay_impact(
        history.at("2026-11-18T12:00Z"), "orders", messages=10, rate=0.1
    ).to_dict("records")
    assert few["days"] == 2
    assert "few like hours: 2 days" in few["note"]
    assert few["late"] is None
    (none,) = tt.replay_impact(
        history.at("2026-11-16T12:00Z"), "orders", messages=10, rate=0.1
    ).to_dict("records")
    assert none["note"] == "no hour like this one was recorded"
    assert none["wait"] is pd.NaT


def test_of_a_recording_that_is_too_large_only_the_hours_like_this_one_are_read(
    history: tt.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = history.at("2026-11-22T12:00Z")
    options: dict[str, Any] = {"messages": 50, "rate": 0.2}
    whole = tt.replay_impact(noon, "orders", **options)
    monkeypatch.setattr(DemandReader, "max_tries", 10_000)
    part = tt.replay_impact(noon, "orders", **options)
    assert ReplayHistory.read(noon, noon.clock.time()).parts
    assert part["days"].tolist() == whole["days"].tolist() == [6]
    wait, expected = (each["wait"].dt.total_seconds().iloc[0] for each in (part, whole))
    assert wait == pytest.approx(expected, rel=0.5, abs=2)


def test_a_topic_that_was_not_recorded_is_said(history: tt.Cluster) -> None:
    with pytest.raises(tt.NotRecorded, match="No task of 'order' was recorded to arrive"):
        tt.replay_impact(history, "order", messages=10, rate=0.1)
    for numbers in ({"messages": 0, "rate": 1.0}, {"messages": 5, "rate": float("inf")}):
        with pytest.raises(ValueError, match="nothing was computed"):
            tt.replay_impact(history, "orders", **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        *(({"messages": bad}, "messages is") for bad in (None, 0, 1.5, True, "5", 10**9)),
        *(({"rate": bad}, "rate is") for bad in (None, 0, -1, "auto", float("nan"), 1e-300)),
        *(({"wait_below": bad}, "wait_below: ") for bad in (0, [1], "30 parsecs", True)),
        *(({"topic": bad}, "topic is") for bad in (None, ["orders"])),
    ],
)
def test_an_impact_of_nonsense_is_refused(
    options: dict[str, Any], why: str, history: tt.Cluster
) -> None:
    usual: dict[str, Any] = {"topic": "orders", "messages": 5, "rate": 0.5}
    with pytest.raises(ValueError, match=rf"^{why}.*[Nn]othing was computed\."):
        tt.replay_impact(history, **usual | options)


def test_a_plan_holds_the_chosen_rate_and_why(
    cluster: tt.Cluster, history: tt.Cluster, tmp_path: Path
) -> None:
    plan = cluster.plan_replay(dead(cluster), rate="auto", keep_wait_below="60s", history=history)
    assert plan.rate is not None
    assert 0.01 <= plan.rate <= 1
    (line,) = [line for line in plan.lines() if line.startswith("rate chosen: ")]
    assert "keeps the p95 wait of live tasks below 1 min" in line
    assert "in hours like this one of 7 days (80 %)" in line
    plan.save(tmp_path / "plan.json")
    loaded = tt.load_plan(tmp_path / "plan.json")
    assert loaded == plan
    assert plan.is_same_as(loaded)


def test_a_rate_that_is_given_has_no_reason(cluster: tt.Cluster) -> None:
    plan = cluster.plan_replay(dead(cluster), rate=3)
    assert plan.rate == 3
    assert not plan.rate_why
    assert b"rate_why" not in plan.to_json()  # earlier versions read it


def test_too_short_a_history_is_refused(cluster: tt.Cluster, history: tt.Cluster) -> None:
    rows = dead(cluster)
    options: dict[str, Any] = {"rate": "auto", "keep_wait_below": "30s"}
    with pytest.raises(tt.InvalidPlan, match=r"on 3 of the last 7 days, and it takes 5; no"):
        cluster.plan_replay(rows, history=history.at("2026-11-18T23:00Z"), **options)
    with tt.connect("memory://") as live, pytest.raises(tt.InvalidPlan, match="rate can be cho"):
        live.plan_replay(dead(live, count=2), **options)


def test_a_backlog_that_no_rate_can_spare_is_refused(
    cluster: tt.Cluster, history: tt.Cluster
) -> None:
    rows = dead(cluster)
    for n in range(400):
        cluster.publish("orders", "shop:charge_card", args=[n])
    with pytest.raises(tt.InvalidPlan, match=r"No rate keeps .* 400 messages wait already"):
        cluster.plan_replay(rows, rate="auto", keep_wait_below="30s", history=history)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rate": "auto"}, "needs the wait that live tasks may have"),
        ({"rate": 2.0, "keep_wait_below": "30s"}, "the rate is given"),
        ({"keep_wait_below": "30s"}, "Give rate='auto'"),
        ({"rate": "auto", "keep_wait_below": "soon"}, "keep_wait_below: 'soon' is no span"),
        ({"rate": "fast"}, "rate is 'fast'; it is in messages a second"),
        ({"rate": float("nan")}, "above 0"),
        ({"rate": [1]}, "above 0"),
        ({"rate": True}, "above 0"),
        ({"rate": "Auto"}, "or 'auto'"),
        ({"rate": "auto", "keep_wait_below": [1]}, r"keep_wait_below: \[1\] is no span"),
        ({"rate": "auto", "keep_wait_below": float("inf")}, "keep_wait_below: inf is no span"),
        ({"rate": "auto", "keep_wait_below": "1s", "history": "ops.db"}, "about a cluster"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cluster: tt.Cluster, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(tt.InvalidPlan, match=why):
        cluster.plan_replay(dead(cluster, count=1), **options)


def test_messages_that_go_to_two_queues_have_no_rate_together() -> None:
    rows = [Planned(key=name, to=name) for name in ("emails", "orders", "orders")]
    with pytest.raises(tt.InvalidPlan, match=r"these go to 2 \(emails, orders\); nothing"):
        question_of(rows, 30.0, 0.0)
    question = question_of([*rows[1:], Planned(key="x", to="emails", skipped="why")], 30.0, 0.0)
    assert (question.topic, question.messages) == ("orders", 2)


def test_the_command_line_chooses_a_rate_by_a_recording(week: Path) -> None:
    options = ["--rate", "auto", "--keep-wait", "10min", "--history", str(week)]
    result = CliRunner().invoke(main, ["replay", "orders", "--dsn", "demo://", *options])
    assert result.exit_code == 0, result.output
    assert "rate chosen: it keeps the p95 wait of live tasks below 10 min" in result.output
    assert "recorded up to 2026-11-2" in result.output


class Screen(WidgetScreen[DeadLettersWidget]):
    def __init__(self, cluster: tt.Cluster, history: tt.Cluster | None) -> None:
        super().__init__(
            lambda post: DeadLettersWidget(cluster, "orders", history=history, post=post)
        )
        self.state = self.widget.state

    def choose(self, messages: int) -> None:
        """Look, and select so many."""
        self.until(lambda: not self.labelled("Look").disabled)
        self.labelled("Look").click()
        self.until(lambda: self.state.looked is not None and not self.state.busy)
        assert self.state.looked is not None
        self.state.table.select(self.state.looked.frame["key"].iloc[:messages].tolist())


def test_the_widget_says_beside_the_rate_what_it_adds_to_live_waits(
    cluster: tt.Cluster, history: tt.Cluster
) -> None:
    dead(cluster, count=60)
    screen = Screen(cluster, history)
    state = screen.state
    assert state.impact_text == ""
    screen.choose(60)
    screen.until(lambda: state.impact_text.startswith("sent at once, it adds "))
    state.rate = "0.011"
    assert state.impact_text == ""  # of another rate
    screen.until(lambda: "to the p95 wait of live tasks (80 %)" in state.impact_text)
    assert state.impact_text.startswith("adds ")
    state.rate = "fast"
    assert state.impact_text == ""
    state.rate, state.verb = "1", "discard"
    assert state.impact_text == ""
    screen.widget.close()


def test_the_widget_says_nothing_where_the_history_knows_too_little(
    cluster: tt.Cluster, history: tt.Cluster
) -> None:
    dead(cluster, count=3)
    waits = AddedWaits(history.at("2026-11-18T23:00Z"))
    at = cluster.clock.time()
    assert waits.in_words("orders", messages=3, rate=1.0, at=at) == ""
    assert AddedWaits(history).in_words("nowhere", messages=3, rate=1.0, at=at) == ""
    screen = Screen(cluster, None)
    screen.choose(3)
    screen.until(lambda: screen.state.impact_asked is not None)
    assert screen.state.impact_text == ""
    screen.widget.close()
