"""Tasks of a cluster over time, one row each."""

from __future__ import annotations

from typing import Final

from tasktools.cluster.history import Analysis
from tasktools.core.lazy_imports import pd
from tasktools.core.timespans import Moment
from tasktools.history import tasks

_MAX_TASKS: Final = 100_000
_NO_MESSAGES: Final = (
    "task_name, first_wait, published_at and size are of messages, of which none of these tasks' "
    "was recorded: a recorder with messages=True has them"
)
_NO_BODIES: Final = (
    "args and kwargs are of messages' bodies, of which none of these tasks' was recorded: a "
    "recorder with bodies=True has them"
)


class TaskHistory(Analysis):
    """The part of `Cluster` that returns tasks of the past and their outcomes."""

    def tasks(
        self,
        topic: str | None = None,
        *,
        since: Moment = "1D",
        until: Moment | None = None,
        limit: int = _MAX_TASKS,
    ) -> pd.DataFrame:
        """Return the outcome of each task: one row a task, however often it was tried.

        `tasktools.explain` compares those that failed with those that succeeded. For a live cluster
        the tasks come from events that this process received; for a recording, from those that its
        recorder received.

        Parameters
        ----------
        topic
            The topic; by default all.
        since
            The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``). Tasks
            whose last try ended after this moment, or still runs, are returned.
        until
            The end; by default now, or the end of the recording.
        limit
            The number of rows; the latest ones are returned.

        Returns
        -------
        pandas.DataFrame
            One row a task (schema `TASKS`).

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("demo://") as cluster:
        ...     tasks = cluster.tasks()
        >>> failed = tasks[tasks["outcome"] == "failed"]
        >>> rows = tt.explain(failed, tasks[tasks["outcome"] == "succeeded"])

        """
        query = self._query(since, until)
        frame = self._answer(
            tasks.tasks, query, topic=topic, limit=limit + 1, redaction=self._redaction
        )
        if len(frame) > limit:
            attrs = frame.attrs
            frame = frame.head(limit)
            frame.attrs = attrs
            attrs["notes"] += [f"these are the latest {limit:,} tasks; there are more"]
        if len(frame) and frame["size"].isna().all():
            frame.attrs["notes"] += [_NO_MESSAGES]
        elif len(frame) and frame["kwargs"].isna().all():
            frame.attrs["notes"] += [_NO_BODIES]
        return frame
