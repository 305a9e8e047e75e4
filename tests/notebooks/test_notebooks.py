"""Every notebook, run from top to bottom by nbval: its `assert` cells check what was shown."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import nbformat
import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode, eventually, seed
from tasktools.testing.factories import task_event
from tests.jupyter import NOTEBOOKS, jupyter_environment

ALL: Final = sorted(NOTEBOOKS.glob("*.ipynb"))
QUICKSTART: Final = NOTEBOOKS / "01_quickstart.ipynb"
DEAD_LETTERS: Final = NOTEBOOKS / "03_dead_letters.ipynb"
REPLAY: Final = NOTEBOOKS / "04_task_replay.ipynb"
BOARD: Final = NOTEBOOKS / "05_live_dashboard.ipynb"

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_SETTINGS: Final = "[pytest]\nmarkers = none: of ours\n"
_BREAK: Final = """
import tasktools.ops.cluster as module

whole = module.Cluster.{method}
module.Cluster.{method} = lambda *args, **kwargs: whole(*args, **kwargs).iloc[:0]
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Run:
    """What nbval said: one case a code cell."""

    returncode: int
    passed: int
    output: str


def run_nbval(
    notebooks: list[Path],
    tmp_path: Path,
    *options: str,
    first_on_path: tuple[Path, ...] = (),
    **variables: str,
) -> Run:
    """Run *notebooks* under a pytest of its own, which has nbval and none of our settings."""
    settings, report = tmp_path / "pytest.ini", tmp_path / "report.xml"
    settings.write_text(_SETTINGS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", f"-c{settings}", f"--rootdir={NOTEBOOKS}"]
    command += ["-pno:cacheprovider", "--noconftest", f"--junitxml={report}"]
    command += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120"]
    done = subprocess.run(
        [*command, *options, *map(str, notebooks)],
        env=jupyter_environment(tmp_path / "home", *first_on_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    output = _COLOURS.sub("", done.stdout + done.stderr)
    if not report.exists():
        pytest.fail(f"nbval did not get as far as a report:\n{output}")
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - written a moment ago, by pytest
    return Run(done.returncode, sum(not len(case) for case in cases), output)


def read(notebook: Path) -> Any:
    return nbformat.read(notebook, as_version=nbformat.NO_CONVERT)


def code_cells(notebook: Path) -> list[Any]:
    return [cell for cell in read(notebook).cells if cell.cell_type == "code"]


def assert_every_cell_passed(run: Run, notebooks: list[Path] = ALL) -> None:
    assert run.returncode == 0, run.output
    assert run.passed == sum(len(code_cells(notebook)) for notebook in notebooks)


def test_there_is_a_quick_start() -> None:
    assert QUICKSTART in ALL


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_stored_without_outputs(notebook: Path) -> None:
    found = read(notebook)
    nbformat.validate(found)
    assert len({cell.id for cell in found.cells}) == len(found.cells)
    for cell in code_cells(notebook):
        assert cell.source.strip()
        assert cell.outputs == []
        assert cell.execution_count is None


def test_every_notebook_runs_on_the_demo_cluster_without_any_server(tmp_path: Path) -> None:
    assert_every_cell_passed(run_nbval(ALL, tmp_path))


def test_every_notebook_runs_on_a_rabbitmq_with_work_on_it(
    cluster: tt.Cluster, vhost: Any, tmp_path: Path
) -> None:
    with seed(cluster) as seeded:
        run = run_nbval(
            ALL, tmp_path, BROKER_DSN=vhost.dsn, BROKER_MANAGEMENT_URL=vhost.management_url
        )
    assert seeded.error is None
    assert_every_cell_passed(run)


def record_until_the_broker_is_stopped(path: Path, *failed: str) -> None:
    """Record a node with work on it, where the tasks *failed* fail, into *path*."""
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with (
        contextlib.ExitStack() as stack,
        RabbitMQNode(root=Path(root) if root else None) as node,
    ):
        cluster = stack.enter_context(tt.connect(node.dsn, management_url=node.management_url))
        recorder = stack.enter_context(cluster.record(path, every=0.5, bodies=True))
        with seed(cluster) as seeded:
            for task_id in failed:
                for kind in ("task_started", "task_failed"):
                    cluster.broker.broadcast(task_event(kind, task_id, worker_id="seed-worker-1"))
            assert eventually(lambda: recorder.ticks > 6, 30)
        assert seeded.error is None
        before = recorder.ticks
        assert eventually(lambda: recorder.ticks > before + 1)
        node.stop()
        assert eventually(lambda: recorder.problem, 30)


@pytest.mark.parametrize(
    ("notebooks", "failed"),
    [(ALL, ("seed-emails-1", "seed-emails-2", "unseen")), ([DEAD_LETTERS, REPLAY], ())],
    ids=["failures", "none"],
)
def test_every_notebook_runs_on_a_recording_whose_broker_is_stopped(
    notebooks: list[Path], failed: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "ops.db"
    record_until_the_broker_is_stopped(path, *failed)
    with tt.connect(f"sqlite:///{path}") as history:
        assert history.failures()["key"].notna().sum() == len(failed[:2])
    run = run_nbval(notebooks, tmp_path, BROKER_DSN=f"sqlite:///{path}")
    assert_every_cell_passed(run, notebooks)


@pytest.mark.parametrize(
    ("notebook", "method"),
    [
        (QUICKSTART, "workers"),
        (QUICKSTART, "topics"),
        (QUICKSTART, "active_tasks"),
        (REPLAY, "dead_letters"),
        (REPLAY, "run"),
        (BOARD, "queue_depth"),
        (BOARD, "utilisation"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_a_notebook_complains_where_what_it_shows_is_empty(
    notebook: Path, method: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(_BREAK.format(method=method), encoding="utf-8")
    run = run_nbval([notebook], tmp_path, "-x", first_on_path=(broken,))
    assert run.returncode == 1, run.output
    assert "AssertionError" in run.output
