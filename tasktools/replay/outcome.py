"""The outcome of a run: a frame, and a way to follow the replayed tasks."""

from __future__ import annotations

import pandas as pd

from tasktools.core.errors import InvalidPlan
from tasktools.core.frames.frame import Frame
from tasktools.core.frames.schemas import OUTCOME
from tasktools.replay.replayed_tasks import Aftermath


class Outcome(Frame):
    """The outcome of each message of a run (schema `OUTCOME`), and a way to follow the tasks.

    An outcome is a `DataFrame`; frames derived from it (rows, columns, copies) cannot follow the
    tasks.
    """

    _schema = OUTCOME
    _aftermath: Aftermath | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, aftermath: Aftermath | None) -> Outcome:
        """Return *frame* as an outcome whose tasks can be followed."""
        outcome = cls(frame)
        outcome.attrs = frame.attrs
        if aftermath is not None:
            aftermath.arrived(frame)
        object.__setattr__(outcome, "_aftermath", aftermath)  # not as a column
        return outcome

    def follow(self, seconds: float = 10.0) -> pd.DataFrame:
        """Follow the replayed tasks, and return their states.

        A task that fails again looks like a success until its worker has run it. Ends earlier, once
        every task has succeeded or lies among the dead letters again; the dead-letter queues are
        looked at a few times, with the cost of a look. May be called again.

        Parameters
        ----------
        seconds
            The longest time to wait.

        Returns
        -------
        pandas.DataFrame
            One row a task, up to the first 2,000 (schema `AFTERMATH`); ``attrs["summary"]`` is a
            sentence with the counts.

        Raises
        ------
        InvalidPlan
            The run replayed nothing, or the cluster is closed.

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
        """Return the present result of `follow`, without waiting; `None` if nothing was
        replayed."""
        return None if self._aftermath is None else self._aftermath.frame()
