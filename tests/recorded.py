"""A cluster in memory whose recorder ticks when a test says so."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core import events
from tasktools.core.clock import ManualClock
from tasktools.core.events import Event
from tasktools.core.layout import FP
from tasktools.history.broker import HistoryBroker
from tasktools.history.recorder import Recorder
from tasktools.history.store import File
from tasktools.testing.factories import task_event, worker_event

START = 1_800_000_000.0


class Scene:
    """A cluster, what workers say in it, and a recorder of it into *path*."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.clock = ManualClock(START)
        self.server = MemoryServer(clock=self.clock)
        self.path = path
        self.cluster = Cluster(
            MemoryBroker(self.server, layout=FP, clock=self.clock), clock=self.clock
        )
        self.options = {"every": 5.0, **options}
        self.recorder = self.new_recorder()

    def new_recorder(self, path: Path | None = None) -> Recorder:
        """Return another recorder, which is open."""
        recorder = self.cluster.record(path or self.path, **self.options)
        recorder.open()
        return recorder

    def say(self, *messages: Event) -> None:
        """Let workers say something."""
        self.server.broadcast(*map(events.encode, messages))

    def beat(self, worker_id: str = "worker-1", tasks: Iterable[str] = (), **fields: Any) -> None:
        """Let a worker's heartbeat come."""
        fields.setdefault("last_heartbeat", self.clock.time())
        self.say(worker_event("heartbeat", worker_id, running=list(tasks), **fields))

    def task(self, kind: Any, task_id: str = "t1", **fields: Any) -> None:
        """Let a worker tell of a task."""
        self.say(task_event(kind, task_id, **fields))

    def tick(self, after: float = 5.0) -> None:
        """Let time pass, and the recorder look."""
        self.clock.advance(after)
        self.recorder.tick()

    def history(self, **options: Any) -> Cluster:
        """Return the recording as a cluster."""
        broker = HistoryBroker(File(self.path))
        return Cluster(broker, clock=broker.clock, **options)

    def close(self) -> None:
        """End all."""
        self.recorder.close()
        self.cluster.close()
