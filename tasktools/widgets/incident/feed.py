"""The thread of the incident widget: it judges the cluster, and looks up what was chosen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

import pandas as pd

from tasktools import figures
from tasktools.cluster.cluster import Cluster
from tasktools.core.errors import TaskToolsError
from tasktools.diagnosis.diagnose import diagnose, topic_states
from tasktools.diagnosis.explain import explain
from tasktools.diagnosis.timeline import timeline
from tasktools.figures.figure_parts import Theme
from tasktools.widgets.feed import Feed, Post
from tasktools.widgets.finding_lines import FindingLine, finding_lines
from tasktools.widgets.incident.state import Answer, Order

_SECOND_LOOK_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 10.0
_TIMELINE_SECONDS: Final = 30.0
_RECORDED_SECONDS: Final = 3600.0
"""Seconds between two looks at a recording, which changes only if a recorder still writes it."""
_COMPARED: Final = (
    *("field", "value", "failed", "rows", "share_failed", "share_succeeded", "risk_ratio", "p"),
)


class IncidentFeed(Feed):
    """Judges the cluster every 10 s, and does the orders of the state, one after the other."""

    def __init__(
        self,
        cluster: Cluster,
        receive: Callable[[Mapping[str, Any]], object],
        post: Post,
        *,
        theme: Theme,
    ) -> None:
        super().__init__("incident", self._look_around, receive, post)
        self._theme = theme
        self._cluster = cluster
        self._window = ""
        self._drawn_window = ""
        self._draw_at = 0.0
        self._looks = 0
        self._chosen = ""
        self._looked_up: FindingLine | None = None

    # --- from any other thread ------------------------------------------------------

    def execute(self, order: Order) -> None:
        """Do *order* in the feed's thread."""
        self.do(lambda: self._execute(order))

    def choose(self, key: str) -> None:
        """Keep what is shown of the finding *key* up to date; "" for none."""
        self._chosen = key

    def want(self, window: str) -> None:
        """Show the timeline of the last *window*."""
        self._window = window
        self.look_soon()

    # --- in the feed's thread -------------------------------------------------------

    def _look_around(self) -> float:
        cluster = self._cluster
        frame = diagnose(cluster, settle=0.0)
        self.tell(findings=finding_lines(frame, cluster.redaction))
        self._looks += 1
        if self._looked_up is not None and self._looked_up.key == self._chosen:
            self.tell(looked_up=self._look_up(self._looked_up))
        if self._window != self._drawn_window or time.monotonic() >= self._draw_at:
            window = self._window
            # Here, since to load plotly takes seconds, in which the kernel would answer nobody.
            self.tell(timeline=timeline_drawing(timeline(cluster, since=window), self._theme))
            self._drawn_window, self._draw_at = window, time.monotonic() + _TIMELINE_SECONDS
        if cluster.is_recorded:
            return _RECORDED_SECONDS
        return _SECOND_LOOK_SECONDS if self._looks == 1 else _LOOK_SECONDS

    def _execute(self, order: Order) -> None:
        news: dict[str, Any] = {"busy": ""}
        try:
            match order.verb:
                case "look up":
                    news["looked_up"] = self._look_up(order.line)
                    self._looked_up = order.line
                case "compare":
                    news["compared"] = self._compare(order)
                case _:
                    assert_never(order.verb)
        except (TaskToolsError, ValueError) as error:
            news["problem"] = str(error)
        finally:
            self.tell(**news)

    def _look_up(self, line: FindingLine) -> Answer:
        cluster, name = self._cluster, line.name
        match line.subject_kind:
            case "topic":
                topics, states = cluster.topics(), topic_states(cluster)
                tables = [
                    (f"Topic {name}", topics[topics["topic"] == name]),
                    ("Its state", states[states["topic"] == name]),
                ]
            case "worker":
                workers, tasks = cluster.workers(), cluster.active_tasks(queued=False)
                tables = [
                    (f"Worker {name}", workers[workers["worker_id"] == name]),
                    ("Tasks it runs", tasks[tasks["worker_id"] == name]),
                ]
            case "task":
                tasks = cluster.active_tasks(queued=False)
                tables = [(f"Task {name}", tasks[tasks["task_id"] == name])]
            case _:
                locks = cluster.locks()
                tables = [(f"Lock {name}", locks[locks["lock"] == name])]
        return Answer(line.key, tuple(tables))

    def _compare(self, order: Order) -> Answer:
        tasks = self._cluster.tasks(order.line.name, since=order.window)
        failed, succeeded = _with(tasks, "failed"), _with(tasks, "succeeded")
        common = explain(failed, succeeded)
        title = f"What {len(failed):,} failed tasks have in common ({len(succeeded):,} succeeded)"
        notes = tuple(map(str, (*tasks.attrs["notes"], *common.attrs["notes"])))
        if common.empty:
            notes = ("nothing that they have in common is more than chance", *notes)
        return Answer(order.line.key, ((title, common[list(_COMPARED)].head(20)),), notes)


def timeline_drawing(frame: pd.DataFrame, theme: Theme) -> Mapping[str, Any]:
    """Return the timeline *frame* as an output of a cell.

    plotly's own renderers are not used: they load nbformat and a grammar of URLs, which takes as
    long as everything else together.
    """
    drawing = json.loads(figures.timeline(frame, theme=theme).to_json())
    data = {"application/vnd.plotly.v1+json": drawing}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def _with(tasks: pd.DataFrame, outcome: str) -> pd.DataFrame:
    return tasks[tasks["outcome"] == outcome]
