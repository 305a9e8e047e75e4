"""The capacity widget without a browser: sliders, answers to them, words, and the cost."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import pytest
import traitlets

import tasktools as tt
from tasktools.capacity import scenario
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.capacity.models import TraceModel
from tasktools.capacity.question import Question
from tasktools.capacity.solve import solutions
from tasktools.capacity.topic_loads import with_hours
from tasktools.cluster.cluster import Cluster
from tasktools.demo import write_week
from tasktools.testing import eventually
from tasktools.widgets import CapacityWidget
from tasktools.widgets.capacity import answer_text
from tasktools.widgets.capacity import feed as feed_module
from tasktools.widgets.capacity.cost import Price
from tasktools.widgets.capacity.facts import facts_of
from tasktools.widgets.capacity.picture import drawn
from tests.capacity.traffic import demand_of, topic_of, traffic, workers_of
from tests.screen import WidgetScreen

MARKUP = "<script>window.pwned=1</script>"


class Screen(WidgetScreen[CapacityWidget]):
    """The widget of a history, once it has answered."""

    def __init__(self, history: Cluster, topic: str = "", **options: Any) -> None:
        super().__init__(lambda post: CapacityWidget(history, topic, post=post, **options))
        self.state = self.widget.state
        self.answer()

    def answer(self) -> None:
        self.until(lambda: not self.state.at_work)
        assert self.state.problem == ""

    def set(self, **sliders: Any) -> None:
        """Move *sliders*, and wait for the answer."""
        for name, value in sliders.items():
            setattr(self.state, name, value)
        self.answer()


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    path = tmp_path_factory.mktemp("week") / "week.db"
    write_week(path)
    with tt.connect(f"sqlite:///{path}") as history:
        yield history


@pytest.fixture
def show(week: Cluster) -> Iterator[Callable[..., Screen]]:
    opened: list[Screen] = []

    def show(*args: Any, **options: Any) -> Screen:
        opened.append(Screen(week, *args, **options))
        return opened[-1]

    yield show
    for screen in opened:
        screen.widget.close()


Show = Callable[..., Screen]


def test_it_begins_with_the_busiest_topic_as_it_was_and_says_demo(show: Show) -> None:
    screen = show()
    state = screen.state
    assert (state.topic, state.workers, state.limit) == ("orders", 3, None)
    assert "DEMO" in screen.html
    assert "Enough for orders: with 3 workers (6 slots) 95 % of its tasks wait" in screen.html
    assert "that is known to ±1" in screen.html
    assert "Erlang C" in screen.html
    assert "in gaps: recorders fail under load" in screen.html
    (output,) = screen.widget._figure.outputs
    figure = output["data"]["application/vnd.plotly.v1+json"]
    assert "DEMO" in figure["layout"]["title"]["text"]
    assert "orders, 6 slots" in figure["layout"]["title"]["subtitle"]["text"]


def test_more_traffic_is_answered_and_the_answer_agrees_with_solve(
    show: Show, week: Cluster
) -> None:
    screen = show("images")
    screen.set(traffic=2.0, workers=1)
    solved = tt.capacity.solve(week, traffic=2.0).set_index("topic").loc["images"]
    assert screen.state.need is not None
    assert screen.state.need.row["need"] == pytest.approx(solved["need"])
    assert "NOT enough for images: with 1 worker (2 slots)" in screen.html
    assert "times as many" in screen.html  # the busiest hour is an overload
    hours = tt.capacity.by_hour(week, {"images": 2}, traffic=2.0)
    assert screen.state.outlook is not None
    shown = screen.state.outlook.hours
    of_topic = hours[hours["topic"] == "images"].reset_index(drop=True)
    assert shown["wait"].equals(of_topic["wait"])


def test_a_limit_that_is_too_small_is_said_and_one_that_is_enough_helps(show: Show) -> None:
    screen = show("reports")
    assert screen.state.limit == 2
    assert "How many are needed so that 95 % wait 30 s at most is not known" in screen.html
    assert "its limit of 2 is too small" in screen.html
    slider = next(w for w in screen.all(ipywidgets.SelectionSlider) if w.description == "Limit")
    slider.value = "4"
    screen.answer()
    assert screen.state.limit == 4
    assert "it needs" in screen.html
    slider.value = "none"
    assert screen.state.limit is None
    screen.widget.state.reset()
    assert screen.state.limit == 2
    assert slider.value == "2"


def test_topics_that_share_workers_say_so(show: Show) -> None:
    screen = show("newsletters")
    assert "slots for newsletters alone" in screen.html
    assert "for newsletters, emails together" in screen.html
    menu = screen.labelled("Topic")
    assert ("newsletters (shares workers with emails)", "newsletters") in menu.options
    menu.value = "orders"
    screen.answer()
    assert screen.state.scenario is not None
    assert screen.state.scenario.topic == "orders"
    assert screen.state.workers == 3


def test_sliders_follow_the_topic_and_what_code_sets(show: Show) -> None:
    screen = show("orders")
    workers = screen.labelled("Workers")
    screen.set(workers=60)
    assert (workers.value, workers.max) == (60, 60)
    screen.set(topic="images")
    assert (workers.value, screen.state.workers) == (2, 2)
    screen.set(wait_below=45.0)
    assert screen.labelled("Wait at most").value == "45 s"
    for name, value in (("wait_below", 0.0), ("quantile", 1.0), ("limit", 0), ("topic", "no")):
        with pytest.raises(traitlets.TraitError):
            setattr(screen.state, name, value)


def test_an_answer_to_earlier_sliders_is_never_shown_as_that_of_newer_ones(show: Show) -> None:
    screen = show("orders")
    state = screen.state
    earlier = state.drawn
    state.workers = 2
    assert state.outlook is None  # though nothing has been computed since
    assert state.need is None
    assert state.is_stale
    assert "tt-stale" in screen.widget._figure._dom_classes
    assert "Computing: orders, 2 workers" in screen.html
    assert "Enough" not in screen.html
    state.drawn = earlier  # as if it came late
    assert state.outlook is None
    screen.answer()
    assert not state.is_stale
    assert "tt-stale" not in screen.widget._figure._dom_classes
    assert state.outlook is not None
    assert state.outlook.scenario.workers == 2


def test_older_computations_are_given_up(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many moves of a slider, only the one under way and the last are computed."""
    screen = show("orders")
    at_work, go_on = threading.Event(), threading.Event()
    solved: list[float] = []
    whole = solutions

    def slowly(demand: Demand, solvers: Any) -> Any:
        (solver,) = solvers
        solved.append(solver.question.traffic)
        at_work.set()
        go_on.wait(60)
        return whole(demand, [solver])

    monkeypatch.setattr(feed_module, "solutions", slowly)
    screen.state.traffic = 1.5
    assert at_work.wait(60)
    for traffic_now in (1.6, 1.7, 1.8):
        screen.state.traffic = traffic_now
    go_on.set()
    screen.answer()
    assert solved == [1.5, 1.8]
    assert screen.state.need is not None
    assert screen.state.need.scenario.question.traffic == 1.8


