"""The service time of short tasks of a real peer, against the time that they are made to take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import tasktools as tt
from tasktools.testing import eventually
from tests.peer.peer_log import moments
from tests.timing import contention

TOOK = 0.1  # seconds that each task sleeps
COUNT = 12


def service_time(cluster: tt.Cluster) -> pd.DataFrame:
    """Return how long the tasks took that the heartbeats have told of, in one interval."""
    frame = cluster.service_time("emails", every="1h")
    return frame.dropna(subset=["mean"])


def check(frame: pd.DataFrame, slept: float) -> None:
    rows = frame.to_dict("records")
    count = sum(row["count"] for row in rows)
    mean = sum(row["mean"].total_seconds() * row["count"] for row in rows) / count
    assert count == COUNT
    assert slept <= mean < slept + 0.2 * contention(), "a little more than its task sleeps"
    assert frame["p50"].isna().all(), "a histogram has bounds, and no quantiles"
    assert frame["longest"].isna().all()
    bounds = frame["p50_at_most"].dt.total_seconds()
    assert bounds.isin([0.25, 0.5, 1.0]).all(), "bounds of the peer's buckets"


def test_an_idle_peers_short_tasks_take_as_long_as_its_heartbeats_say(
    quiet_peer: Any, connect: Callable[..., tt.Cluster], tmp_path: Path
) -> None:
    """Issue 11, row 14: an idle peer sends its events every 0.5 s, and we timed their arrival; of
    a single short task nothing is said."""
    quiet_peer.start_worker()
    cluster = connect()
    eventually(lambda: cluster.workers()["running"].eq(0).sum() == 1)
    path = tmp_path / "ops.db"
    with cluster.record(path, every=1.0):
        for _ in range(COUNT):  # one after the other, so that the peer is idle between them
            cluster.publish("emails", "peer_tasks:logged", kwargs={"delay": TOOK})
            time.sleep(4 * TOOK)
        eventually(lambda: service_time(cluster)["count"].sum() == COUNT)
        times = zip(moments(quiet_peer, "began"), moments(quiet_peer, "ended"), strict=True)
        slept = sum(ended - began for began, ended in times) / COUNT
        check(service_time(cluster), slept)
        recorded = tt.connect(f"sqlite:///{path}")
        eventually(lambda: service_time(recorded)["count"].sum() == COUNT)
    check(service_time(recorded), slept)
    for source in (cluster, recorded):
        events = source.task_events("emails")
        ends = events[events["event"] == "succeeded"]
        assert len(ends) == COUNT
        assert ends["duration"].isna().all(), "two arrivals do not tell it"
