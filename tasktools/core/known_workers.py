"""The known state of a worker, from its own events, and until they come from those of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from tasktools.core.clock import moment
from tasktools.core.duration_histogram import Histogram, between
from tasktools.core.events import WorkerReport
from tasktools.core.models import Worker, WorkerState
from tasktools.core.workload import live_workers

ONE_HEARTBEAT: Final = 3.5
"""Seconds within which any live worker has spoken: its heartbeat comes every 3 s."""
LATE_AFTER: Final = 10.0
"""Seconds of silence after which a worker is `late`: three heartbeats missed."""
GONE_AFTER: Final = 30.0
"""Seconds of silence after which a worker is `gone`; its tasks no longer count as running."""

_FAR_CLOCK: Final = 20.0  # seconds; an event may come a little late
_MAX_NAMED_WORKERS: Final = 3  # workers that a note names


@dataclass(slots=True)
class KnownWorker:
    """A worker known from events. `heard_at` and `beat` are arrival times by our clock."""

    report: WorkerReport
    heard_at: float
    silence_when_heard: float = 0.0
    beat: float | None = None
    stopped: float | None = None
    is_fresh: bool = False
    """It has spoken itself since we listen, so that what it runs is known."""
    first_beat: float | None = None
    sender: str | None = None
    """The name under which its own node sends events."""
    goodbye: float | None = None
    """Time at which it said itself that it stops; others say it of a worker that is silent."""

    def silence(self, now: float) -> float:
        """Return the seconds since its last event, by our clock."""
        return max(now - self.heard_at, 0.0) + self.silence_when_heard

    def state(self, now: float) -> WorkerState:
        """Return its state at *now*."""
        if self.stopped is not None:
            return "stopped"
        silence = self.silence(now)
        return "alive" if silence < LATE_AFTER else "late" if silence <= GONE_AFTER else "gone"

    def with_telemetry(self, new: WorkerReport) -> WorkerReport:
        """Return *new*, which has no telemetry, with that of the last heartbeat."""
        old = self.report
        return replace(
            new,
            running=old.running if new.running is None and self.is_fresh else new.running,
            running_tasks=old.running_tasks if self.is_fresh else None,
            durations=old.durations if self.is_fresh else None,
            succeeded=old.succeeded,
            failed=old.failed,
            finished_per_topic=old.finished_per_topic,
            failed_per_topic=old.failed_per_topic,
        )

    def ended_before(self, new: WorkerReport) -> tuple[dict[str, Histogram], dict[str, int]]:
        """Return how long the tasks took that ended between its last heartbeat and *new*, by task
        name, and how many finished, by topic."""
        old = self.report
        if self.beat is None or old.durations is None or new.durations is None:
            return {}, {}
        counts = (
            (topic, n - old.finished_per_topic.get(topic, 0))
            for topic, n in new.finished_per_topic.items()
        )
        finished = {topic: n for topic, n in counts if n > 0}
        return between(old.durations, new.durations), finished

    def worker(self, tasks: int, now: float) -> Worker:
        """Return the worker's state at *now*; *tasks* is how many it runs."""
        report, state = self.report, self.state(now)
        if state in ("gone", "stopped"):
            running: int | None = 0
        elif not self.is_fresh:
            running = None
        elif report.running_tasks is not None:
            running = tasks
        else:
            running = report.running
        offset = None
        if self.beat is not None and report.last_heartbeat is not None:
            offset = report.last_heartbeat - self.beat
        return Worker(
            worker_id=report.worker_id,
            state=state,
            uncertain=self.beat is None,
            role=report.role,
            host=report.host,
            pid=report.pid,
            running=running,
            capacity=report.capacity,
            topics=report.topics,
            started_at=None if report.started_at is None else moment(report.started_at),
            last_seen=None if self.beat is None else moment(self.beat),
            silence=self.silence(now),
            clock_offset=offset,
            succeeded=report.succeeded,
            failed=report.failed,
            is_tasktools=report.tasktools is not None,
            version=report.tasktools,
            draining=report.draining,
            prefetch=report.prefetch,
            retries=report.retries,
            first_seen=None if self.first_beat is None else moment(self.first_beat),
            stopped_at=None if self.goodbye is None else moment(self.goodbye),
        )


def note_of_clocks(workers: Sequence[Worker]) -> str | None:
    """Return in words which *workers* have a clock that is far from ours."""
    offsets = {
        worker.worker_id: worker.clock_offset
        for worker in workers
        if worker.clock_offset is not None and abs(worker.clock_offset) >= _FAR_CLOCK
    }
    if not offsets:
        return None
    words = [
        f"{name} by {abs(offset):,.0f} s ({'ahead' if offset > 0 else 'behind'})"
        for name, offset in list(offsets.items())[:_MAX_NAMED_WORKERS]
    ]
    more = ", …" if len(offsets) > _MAX_NAMED_WORKERS else ""
    return (
        f"clocks of workers that differ from ours: {', '.join(words)}{more}; what started_at says "
        "is by their own"
    )


def note_of_unheard(workers: Sequence[Worker], *, is_settled: bool) -> str | None:
    """Return in words that it is not known what some of the live *workers* run."""
    live = live_workers(workers)
    unheard = [worker.worker_id for worker in live if worker.running is None]
    if unheard:
        more = ", …" if len(unheard) > _MAX_NAMED_WORKERS else ""
        return (
            f"what {len(unheard)} of {len(live)} workers run is not known, since no heartbeat of "
            f"theirs has arrived yet: {', '.join(unheard[:_MAX_NAMED_WORKERS])}{more}"
        )
    return None if is_settled else "the workers were asked just now, and not all have answered"
