"""Simulated load, recorded as a recorder would have: a worker with many slots for each topic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasktools.demo.recording_file import (
    SimulatedCluster,
    SimulatedTries,
    SimulatedWorker,
    milliseconds,
    write_recording,
)

MONDAY = 1_794_787_200.0  # 2026-11-16
DAY = 86_400.0
Floats = npt.NDArray[np.float64]


def poisson(dice: np.random.Generator, rate: float, seconds: float) -> Floats:
    """Return the times of independent arrivals from Monday on."""
    return MONDAY + np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds)))


def load(
    arrivals: dict[str, Floats], services: dict[str, Floats], *, wait: float = 0.0
) -> SimulatedCluster:
    """Return a cluster in which each task starts *wait* seconds after it arrived."""
    topics = tuple(arrivals)
    at = np.concatenate([arrivals[topic] for topic in topics])
    took = np.concatenate([services[topic] for topic in topics])
    topic = np.repeat(np.arange(len(topics)), [len(arrivals[name]) for name in topics])
    order = np.argsort(at, kind="stable")
    at, took, topic = at[order], took[order], topic[order]
    zeros = np.zeros(len(at), np.int64)
    workers = tuple(
        SimulatedWorker(f"{name}-worker", f"host-{place}", 100, (name,), 100)
        for place, name in enumerate(topics)
    )
    tries = SimulatedTries(
        topic=topic,
        name=topic,
        worker=topic,
        task=np.arange(len(at)),
        attempts=zeros,
        published=milliseconds(at),
        started=milliseconds(at + wait),
        ended=milliseconds(at + wait + took),
        failed=zeros,
    )
    return SimulatedCluster(topics, tuple(f"do_{name}" for name in topics), workers, {}, {}, tries)


def record(
    path: Path,
    cluster: SimulatedCluster,
    *spans: tuple[float, float],
    every: float = 5.0,
    messages: bool = True,
) -> Path:
    """Record *cluster* in *spans* (seconds since Monday)."""
    in_ms = [(round((MONDAY + a) * 1000), round((MONDAY + b) * 1000)) for a, b in spans]
    write_recording(path, cluster, in_ms, every=round(every * 1000), messages=messages)
    return path
