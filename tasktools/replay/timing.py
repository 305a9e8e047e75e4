"""The times that tasktools waits for brokers and workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The times for which a `Cluster` waits for others, in seconds.

    Parameters
    ----------
    obeyed
        The longest wait for a worker to obey a command; a worker that has obeyed sends a heartbeat
        at once.
    broker_away
        The longest wait for a broker to come back during a run: longer than RabbitMQ needs to
        notice a cut connection, and to requeue the messages that it held.
    queue_held
        The longest wait for the lock of a queue that a process held which was killed just now.
    requeued
        The time after which messages that a dead process held are surely back in their queue.
    ramp_poll
        Between two checks whether the tasks of a ramp's step have ended.
    ramp_look
        Between two looks for these tasks among the dead letters.
    looks_after_run
        Times after a run at which dead-letter queues are looked at; few, since each look has a
        cost.

    """

    obeyed: float = 6.0
    broker_away: float = 120.0
    queue_held: float = 3.0
    requeued: float = 1.0
    ramp_poll: float = 0.1
    ramp_look: float = 5.0
    looks_after_run: tuple[float, ...] = (1.0, 4.0, 9.0)
