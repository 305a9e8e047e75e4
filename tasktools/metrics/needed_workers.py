"""The number of workers needed, from a recording: computed regularly, in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any, Final, Self

import pandas as pd

from tasktools.capacity.solve import solve
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import SystemClock
from tasktools.core.errors import TaskToolsError
from tasktools.metrics.families import MAX_LABEL_VALUES, Samples

_log = logging.getLogger("tasktools.metrics")

_EVERY_SECONDS: Final = 3600.0  # what a week needs does not change sooner
_RETRY_SECONDS: Final = 60.0
_END_SECONDS: Final = 2.0
_METRICS: Final = {
    "tasktools_topic_needed_workers": "workers",
    "tasktools_topic_needed_workers_low": "workers_low",
    "tasktools_topic_needed_workers_high": "workers_high",
}


class Needs:
    """The number of workers that topics need for 95 % of their tasks to wait at most *wait_below*
    s.

    A thread computes the numbers as long as this object is open. They are absent before the first
    result and after a failed attempt; the next attempt comes *retry* seconds later.
    """

    def __init__(
        self, history: Cluster, *, wait_below: float, retry: float = _RETRY_SECONDS
    ) -> None:
        self._history = history
        self._wait_below = wait_below
        self._retry = retry
        self._samples: Samples = {}
        self._end = threading.Event()
        self._context = contextlib.ExitStack()
        self.problem: str | None = None
        """Why the last attempt failed; `None`: it did not."""

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._run, name="tasktools-metrics-needs", daemon=True)
        thread.start()
        self._context.callback(thread.join, _END_SECONDS)  # a simulation ends in its own time
        self._context.callback(self._end.set)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._context.close()

    def samples(self) -> Samples:
        """Return the latest computed values."""
        return self._samples

    def _run(self) -> None:
        while not self._end.is_set():
            samples: Samples = {}
            try:
                solutions = solve(self._history, wait_below=self._wait_below)
                samples, problem = samples_of_needs(solutions, SystemClock().time()), None
            except TaskToolsError as error:
                problem = f"The recording does not show how many workers are needed: {error}"
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                problem = f"The needed workers could not be computed: {error!r}"
                if problem != self.problem:
                    _log.exception("the needed workers could not be computed")
            is_up = problem is None
            self._samples = {**samples, "tasktools_source_up": [(("recording",), float(is_up))]}
            self.problem = problem
            self._end.wait(_EVERY_SECONDS if is_up else self._retry)


def samples_of_needs(solutions: pd.DataFrame, at: float) -> Samples:
    """Return the samples of a frame `SOLUTIONS` that was computed *at* (s since the epoch)."""
    rows: list[dict[Any, Any]] = solutions.head(MAX_LABEL_VALUES).to_dict("records")
    samples: Samples = {
        metric: [((row["topic"],), float(row[column])) for row in rows if not pd.isna(row[column])]
        for metric, column in _METRICS.items()
    }
    return {**samples, "tasktools_needed_timestamp_seconds": [((), at)]}
