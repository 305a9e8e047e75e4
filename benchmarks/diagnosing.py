"""The duration of a diagnosis of a large cluster, as processor time."""

from __future__ import annotations

import statistics
import time
from typing import Literal

import tasktools as tt
from benchmarks.measure import Result, at_most
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core import events
from tasktools.core.clock import ManualClock
from tasktools.core.layout import FP
from tasktools.testing.factories import peer_heartbeat, task_event

_BOUND_SECONDS = 1.0


def diagnosing(*, topics: int, workers: int, ticks: int, rounds: int) -> Result:
    """`diagnose` of a cluster that was sampled for *ticks* seconds, on the processor."""
    clock = ManualClock()
    server = MemoryServer(clock=clock)
    with Cluster(MemoryBroker(server, layout=FP, clock=clock), clock=clock) as cluster:
        names = [f"bench.topic.{n:04}" for n in range(topics)]
        for name in names:
            server.ensure_topic(FP, name)
            server.set_consumers(name, 1)
        with cluster.sampled():
            pass
        for second in range(ticks):
            clock.advance(1)
            _speak(server, names, workers, clock.time(), second)
            with cluster.sampled():
                pass
        seconds = []
        for _ in range(rounds):
            began = time.process_time()
            findings = tt.diagnose(cluster, settle=0)
            seconds.append(time.process_time() - began)
        assert len(cluster.topics()) == topics
        assert len(cluster.workers()) == workers
        assert len(findings) > 20
    median = statistics.median(seconds)
    return at_most(
        f"diagnose() of {topics:,} topics and {workers:,} workers after {ticks:,} samples, in "
        "processor time, against a second",
        median / _BOUND_SECONDS,
        1,
        f"{median:.2f} s",
    )


def _speak(server: MemoryServer, topics: list[str], workers: int, now: float, second: int) -> None:
    """Let a third of the workers beat, as they do every 3 s, and 200 tasks begin and end."""
    bodies = []
    for number in range(second % 3, workers, 3):
        topic = topics[number % len(topics)]
        count = 10 + second
        histogram = {"count": count, "sum": 0.1 * count, "buckets": [[0.5, count]]}
        telemetry = {
            "running_tasks": [],
            "completed_per_topic": {topic: count},
            "duration_histograms": {f"send-{number % 50}:success": histogram},
        }
        bodies.append(
            peer_heartbeat(
                f"worker-{number}",
                at=now,
                host=f"host-{number % 40}",
                topics=[topic],
                meta={"hb": {"telemetry": telemetry}},
            )
        )
    for number in range(100):
        topic, worker = topics[number], f"worker-{number}"
        kinds: tuple[Literal["task_started"], Literal["task_completed"]]
        kinds = ("task_started", "task_completed")
        for kind in kinds:
            event = task_event(kind, f"task-{second}-{number}", worker, topic=topic)
            bodies.append(events.encode(event))
    server.broadcast(*bodies)
