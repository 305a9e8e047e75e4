"""Replays whose tasks a real peer runs: what became of them is told."""

from __future__ import annotations

from typing import Any

import pytest

from tasktools.testing import eventually, task_body, task_payload


@pytest.mark.usefixtures("peer")
def test_a_replay_that_a_peer_fails_again_is_told(connect: Any, raw: Any) -> None:
    """Issue 11, new user: a peer acknowledges what fails; its events tell of it."""
    cluster = connect()
    eventually(lambda: len(cluster.workers()) == 2)
    eventually(lambda: "emails" in cluster.topics()["topic"].tolist())
    for n in range(20):
        function, kwargs = "peer_tasks:send_email", {"to": f"a{n}@b"}
        if n >= 12:
            function, kwargs = "peer_tasks:fail", {"text": f"no such customer {n}"}
        payload = task_payload(task_id=f"task-{n}", func_name=function, kwargs=kwargs)
        raw.put("emails.dead", task_body(message_id=f"m{n}", topic="emails", payload=payload))
    plan = cluster.plan_replay(cluster.dead_letters("emails"))
    assert "nobody" not in repr(plan)
    outcome = cluster.run(plan, reason="INC-42", progress=False)
    summary = "20 replayed, 12 succeeded, 8 failed again"
    eventually(lambda: outcome.follow(0.5).attrs["summary"].startswith(summary))
