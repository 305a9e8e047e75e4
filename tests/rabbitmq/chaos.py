"""Lines cut at random moments, while an operator publishes and looks: nothing is lost.

Not named test_*: run by `make chaos`, and a few rounds of it by `make test`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
from typing import Any

import pandas as pd
import pytest

import tasktools as tt

ROUNDS = int(os.environ.get("TASKTOOLS_CHAOS_ROUNDS", "3"))
TASKS = 1_000


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_every_task_is_accounted_for(
    kind: str, seed: int, cut_cluster: Any, proxy: Any, raw: Any
) -> None:
    dice = random.Random(seed)
    cut_cluster.broker.setup()
    raw.declare("emails", x_queue_type=kind)
    raw.channel.queue_bind("emails", "fp.tasks", "emails")
    frame = pd.DataFrame(
        {"topic": "emails", "task_name": "shop:send", "args": [[n] for n in range(TASKS)]}
    )
    outcomes: dict[str, str] = {}
    for _ in range(3):
        cutter = threading.Timer(dice.uniform(0.0, 0.2), proxy.cut)
        cutter.start()
        published = cut_cluster.publish_many(frame)
        cutter.join()
        outcomes |= dict(zip(published["task_id"], published["outcome"], strict=True))
        cutter = threading.Timer(dice.uniform(0.0, 0.1), proxy.cut)
        cutter.start()
        # The broker has what the look held; or the line is cut while the look still connects.
        with contextlib.suppress(tt.ConnectionLost, tt.Unreachable):
            cut_cluster.active_tasks("emails", limit=500)
        cutter.join()
    queued = [json.loads(body)["payload"]["task_id"] for body in raw.bodies("emails")]
    assert len(queued) == len(set(queued))
    printed = {
        outcome: {t for t, o in outcomes.items() if o == outcome} for outcome in outcomes.values()
    }
    assert printed.get("confirmed", set()) <= set(queued)
    assert set(queued) <= printed.get("confirmed", set()) | printed.get("in doubt", set())
