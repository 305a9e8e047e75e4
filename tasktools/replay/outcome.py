"""The outcome of a run: a frame, and a way to follow the replayed tasks."""

from __future__ import annotations

import pandas as pd

from tasktools.core.errors import InvalidPlan
from tasktools.core.frames.frame import Frame
from tasktools.core.frames.schemas import OUTCOME
from tasktools.replay.aftermath import Aftermath


class Outcome(Frame):
    """The outcome of each message of a run (schema `OUTCOME`), and a way to follow the tasks.

    It is a `DataFrame`; what is made of it (rows, columns, copies) does not follow them.
    """

    _schema = OUTCOME
    _aftermath: Aftermath | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, aftermath: Aftermath | None) -> Outcome:
        """Return *frame*, with what follows its tasks."""
        outcome = cls(frame)
        outcome.attrs = frame.attrs
        if aftermath is not None:
            aftermath.arrived(frame)
        object.__setattr__(outcome, "_aftermath", aftermath)  # not as a column
        return outcome

    def follow(self, seconds: float = 10.0) -> pd.DataFrame:
        """Follow the replayed tasks, and return what became of them.

        A task that fails again looks like a success until its worker has run it. Ends earlier,
        once every task has succeeded or lies among the dead letters again; a queue of those is
        looked at for that a few times, which costs what a look costs. May be called again.

        Parameters
        ----------
        seconds
            For how long at most.

        Returns
        -------
        pandas.DataFrame
            One row a task, up to the first 2,000 (schema `AFTERMATH`); ``attrs["summary"]`` says
            it in a sentence.

        Raises
        ------
        InvalidPlan
            When nothing was replayed by this run, or the cluster is closed.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     delivery = cluster.broker.claim("emails", "worker-1")
        ...     cluster.broker.nack(delivery.id, requeue=False)
        ...     plan = cluster.plan_replay(cluster.dead_letters("emails"))
        ...     outcome = cluster.run(plan, reason="INC-42", progress=False)
        ...     outcome.follow(0.1).attrs["summary"]
        False
        '1 replayed, 1 not begun'

        """
        if self._aftermath is None:
            raise InvalidPlan(
                "Only the outcome of a replay, as Cluster.run returns it, can be followed; "
                "nothing was done."
            )
        return self._aftermath.wait(seconds)

    def following(self) -> pd.DataFrame | None:
        """Return what `follow` would return now, without waiting; `None` for no replay."""
        return None if self._aftermath is None else self._aftermath.frame()
