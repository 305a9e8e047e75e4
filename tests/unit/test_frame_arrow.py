"""Frames in Polars, Arrow and Parquet, in a process of its own that has them (see Makefile)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ARROW: Final = Path(sys.prefix) / "arrow"

PROGRAM: Final = r"""
import json, sys, warnings
import pandas, polars, pyarrow
import tasktools as tt
from tasktools.core.frames import build, schemas

warnings.simplefilter("error")
pandas.options.mode.string_storage = sys.argv[2]
with tt.connect("demo://") as cluster:
    frames = [cluster.workers(), cluster.topics(), cluster.active_tasks(), cluster.stats()]
    frames += [cluster.dead_letters("orders"), tt.diagnose(cluster), tt.timeline(cluster)]
shapes = []
for frame in frames:
    path = f"{sys.argv[1]}/frame.parquet"
    frame.to_parquet(path)
    table = pyarrow.RecordBatchReader.from_stream(frame).read_all()
    shapes.append([frame.shape, polars.from_dataframe(frame).shape, table.shape,
                   pandas.read_parquet(path).shape])
back = pandas.read_parquet(path)
rows = [[{"a": 1}], [{"a": "x"}, "y"], None]
values = [[r if c.name == "args" else "t\u202e" if c.name == "topic" else None
           for c in schemas.ACTIVE_TASKS.columns] for r in rows]
odd = polars.from_dataframe(build.frame_from(schemas.ACTIVE_TASKS, values))
dead = polars.from_dataframe(frames[4])
workers = polars.from_dataframe(frames[0])
print(json.dumps({
    "shapes": shapes, "notes": back.attrs["notes"] == frames[-1].attrs["notes"],
    "demo": back.attrs["demo"], "args": odd["args"].to_list(), "topic": odd["topic"].to_list(),
    "kwargs": str(dead["kwargs"].dtype),
    "masked": any("•••" in text for text in dead["kwargs"].drop_nulls()),
    "dtypes": {n: str(workers[n].dtype) for n in ("topics", "running", "silence", "last_seen")},
    "type": str(frames[4].dtypes["kwargs"]),
}))
"""


def converted(folder: Path, storage: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ARROW), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", PROGRAM, str(folder), storage]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["python", "pyarrow"])
def test_frames_go_to_polars_arrow_and_parquet_whatever_messages_hold(
    tmp_path: Path, storage: str
) -> None:
    """Arguments are of any type, and some are masked: Arrow refused them."""
    answer = converted(tmp_path, storage)
    assert all(len({tuple(shape) for shape in shapes}) == 1 for shapes in answer["shapes"])
    assert answer["args"] == ['[{"a": 1}]', '[{"a": "x"}, "y"]', None]
    assert answer["topic"] == ["t\u202e"] * 3
    assert answer["kwargs"] == "String"
    assert answer["masked"]
    assert answer["type"] == "object"  # of the frame itself nothing was changed
    assert (answer["notes"], answer["demo"]) == (True, "DEMO")
    assert answer["dtypes"] == {
        "topics": "List(String)",
        "running": "Int64",
        "silence": "Duration(time_unit='us')",
        "last_seen": "Datetime(time_unit='us', time_zone='UTC')",
    }
