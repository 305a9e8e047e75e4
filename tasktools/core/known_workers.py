"""The known state of a worker, from its own events, or before the first of them from other nodes'
events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from tasktools.core.clock import moment
from tasktools.core.duration_histogram import Histogram, between
from tasktools.core.events import WorkerReport
from tasktools.core.models import Worker, WorkerState
from tasktools.core.timespans import in_words
from tasktools.core.workload import live_workers

ONE_HEARTBEAT: Final = 3.5
"""Seconds within which every live worker has sent an event: heartbeats come every 3 s."""
LATE_AFTER: Final = 10.0
"""Seconds of silence after which a worker is `late`: three heartbeats missed."""
GONE_AFTER: Final = 30.0
"""Seconds of silence after which a worker is `gone`; its tasks no longer count as running."""

_LATE_BEATS: Final = 3.5
_GONE_BEATS: Final = 10.0
"""Heartbeats missed, where a worker says that it sends them more seldom than a peer."""
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
    """Whether the worker has sent an event since we listen, so that its running tasks are known."""
    first_beat: float | None = None
    sender: str | None = None
    """The name under which its own node sends events."""
    goodbye: float | None = None
    """Time at which the worker's own goodbye arrived; other nodes send one for a silent worker."""
    connected_at: float | None = None
    """Time at which it was last seen to be connected to the broker, although it is silent."""

    def silence(self, now: float) -> float:
        """Return the seconds since the worker's last event, by our clock."""
        return max(now - self.heard_at, 0.0) + self.silence_when_heard

    def state(self, now: float) -> WorkerState:
        """Return the worker's state at *now*."""
        if self.stopped is not None:
            return "stopped"
        silence, every = self.silence(now), self.report.heartbeat_every or 0.0
        if silence < max(LATE_AFTER, _LATE_BEATS * every):
            return "alive"
        is_connected = self.connected_at is not None and now - self.connected_at <= GONE_AFTER
        return "late" if is_connected or silence <= max(GONE_AFTER, _GONE_BEATS * every) else "gone"

    def is_restarted(self, new: WorkerReport) -> bool:
        """Whether *new* comes from another process with the same worker name."""
        pairs = ((self.report.started_at, new.started_at), (self.report.pid, new.pid))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)

    def with_telemetry(self, new: WorkerReport) -> WorkerReport:
        """Return *new*, an event without telemetry, with the telemetry of the last heartbeat."""
        old = self.report
        return replace(
            new,
            running=old.running if new.running is None and self.is_fresh else new.running,
            running_tasks=old.running_tasks if self.is_fresh else None,
            durations=old.durations if self.is_fresh else None,
            succeeded=old.succeeded if new.succeeded is None else new.succeeded,
            failed=old.failed if new.failed is None else new.failed,
            finished_per_topic=new.finished_per_topic or old.finished_per_topic,
            failed_per_topic=new.failed_per_topic or old.failed_per_topic,
        )

    def ended_before(self, new: WorkerReport) -> tuple[dict[str, Histogram], dict[str, int]]:
        """Return the durations of the tasks that ended between the worker's last heartbeat and
        *new*, by task name, and the number of finished tasks by topic."""
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
            topics_known=report.topics_known,
            started_at=None if report.started_at is None else moment(report.started_at),
            last_seen=None if self.beat is None else moment(self.beat),
            silence=self.silence(now),
            clock_offset=offset,
            succeeded=report.succeeded,
            failed=report.failed,
            is_tasktools=report.tasktools is not None,
            version=report.tasktools or report.version,
            dialect=report.dialect,
            sends_task_events=report.sends_task_events,
            draining=report.draining,
            prefetch=report.prefetch,
            retries=report.retries,
            first_seen=None if self.first_beat is None else moment(self.first_beat),
            stopped_at=None if self.goodbye is None else moment(self.goodbye),
        )


def note_of_clocks(workers: Sequence[Worker]) -> str | None:
    """Return in words which *workers* have clocks that differ much from ours."""
    offsets = {
        worker.worker_id: worker.clock_offset
        for worker in workers
        if worker.clock_offset is not None and abs(worker.clock_offset) >= _FAR_CLOCK
    }
    if not offsets:
        return None
    words = [
        f"{name} by {in_words(abs(offset))} ({'ahead' if offset > 0 else 'behind'})"
        for name, offset in list(offsets.items())[:_MAX_NAMED_WORKERS]
    ]
    more = ", …" if len(offsets) > _MAX_NAMED_WORKERS else ""
    return (
        f"clocks of workers that differ from ours: {', '.join(words)}{more}; their `started_at` "
        "is by their own clocks"
    )


def note_of_unknown_tasks(workers: Sequence[Worker], *, is_settled: bool) -> str | None:
    """Return in words that the running tasks of some live *workers* are unknown."""
    live = live_workers(workers)
    unknown = [worker.worker_id for worker in live if worker.running is None]
    if unknown:
        more = ", …" if len(unknown) > _MAX_NAMED_WORKERS else ""
        return (
            f"the running tasks of {len(unknown)} of {len(live)} workers are not known, since no "
            f"heartbeat of theirs has arrived yet: {', '.join(unknown[:_MAX_NAMED_WORKERS])}{more}"
        )
    return None if is_settled else "the workers were asked just now, and not all have answered"
