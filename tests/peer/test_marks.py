"""Marks on the fanout exchange, which real peers listen to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tasktools as tt
from tasktools.core.layout import FP
from tasktools.testing import eventually

_TROUBLE = "Error processing worker update"


def known_to(shell: Any) -> dict[str, Any]:
    """Return what a node of the peer knows of the cluster, by its own account."""
    return {
        "topics": sorted(topic["topic"] for topic in shell("get_topics")),
        "workers": sorted(worker["worker_id"] for worker in shell("get_workers")),
        "locks": shell("__getattribute__", "_remote_locks"),
        "running": shell("__getattribute__", "_cluster_running_tasks"),
        "counted": shell("__getattribute__", "_remote_counter_deltas"),
    }


def test_a_mark_is_nothing_to_a_peer_and_something_to_another_recorder(
    quiet_peer: Any, connect: Callable[..., tt.Cluster], raw: Any, tmp_path: Path
) -> None:
    """Issue 13, item 4: the wire is as it was for peers, which pass over events of other names."""
    quiet_peer.start_worker()
    log = quiet_peer.log.parent / "worker0.log"
    watching, marking = connect(), connect()
    eventually(lambda: len(watching.workers()) == 1)
    shell = quiet_peer.shell()
    eventually(lambda: len(shell("get_workers")) == 1)
    with watching.record(tmp_path / "ops.db", every=0.5):
        before = known_to(shell)
        for n in range(20):
            assert marking.mark(f"deploy 1.{n}").attrs["sent"] is True
        # What comes after them on the same exchange has arrived: so have they.
        marking.configure_topic("emails", concurrency_limit=3)
        eventually(lambda: shell("get_topic_config", "emails")["concurrency_limit"] == 3)
        assert known_to(shell) == before
        assert _TROUBLE not in log.read_text()
        quiet_peer.submit(("send_email", {"to": "a@b"}))
        eventually(lambda: watching.workers()["succeeded"].sum() == 1)
    with tt.connect(f"sqlite:///{tmp_path / 'ops.db'}") as recorded:
        assert recorded.marks()["text"].tolist() == [f"deploy 1.{n}" for n in range(20)]
    raw.channel.basic_publish(FP.worker_exchange, "", b"no event")
    eventually(lambda: _TROUBLE in log.read_text())  # the log would have said so
