"""The waits of tasks for the real peer, which fetches them long before it begins them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.peer.peer_log import moments


def test_the_estimate_counts_messages_that_the_peer_has_fetched_and_not_begun(
    quiet_peer: Any, connect: Any, tmp_path: Path
) -> None:
    """Issue 11, misleading: 0.003 s were estimated where 0.035 s were measured."""
    cluster, count = connect(), 28
    quiet_peer.start_worker()
    assert eventually(lambda: cluster.topics()["consumers"].eq(1).sum() == 2, timeout=60)
    file = tmp_path / "ops.db"
    with cluster.record(file, every=0.5):
        published_at = time.time()
        quiet_peer.submit(*([("logged", {"delay": 3.0})] * count))
        assert eventually(lambda: len(moments(quiet_peer, "ended")) == count, timeout=180)
    waited = [began - published_at for began in moments(quiet_peer, "began")]
    right = sum(waited) / count
    with tt.connect(f"sqlite:///{file}") as history:
        frame = history.waiting_time("emails", every="1D").dropna(subset="estimate")
        queued = history.queue_depth("emails")["queued"].mean()
    (estimate,) = (value.total_seconds() for value in frame["estimate"])
    assert queued < 2  # the peer has fetched them all
    # The management API tells every five seconds how many there are.
    assert estimate == pytest.approx(right, rel=0.5)
