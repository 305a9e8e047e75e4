"""The thread of the capacity widget: it reads the history once, and simulates the scenarios of the
sliders."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from tasktools import figures
from tasktools.capacity.answers import PoolSolver
from tasktools.capacity.demand import Demand
from tasktools.capacity.gather import gather
from tasktools.capacity.scenario import Outlook, Scenario, outlook_of, scenario_solver
from tasktools.capacity.solve import solutions
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.core.timespans import Moment
from tasktools.figures.figure_parts import Theme
from tasktools.widgets.capacity.answer_text import settings
from tasktools.widgets.capacity.facts import facts_of
from tasktools.widgets.capacity.state import Drawn, Failed, Needed
from tasktools.widgets.feed import Feed, Post

_log = logging.getLogger("tasktools.widgets")

_IDLE_SECONDS: Final = 3600.0
"""Seconds between two checks for work."""


class SupersededError(Exception):
    """Nobody waits for this computation any more: the sliders moved, or the widget is gone."""


class CapacityFeed(Feed):
    """Computes the answer to the latest scenario, and gives up earlier ones."""

    def __init__(
        self,
        history: Cluster,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
        *,
        since: Moment,
        until: Moment | None,
        theme: Theme,
    ) -> None:
        super().__init__("capacity", self._look_around, receive, post)
        self._history = history
        self._since, self._until, self._theme = since, until, theme
        self._demand: Demand | None = None
        self._wanted: Scenario | None = None
        self._answered: Scenario | None = None

    # --- from any other thread ------------------------------------------------------

    def want(self, scenario: Scenario | None) -> None:
        """Compute the answer to *scenario* next, and nothing else."""
        self._wanted = scenario
        self.look_soon()

    # --- in the feed's thread -------------------------------------------------------

    def _look_around(self) -> float:
        demand = self._demand
        if demand is None:
            demand = self._demand = gather(self._history, since=self._since, until=self._until)
            note = self._history.broker.note
            self.tell(facts=facts_of(demand, (note,) if note else ()))
        wanted = self._wanted
        if wanted is None or wanted == self._answered:
            return _IDLE_SECONDS
        try:
            self._answer(demand, wanted)
        except SupersededError:
            return 0.0
        except TaskToolsError as error:
            self.tell(failed=Failed(wanted, str(error)))
        except Exception as error:  # noqa: BLE001 - shown on screen
            _log.exception("capacity failed", extra={"action": "capacity"})
            self.tell(failed=Failed(wanted, f"{type(error).__name__}: {error}"))
        self._answered = wanted
        return _IDLE_SECONDS

    def _answer(self, demand: Demand, scenario: Scenario) -> None:
        def checkpoint() -> None:
            if self._wanted is not scenario or not self._running:
                raise SupersededError

        checkpoint()
        solver = scenario_solver(demand, scenario, checkpoint)
        outlook = outlook_of(solver, scenario)
        drawing = self._drawing(outlook)
        checkpoint()
        self.tell(drawn=Drawn(outlook, drawing))
        self.tell(needed=_needed(solver, scenario))

    def _drawing(self, outlook: Outlook) -> Mapping[str, Any]:
        """Return the figure of *outlook* as an output of a cell."""
        if self._history.broker.demo:
            outlook.hours.attrs["demo"] = "DEMO"
        question = outlook.scenario.question
        # Here, since to load plotly takes seconds, in which the kernel would answer nobody.
        figure = figures.by_hour(
            outlook.hours,
            theme=self._theme,
            wait_below=question.wait_below,
            quantile=question.quantile,
            what=settings(outlook),
        )
        data = {"application/vnd.plotly.v1+json": json.loads(figure.to_json())}
        return {"output_type": "display_data", "data": data, "metadata": {}}


def _needed(solver: PoolSolver, scenario: Scenario) -> Needed:
    frame = solutions(solver.demand, [solver])
    row = frame[frame["topic"] == scenario.topic].iloc[0]
    return Needed(scenario, row, tuple(map(str, frame.attrs["notes"])))
