"""The state of the capacity widget: the sliders, the scenario that they ask for, and its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd
import traitlets

from tasktools.capacity.question import Question
from tasktools.capacity.scenario import Outlook, Scenario
from tasktools.widgets.capacity.cost import Price
from tasktools.widgets.capacity.facts import Facts, TopicFacts
from tasktools.widgets.state import SharedState

WAITS: Final = (
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0),
)
"""Targets of the wait, in seconds."""
QUANTILES: Final = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The outlook of a scenario, and its figure as an output of a cell."""

    outlook: Outlook
    figure: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Needed:
    """The need of a scenario: the row of its topic (schema `SOLUTIONS`), and notes."""

    scenario: Scenario
    row: pd.Series[Any] = field(repr=False)
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """A scenario that could not be computed, and why."""

    scenario: Scenario
    why: str


class CapacityState(SharedState):
    """The sliders, and what the feed has computed for them.

    `scenario` is derived from the sliders and read by the feed. The feed sets `facts`, `drawn` and
    `needed`, or `failed` after an error. `outlook` and `need` belong to the present sliders; they
    are `None` until they are computed, and never the answer for earlier sliders.
    """

    topic = traitlets.Unicode()  # of the menu; empty until there are facts
    traffic = traitlets.Float(1.0)  # factor of the number of tasks
    service = traitlets.Float(1.0)  # factor of the service times
    workers = traitlets.Int(1)  # of the pool; slots where no worker was recorded
    limit: traitlets.Int[Any, Any] = traitlets.Int(None, allow_none=True)  # None: no limit
    wait_below = traitlets.Float(30.0)  # seconds
    quantile = traitlets.Float(0.95)
    price = traitlets.Unicode()  # of a worker-hour, with a currency
    hours = traitlets.Float(168.0)  # for which the cost is computed

    scenario = traitlets.Instance(Scenario, allow_none=True)
    facts = traitlets.Instance(Facts, allow_none=True)
    drawn = traitlets.Instance(Drawn, allow_none=True)
    needed = traitlets.Instance(Needed, allow_none=True)
    failed = traitlets.Instance(Failed, allow_none=True)

    missing_topic = traitlets.Unicode()  # that was asked for, and is not recorded
    chosen = traitlets.Instance(TopicFacts, allow_none=True)  # the facts of the topic
    most_workers = traitlets.Int(10)  # where the slider ends
    outlook = traitlets.Instance(Outlook, allow_none=True)
    need = traitlets.Instance(Needed, allow_none=True)
    why_not = traitlets.Unicode()  # why there is no answer for the present sliders, else empty
    is_stale = traitlets.Bool(default_value=True)  # whether the figure is of earlier sliders
    money = traitlets.Instance(Price, allow_none=True)
    price_problem = traitlets.Unicode()

    @property
    def at_work(self) -> bool:
        """Whether nothing is known yet, or the answer for the present sliders is not there."""
        if self.facts is None:
            return True
        if self.scenario is None or self.why_not:
            return False
        return self.outlook is None or self.need is None

    def reset(self) -> None:
        """Set traffic, service time, workers and limit to the recorded values."""
        with self.lock, self.hold_trait_notifications():
            self.traffic = self.service = 1.0
            self._begin()

    @traitlets.validate("traffic", "service")
    def _factor(self, proposal: Any) -> float:
        return float(min(max(proposal["value"], LEAST_FACTOR), MOST_FACTOR))

    @traitlets.validate("workers")
    def _some_workers(self, proposal: Any) -> int:
        return int(max(proposal["value"], 1))

    @traitlets.validate("wait_below")
    def _some_wait(self, proposal: Any) -> float:
        value = float(proposal["value"])
        if not (value > 0 and math.isfinite(value)):
            raise traitlets.TraitError(f"wait_below is {value!r}; it is seconds, above 0.")
        return value

    @traitlets.validate("quantile")
    def _some_share(self, proposal: Any) -> float:
        value = float(proposal["value"])
        if not 0 < value < 1:
            raise traitlets.TraitError(f"quantile is {value!r}; it is between 0 and 1.")
        return value

    @traitlets.validate("limit")
    def _some_limit(self, proposal: Any) -> int | None:
        value = proposal["value"]
        if value is not None and value < 1:
            raise traitlets.TraitError(f"limit is {value!r}; it is None for none, or from 1 on.")
        return None if value is None else int(value)

    @traitlets.validate("topic")
    def _known_topic(self, proposal: Any) -> str:
        name = str(proposal["value"])
        if name and self.facts is not None and name not in self.facts.topics:
            raise traitlets.TraitError(f"There is no topic {name!r} in what is recorded.")
        return name

    @traitlets.observe("facts")
    def _choose(self, _change: Any) -> None:
        facts = self.facts
        if facts is not None and self.topic not in facts.topics:
            self.missing_topic, self.topic = self.topic, facts.busiest
        self._begin()

    @traitlets.observe("topic")
    def _begin(self, _change: Any = None) -> None:
        """Set the sliders of the chosen topic to the recorded values."""
        with self.lock, self.hold_trait_notifications():
            facts = self.facts
            self.chosen = None if facts is None else facts.topics.get(self.topic)
            if self.chosen is not None:
                self.most_workers = self.chosen.most
                self.workers, self.limit = self.chosen.start, self.chosen.limit
            self._ask()

    @traitlets.observe("traffic", "service", "workers", "limit", "wait_below", "quantile")
    def _ask(self, _change: Any = None) -> None:
        with self.lock:
            if self.chosen is None:
                self.scenario = None
                return
            self.most_workers = max(self.most_workers, self.workers)
            question = Question(
                self.wait_below, self.quantile, None, None, self.traffic, self.service
            )
            asked = Scenario(self.chosen.topic, self.workers, self.limit, question)
            if asked != self.scenario:
                self.scenario = asked

    @traitlets.observe("scenario", "drawn", "needed", "failed")
    def _answer(self, _change: Any = None) -> None:
        with self.lock:
            drawn, needed = self.drawn, self.needed
            is_drawn = drawn is not None and drawn.outlook.scenario == self.scenario
            self.outlook = drawn.outlook if drawn is not None and is_drawn else None
            self.need = needed if needed is not None and needed.scenario == self.scenario else None
            failed = self.failed
            is_failed = failed is not None and failed.scenario == self.scenario
            self.why_not = failed.why if failed is not None and is_failed else ""
            self.is_stale = not is_drawn
            if self.need is not None and not pd.isna(self.need.row["workers"]):
                self.most_workers = max(self.most_workers, int(self.need.row["workers"]) + 2)

    @traitlets.observe("price")
    def _read_price(self, _change: Any) -> None:
        with self.lock:
            self.money, self.price_problem = None, ""
            if self.price.strip():
                try:
                    self.money = Price.read(self.price)
                except ValueError as error:
                    self.price_problem = str(error)
