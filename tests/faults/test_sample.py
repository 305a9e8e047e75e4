"""Six of the faults, injected at once on vhosts of their own: the cause of each comes first.

`make faults` injects all of them, with a baseline before each.
"""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd

import tasktools as tt
from tasktools.diagnosis import ranking
from tasktools.diagnosis.gather import gather
from tasktools.testing import RabbitMQNode
from tests.faults import registry
from tests.faults.judging import Seen
from tests.faults.records import decode, encode
from tests.faults.registry import Fault
from tests.faults.running import LOOK_SECONDS, start
from tests.faults.world import World
from tests.timing import contention

# Where no worker has to do with the fault, none is started: that costs seconds of a core.
SAMPLE = {
    "killed": 1,
    "bad_json": 1,
    "dead_growing": 0,
    "rejected_for_good": 0,
    "old_release": 0,
    "full_idle": 0,
}
_ALL_SECONDS = 90.0  # of a machine that is not busy


def test_the_cause_of_six_faults_comes_first(rabbitmq: RabbitMQNode, tmp_path: Path) -> None:
    made = subprocess.check_output([Path(__file__).parents[2] / "scripts" / "peer"], text=True)
    peer = Path(made.strip()).absolute()
    faults = registry.load()

    def first_row(name: str) -> pd.Series:
        fault = replace(faults[name], peer=SAMPLE[name])
        with World(rabbitmq, name, tmp_path / name, peer) as world:
            return _first_row(world, fault)

    with ThreadPoolExecutor(len(SAMPLE)) as pool:
        rows = dict(zip(SAMPLE, pool.map(first_row, SAMPLE), strict=True))
    wrong = {
        name: row["finding"]
        for name, row in rows.items()
        if not {row["check"], f"{row['check']}:{row['subject']}"} & set(faults[name].expect)
    }
    assert wrong == {}
    assert {row["verdict"] for row in rows.values()} == {"found"}


def _first_row(world: World, fault: Fault) -> pd.Series:
    """Return what `diagnose` names first, once the cause is seen or the time is over."""
    start(world, fault)
    story = fault.inject(world)
    next(story)
    with world.connect() as cluster:
        before = gather(cluster)
        next(story, None)
        began = time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            facts = decode(encode(gather(cluster)))  # what is kept tells the same
            seen = Seen(seconds=0.0, rows=ranking.judge(before, facts).rows)
            before = facts
            is_first = seen.place(fault.expect) == 1 and seen.shown[0].verdict == "found"
            if is_first or time.monotonic() - began > _ALL_SECONDS * contention():
                return tt.diagnose(cluster).iloc[0]
