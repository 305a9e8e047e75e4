"""The timeline of a real incident: a worker of the peer is killed, and somebody notes why."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import tasktools as tt
from tasktools.testing import eventually


def test_a_killed_peer_and_what_was_done_before_are_on_one_timeline(
    peer: Any, connect: Callable[..., tt.Cluster], tmp_path: Path
) -> None:
    """Issue 13, item 4."""
    cluster = connect()
    file = tmp_path / "ops.db"
    with cluster.record(file, every=1):
        eventually(lambda: len(cluster.workers()) == 2)
        eventually(lambda: cluster.topics()["consumers"].eq(2).sum() == 2)
        peer.submit(*(("fail", {"text": f"no answer from 10.0.0.{n}"}) for n in range(5)))
        eventually(lambda: len(cluster.failures()) == 5)
        victim = cluster.workers().set_index("pid").loc[peer.workers[0].pid, "worker_id"]
        connect().mark("deploy 1.4")  # of another process, say
        peer.workers[0].send_signal(signal.SIGKILL)
        eventually(
            lambda: cluster.workers().set_index("worker_id").loc[victim, "state"] == "gone",
            timeout=60,
        )
        live = tt.timeline(cluster, since="10min")
    with tt.connect(f"sqlite:///{file}") as recorded:
        for frame in (tt.timeline(recorded, since="10min"), live):
            check(frame, victim)
            figure = tt.widgets.figures.timeline(frame)
            assert victim in figure.layout.yaxis.ticktext or victim[:10] in str(figure.layout)


def check(frame: pd.DataFrame, victim: str) -> None:
    (mark,) = frame[frame["kind"] == "mark"].to_dict("records")
    assert mark["sentence"] == "deploy 1.4"
    workers = frame[frame["kind"] == "worker"]
    (gone,) = workers[workers["event"] == "gone"].to_dict("records")
    assert (gone["subject"], gone["lasts"], gone["severity"]) == (victim, True, "warning")
    # It was heard last up to a heartbeat before it was killed, which was after the mark.
    assert abs(gone["at"] - mark["at"]) < pd.Timedelta(seconds=10)
    assert len(workers[workers["event"] == "came"]) == 2
    (failing,) = frame[frame["kind"] == "failures"].to_dict("records")
    assert failing["subject"] == "emails"
    assert failing["details"]["count"] == 5
    assert failing["at"] < mark["at"]
    assert failing["lasts"]
