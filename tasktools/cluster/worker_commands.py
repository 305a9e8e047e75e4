"""The operator's commands to workers with a control channel of their own, like Celery's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasktools.cluster.commands import Commands
from tasktools.core.lazy_imports import pd


class WorkerCommands(Commands):
    """The part of `Cluster` that changes pools, limits and tasks of workers, as those of Celery.

    On a cluster opened with ``read_only=True`` all of these raise `ReadOnly`. Workers of another
    dialect raise `CommandRefused`, and so does a command that every worker refuses.
    """

    def shutdown(self, worker_id: str) -> pd.DataFrame:
        """Make a worker finish its running tasks, and stop.

        What it has prefetched goes back to its queue.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`), as soon as the command was sent; the
            worker stops when its tasks have ended.

        Raises
        ------
        UnknownWorker, ReadOnly, CommandRefused
            Nothing was sent.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.shutdown("w1@shop")
        ...     except tt.UnknownWorker as error:
        ...         print(error)
        There is no worker 'w1@shop'; nothing was sent: look at workers(), or tasktools workers.

        """
        return self._command_workers("shutdown", {}, worker_id)

    def resize_pool(self, worker_id: str, by: int) -> pd.DataFrame:
        """Make a worker run more tasks at once, or fewer.

        Parameters
        ----------
        worker_id
            The worker, as `workers` names it.
        by
            Processes or threads to add; negative: to end, once their tasks have ended.

        Returns
        -------
        pandas.DataFrame
            The worker's row of `workers` (schema `WORKERS`); `capacity` changes a moment later.

        Raises
        ------
        ValueError
            *by* is 0; nothing was sent.
        UnknownWorker, ReadOnly, CommandRefused, BrokerTimeout
            As for `rate_limit`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.resize_pool("w1@shop", by=2)
        ...     except tt.UnknownWorker as error:
        ...         print(error)
        There is no worker 'w1@shop'; nothing was sent: look at workers(), or tasktools workers.

        """
        if by == 0:
            raise ValueError("by is 0; nothing was sent. Name how many to add, or to end (-1).")
        return self._command_workers("resize_pool", {"by": by}, worker_id)

    def rate_limit(
        self, task_name: str, rate: str, *, worker_id: str | None = None
    ) -> pd.DataFrame:
        """Limit how often each worker begins a kind of task. It lasts until the worker stops.

        Parameters
        ----------
        task_name
            The kind of task.
        rate
            As ``"10/s"``, ``"5/m"`` or ``"100/h"``, for each worker; ``"0"`` removes the limit.
        worker_id
            The worker; by default all workers that take such commands.

        Returns
        -------
        pandas.DataFrame
            The rows of `workers` (schema `WORKERS`) of the commanded workers; notes say which
            refused, and why.

        Raises
        ------
        UnknownWorker, ReadOnly
            Nothing was sent.
        CommandRefused
            No live worker takes this command, or all refused it.
        BrokerTimeout
            No worker replied within 6 s; they may still obey.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.rate_limit("shop.send_email", "10/m")
        ...     except tt.CommandRefused as error:
        ...         print(error)
        No live worker takes the command rate_limit; nothing was sent. Look at workers().

        """
        return self._command_workers(
            "rate_limit", {"task_name": task_name, "rate": rate}, worker_id
        )

    def time_limit(
        self,
        task_name: str,
        *,
        soft: float | None = None,
        hard: float | None = None,
        worker_id: str | None = None,
    ) -> pd.DataFrame:
        """Limit for how long a kind of task may run. It lasts until the worker stops.

        Parameters
        ----------
        task_name
            The kind of task.
        soft
            Seconds after which the task gets an exception that it can handle; by default none.
        hard
            Seconds after which its process is killed; by default none.
        worker_id
            The worker; by default all workers that take such commands.

        Returns
        -------
        pandas.DataFrame
            As for `rate_limit`.

        Raises
        ------
        UnknownWorker, ReadOnly, CommandRefused, BrokerTimeout
            As for `rate_limit`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.time_limit("shop.report", soft=60, hard=90)
        ...     except tt.CommandRefused as error:
        ...         print(error)
        No live worker takes the command time_limit; nothing was sent. Look at workers().

        """
        params = {"task_name": task_name, "soft": soft, "hard": hard}
        return self._command_workers("time_limit", params, worker_id)

    def revoke(self, task_id: str, *, terminate: bool = False) -> pd.DataFrame:
        """Make workers drop a task when it arrives. They remember the task id until they stop.

        Parameters
        ----------
        task_id
            The task.
        terminate
            Also kill the process that runs the task, if it runs; its work is then left unfinished.

        Returns
        -------
        pandas.DataFrame
            As for `rate_limit`.

        Raises
        ------
        ReadOnly, CommandRefused, BrokerTimeout
            As for `rate_limit`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.revoke("8b1c")
        ...     except tt.CommandRefused as error:
        ...         print(error)
        No live worker takes the command revoke; nothing was sent. Look at workers().

        """
        return self._command_workers("revoke", {"task_id": task_id, "terminate": terminate})

    def enable_task_events(self, worker_id: str | None = None) -> pd.DataFrame:
        """Make workers send events of their tasks, from now on until they stop.

        Without these events, failures, counts and durations of their tasks are not known.

        Parameters
        ----------
        worker_id
            The worker; by default all workers that take such commands.

        Returns
        -------
        pandas.DataFrame
            As for `rate_limit`.

        Raises
        ------
        UnknownWorker, ReadOnly, CommandRefused, BrokerTimeout
            As for `rate_limit`.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     try:
        ...         cluster.enable_task_events()
        ...     except tt.CommandRefused as error:
        ...         print(error)
        No live worker takes the command enable_task_events; nothing was sent. Look at workers().

        """
        return self._command_workers("enable_task_events", {}, worker_id)

    def _command_workers(
        self, action: str, params: Mapping[str, Any], worker_id: str | None = None
    ) -> pd.DataFrame:
        """Send a command to one worker, or to all that take it; return their rows."""
        self.broker.check_writable(action)
        names = self._commanded(action, worker_id)
        refusals = self._control(action, names, params)
        frame = self.workers()
        rows = frame[frame["worker_id"].isin(names)].reset_index(drop=True)
        rows.attrs = frame.attrs
        rows.attrs["notes"] = [*rows.attrs["notes"], *refusals]
        return rows
