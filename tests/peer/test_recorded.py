"""Tasks that fail on the real peer, which acknowledges them: recorded, told, and replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tasktools as tt
from tasktools.testing import eventually


def test_tasks_that_failed_on_the_peer_are_told_with_their_messages_and_replayed(
    peer: Any,
    connect: Callable[..., tt.Cluster],
    raw: Any,
    tmp_path: Path,
) -> None:
    cluster = connect()
    history = tmp_path / "ops.db"
    eventually(lambda: len(cluster.workers()) == 2)
    with cluster.record(history, every=1, bodies=True):
        peer.submit(*(("fail", {"text": f"no <b>answer</b> {n}"}) for n in range(3)))
        peer.submit(("send_email", {"to": "a@b"}))

        def failures() -> Any:
            return tt.connect(f"sqlite:///{history}").failures()

        eventually(lambda: len(failures()) == 3)
        failed = failures()
        assert raw.depth("emails.dead") == raw.depth("emails") == 0  # no queue has them any more
        assert failed["task_name"].tolist() == ["fail"] * 3
        assert sorted(failed["error"]) == [f"no <b>answer</b> {n}" for n in range(3)]
        assert [kwargs["text"] for kwargs in failed["kwargs"]] == failed["error"].tolist()
        assert failed["key"].notna().all()

        plan = cluster.plan_replay(failed.head(2), edits={"kwargs.text": "still no answer"})
        outcome = cluster.run(plan, reason="INC-1", progress=False)
        assert outcome["outcome"].tolist() == ["replayed"] * 2
        eventually(lambda: len(failures()) == 5)
    again = failures().head(2)
    assert again["error"].tolist() == ["still no answer"] * 2
    assert set(again["task_id"]) == set(failed["task_id"].head(2))