def test_close_gives_up_what_is_under_way(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = show("orders")
    waits, begun = TraceModel.waits, threading.Event()
    count = 0

    def counted(self: Any, topic: str, units: int) -> Any:
        nonlocal count
        count += 1
        begun.set()
        eventually(lambda: not screen.widget.feed._running)
        return waits(self, topic, units)

    monkeypatch.setattr(TraceModel, "waits", counted)
    screen.state.traffic = 3.0
    assert begun.wait(60)
    screen.widget.close()
    assert not screen.widget.feed.alive
    assert count == 1


def test_the_cost_is_in_the_currency_of_the_user_and_never_guessed(show: Show) -> None:
    screen = show("orders")
    assert "Cost not known: write the price of a worker-hour" in screen.html
    screen.state.price = "0,12 €"
    assert "3 workers × 168 h × 0,12 € = 60,48 €; the 2 workers needed: 40,32 €" in screen.html
    screen.state.price = "$2"
    screen.labelled("Hours").value = 1.0
    assert "3 workers × 1 h × $2 = $6.00" in screen.html
    screen.state.hours = 0.0
    assert "Cost not known: the hours" in screen.html
    for text, why in (("cheap", "is no price"), ("1,200", "two ways"), ("-1 €", "is no price")):
        screen.state.price = text
        assert "Cost not known: " in screen.html
        assert why in screen.html
        assert "60,48" not in screen.html
    assert Price.read("CHF 1.5").written(3) == "CHF 3.00"


def test_what_is_thin_or_missing_is_said() -> None:
    with tt.connect("demo://") as cluster:
        screen = Screen(cluster, "nothing", since="1h", price="1 €")
        assert "recorded: the answer holds for these hours only" in screen.html
        assert "There is no topic 'nothing'" in screen.html.replace("&#x27;", "'")
        assert "NOT known to ±1" in screen.html or "not known" in screen.html
        screen.widget.close()
    with tt.connect("memory://") as cluster:
        empty = WidgetScreen(lambda post: CapacityWidget(cluster, post=post))
        empty.until(lambda: empty.widget.state.facts is not None)
        assert "No topic is recorded" in empty.html
        assert not empty.widget.state.at_work
        empty.widget.close()


def test_a_topic_without_tasks_is_refused_in_words() -> None:
    demand = demand_of([topic_of(*traffic("M/M", 1, 3.0))], 3.0)
    bare = dataclasses.replace(
        demand.topics["work"], topic="idle", arrivals=np.zeros(0), hourly=None
    )
    demand = dataclasses.replace(demand, topics={**demand.topics, "idle": bare})
    facts = facts_of(demand)
    assert facts.topics["work"].unit == "slot"  # no worker was recorded
    asked = scenario.Scenario("idle", 1, None, _question())
    with pytest.raises(tt.NotRecorded, match="No task of idle arrived"):
        scenario.scenario_solver(demand, asked, lambda: None)


def test_what_cannot_be_computed_is_said_and_does_not_stay(show: Show) -> None:
    screen = show("orders")
    assert screen.widget.feed._demand is not None
    nothing = dataclasses.replace(screen.widget.feed._demand, topics={}, workers=())
    screen.widget.feed._demand = nothing  # as if something were wrong
    screen.set(traffic=1.5)
    assert screen.state.outlook is None
    assert screen.state.why_not.startswith("StopIteration")
    assert "Enough" not in screen.html
    screen.widget.feed._demand = None  # read again
    screen.set(traffic=1.0)
    assert screen.state.why_not == ""
    assert "Enough" in screen.html


def test_a_topic_without_tasks_that_has_workers_of_its_own_hides_no_other() -> None:
    """On a node just connected to, solve() was a KeyError of that topic."""
    demand = demand_of([topic_of(*traffic("M/M", 1))], workers=workers_of(3, 4, ("work",)))
    nobody = np.zeros(0)
    idle = dataclasses.replace(demand.topics["work"], topic="idle", arrivals=nobody, hourly=None)
    demand = with_hours(
        dataclasses.replace(
            demand,
            topics={**demand.topics, "idle": idle},
            workers=(*demand.workers, *workers_of(1, 2, ("idle",))),
        )
    )
    rows = tt.capacity.solve(demand).set_index("topic")
    assert pd.isna(rows["need"]["idle"])
    assert rows["note"]["idle"] == "no task arrived"
    assert rows["slots"]["work"] > 0
    assert set(tt.capacity.by_hour(demand)["topic"]) == {"work"}
    assert set(tt.capacity.curve(demand)["topic"]) == {"work"}


def test_seconds_of_a_recording_are_no_hour_and_nothing_is_guessed() -> None:
    demand = with_hours(demand_of([topic_of(*traffic("M/M", 1, 0.02))], 0.02))
    seconds = dataclasses.replace(demand, covered=np.full(len(demand.hours), 7.0))
    (row,) = tt.capacity.solve(seconds).to_dict("records")
    assert pd.isna(row["peak_load"])
    assert pd.isna(row["erlang_c"])
    (row,) = tt.capacity.solve(seconds, utilisation_below=0.8).to_dict("records")
    assert pd.isna(row["slots"])
    asked = scenario.Scenario("work", 9, None, _question())
    outlook = scenario.outlook_of(scenario.scenario_solver(seconds, asked, int), asked)
    assert outlook.peak_load is None
    facts = facts_of(seconds)
    assert "the busiest hour it is not known" in " ".join(
        answer_text.outlook_lines(outlook, facts.topics["work"])
    )


def test_without_workers_slots_are_counted_and_workers_are_not_known() -> None:
    demand = with_hours(demand_of([topic_of(*traffic("M/M", 6))]))
    asked = scenario.Scenario("work", 9, None, _question())
    outlook = scenario.outlook_of(scenario.scenario_solver(demand, asked, int), asked)
    assert outlook.slots == 9
    assert outlook.late is not None
    assert outlook.late.low <= outlook.late.value <= outlook.late.high


def test_another_limit_is_not_compared_with_the_waits_that_were_recorded(week: Cluster) -> None:
    demand = gather(week)
    recorded = demand.topics["reports"].limit
    for limit, is_compared in ((recorded, True), (4, False)):
        asked = scenario.Scenario("reports", 2, limit, _question())
        solver = scenario.scenario_solver(demand, asked, lambda: None)
        assert (solver.demand.topics["reports"].waits is not None) == is_compared
    assert demand.topics["reports"].limit == recorded


def test_whole_workers_of_different_sizes_are_counted() -> None:
    workers = (*workers_of(1, 4, ("work",)), *workers_of(1, 2, ("work",)))
    demand = with_hours(demand_of([topic_of(*traffic("M/M", 6))], workers=workers))
    assert facts_of(demand).topics["work"].workers == 2
    asked = scenario.Scenario("work", 3, None, _question())
    assert scenario.outlook_of(scenario.scenario_solver(demand, asked, int), asked).slots == 10


def test_a_saved_notebook_keeps_the_answer_and_a_drawing(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: dict[str, dict[str, Any]] = {}

    def display(bundle: Any, *, display_id: str = "", **_options: Any) -> None:
        outputs[display_id] = bundle

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr("IPython.display.update_display", display)
    screen = show("orders")
    screen.widget._ipython_display_()
    screen.set(traffic=1.5)
    saved = outputs[screen.widget._static._id]["text/html"]
    assert "Enough for orders" in saved
    assert "DEMO" in saved
    assert "<svg" in saved
    assert "<script" not in saved
    assert len(saved) < 60_000


def test_gaps_are_not_drawn_and_names_are_text(show: Show) -> None:
    screen = show("newsletters")
    assert screen.state.outlook is not None
    outlook = screen.state.outlook
    hours = outlook.hours.copy()
    hours["topic"] = MARKUP
    picture = drawn(dataclasses.replace(outlook, hours=hours))
    assert MARKUP not in picture
    missing = int(outlook.hours["wait"].isna().sum())
    assert missing > 0
    steps = len(re.findall(r"[ML]\d+\.\d \d+\.\dh", drawn(outlook)))
    of_waits = len(outlook.hours) - missing
    assert steps == of_waits + 168  # and one an hour for the utilisation


def _question() -> Question:
    return Question(30.0, 0.95, None, None, 1.0, 1.0)
