"""The times that tasktools waits for brokers and workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The times for which a `Cluster` waits for others, in seconds.

    Parameters
    ----------
    obeyed
        For a worker to obey a command: it sends a heartbeat at once when it did, else every 3 s.
    broker_away
        For a broker to come back during a run. Longer than RabbitMQ needs to notice that a
        connection of ours was cut, and to let go of what it held.
    queue_held
        For a queue to be let go by a process that was killed just now.
    requeued
        Until what a dead process held is surely back in its queue.
    ramp_poll
        Between two checks whether the tasks of a ramp's step have ended.
    ramp_look
        Between two looks whether they lie among the dead letters.
    looks_after_run
        After a run, when dead-letter queues are looked at; each look has its price.

    """

    obeyed: float = 6.0
    broker_away: float = 120.0
    queue_held: float = 3.0
    requeued: float = 1.0
    ramp_poll: float = 0.1
    ramp_look: float = 5.0
    looks_after_run: tuple[float, ...] = (1.0, 4.0, 9.0)
