"""The workload of a cluster: its live workers, what they run, and what they can run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tasktools.core.models import ClusterState, RunningTask, Worker


def is_live(worker: Worker) -> bool:
    """Whether *worker* is alive or only late."""
    return worker.state in ("alive", "late")


def live_workers(workers: Iterable[Worker]) -> list[Worker]:
    """Return those of *workers* that are alive or only late."""
    return [worker for worker in workers if is_live(worker)]


def count_by_topic(running: Iterable[RunningTask]) -> Counter[str | None]:
    """Count running tasks by topic."""
    return Counter(task.topic for task in running)


def subscribers_by_topic(workers: Iterable[Worker]) -> Counter[str]:
    """Count the live workers that report to consume each topic."""
    return Counter(topic for worker in live_workers(workers) for topic in set(worker.topics))


def running_in_all(state: ClusterState) -> int | None:
    """Return how many tasks run; `None` as long as workers may be unknown, or if no live worker
    reports what it runs."""
    live = live_workers(state.workers)
    known = [worker.running for worker in live if worker.running is not None]
    return sum(known) if state.settled and (known or not live) else None


def capacity_in_all(live: Sequence[Worker]) -> int | None:
    """Return how many tasks the *live* workers can run at once; `None` if none of them reports."""
    known = [worker.capacity for worker in live if worker.capacity is not None]
    return sum(known) if known or not live else None
