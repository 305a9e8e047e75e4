"""Every notebook, run from top to bottom by nbval: its `assert` cells check what was shown."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import tasktools as tt
from tasktools.core.events import Event, SettingsUpdate
from tasktools.testing import RabbitMQNode, eventually, seed
from tasktools.testing.factories import task_event
from tests.jupyter import NOTEBOOKS, jupyter_environment

ALL: Final = sorted(NOTEBOOKS.glob("*.ipynb"))
HOME: Final = NOTEBOOKS / "00_home.ipynb"
QUICKSTART: Final = NOTEBOOKS / "01_quickstart.ipynb"
PUBLISH: Final = NOTEBOOKS / "02_publish.ipynb"
DEAD_LETTERS: Final = NOTEBOOKS / "03_dead_letters.ipynb"
REPLAY: Final = NOTEBOOKS / "04_task_replay.ipynb"
BOARD: Final = NOTEBOOKS / "05_live_dashboard.ipynb"
INCIDENT: Final = NOTEBOOKS / "06_incident_investigation.ipynb"
CAPACITY: Final = NOTEBOOKS / "07_capacity_planning.ipynb"

QUICKSTART_TOPIC: Final = "tasktools.quickstart"

OWN_TOPICS: Final = {
    QUICKSTART_TOPIC,
    "tasktools.publish",
    "tasktools-dead-letters",
    "tasktools.replay",
    "tasktools.later",
}

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_SETTINGS: Final = "[pytest]\nmarkers = none: of ours\n"
_BREAK: Final = """
import tasktools as tt

whole = tt.{frame}
tt.{frame} = lambda *args, **kwargs: whole(*args, **kwargs).iloc[:0]
"""
_SLOW_START: Final = """
import time

import tasktools.cluster.cluster as module


def slowly(function, seconds):
    def call(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return call


module.Cluster.publish_many = slowly(module.Cluster.publish_many, 3)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


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
    command += ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=500"]
    done = subprocess.run(
        [*command, *options, *map(str, notebooks)],
        env=jupyter_environment(tmp_path / "home", *first_on_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1100,
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
    content = read(notebook)
    nbformat.validate(content)
    assert len({cell.id for cell in content.cells}) == len(content.cells)
    for cell in code_cells(notebook):
        assert cell.source.strip()
        assert cell.outputs == []
        assert cell.execution_count is None


def test_every_notebook_runs_on_the_demo_cluster_without_any_server(tmp_path: Path) -> None:
    assert_every_cell_passed(run_nbval(ALL, tmp_path))


def test_every_notebook_runs_on_a_rabbitmq_with_work_on_it(
    cluster: tt.Cluster, vhost: Any, tmp_path: Path
) -> None:
    created = created_topics(cluster)
    with seed(cluster) as seeded:
        run = run_nbval(
            ALL,
            tmp_path,
            BROKER_DSN=vhost.dsn,
            BROKER_MANAGEMENT_URL=vhost.management_url,
            TASKTOOLS_QUICKSTART_PUBLISHES="1",
        )
    assert seeded.error is None
    assert_every_cell_passed(run)
    assert eventually(lambda: set(created) >= OWN_TOPICS)
    assert not left_behind(cluster)


def test_nothing_is_created_by_the_quick_start_nor_by_what_the_home_opens_for_a_topic(
    cluster: tt.Cluster, vhost: Any, tmp_path: Path
) -> None:
    """Issue 11, new user: it made a queue on a production cluster, only to show publishing."""
    created = created_topics(cluster)
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("topics"))
    with seed(cluster):
        links = tt.widgets.notebook_links(cluster, "emails", folder)
        copies = [folder / links.paths[title] for title in ("Dead letters", "Replay")]
        run = run_nbval(
            [QUICKSTART, *copies],
            tmp_path,
            BROKER_DSN=vhost.dsn,
            BROKER_MANAGEMENT_URL=vhost.management_url,
        )
        cluster.create_topic("last")
        eventually(lambda: "last" in created)
    assert_every_cell_passed(run, [QUICKSTART, *copies])
    assert not OWN_TOPICS & set(created)


def test_every_notebook_runs_for_a_user_who_may_only_look(
    cluster: tt.Cluster, vhost: Any, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    """Issue 11, walk: tracebacks; and where a plan of its own was refused, notebook 04 went on,
    cell by cell, with the plan of the user's dead letters."""
    pattern = r"^tasktools\.(events|quiet)\."
    user = f"looker-{vhost.name}"
    rabbitmq.add_user(user, "pw", tags="management")
    rabbitmq.allow(user, vhost.name, configure=pattern, write=pattern, read=".*")
    with seed(cluster):
        run = run_nbval(
            ALL,
            tmp_path,
            BROKER_DSN=vhost.dsn.replace("guest:guest@", f"{user}:pw@"),
            BROKER_MANAGEMENT_URL=vhost.management_url,
        )
        dead = cluster.topics()["dead_letter"].sum()
    assert_every_cell_passed(run)
    assert dead > 0


def test_every_notebook_runs_during_an_alarm(
    cluster: tt.Cluster, vhost: Any, rabbitmq: RabbitMQNode, tmp_path: Path
) -> None:
    """Issue 11, walk: they ended at the first cell that wants to hear workers, or to publish."""
    with seed(cluster):
        rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            eventually(lambda: "memory" in rabbitmq.alarms())
            run = run_nbval(
                ALL,
                tmp_path,
                BROKER_DSN=vhost.dsn,
                BROKER_MANAGEMENT_URL=vhost.management_url,
            )
        finally:
            rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")
    assert_every_cell_passed(run)
    assert not left_behind(cluster)


def left_behind(cluster: tt.Cluster) -> set[str]:
    """Return the topics that the notebooks made on *cluster* and did not delete."""
    return {topic for topic in OWN_TOPICS if cluster.broker.topic_exists(topic)}


def created_topics(cluster: tt.Cluster) -> list[str]:
    """Return a list that grows by each topic that somebody creates from now on."""
    created: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, SettingsUpdate):
            created.append(event.topic)

    cluster.broker.listen(hear)
    return created


def test_the_notebook_that_publishes_waits_for_a_slow_machine_and_a_slow_cluster(
    cluster: tt.Cluster, vhost: Any, tmp_path: Path
) -> None:
    """Issue 11, row 25: plotly takes 5 s to load, and each publish 3 s longer."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(_SLOW_START, encoding="utf-8")
    with seed(cluster):
        run = run_nbval(
            [PUBLISH],
            tmp_path,
            first_on_path=(slow,),
            BROKER_DSN=vhost.dsn,
            BROKER_MANAGEMENT_URL=vhost.management_url,
        )
    assert_every_cell_passed(run, [PUBLISH])


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
            assert eventually(lambda: recorder.ticks > 6)
        assert seeded.error is None
        before = recorder.ticks
        assert eventually(lambda: recorder.ticks > before + 1)
        node.stop()
        assert eventually(lambda: recorder.problem)


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
    ("notebook", "frame"),
    [
        (HOME, "Cluster.stats"),
        (HOME, "Cluster.topics"),
        (HOME, "diagnose"),
        (QUICKSTART, "Cluster.workers"),
        (QUICKSTART, "Cluster.topics"),
        (QUICKSTART, "Cluster.active_tasks"),
        (REPLAY, "Cluster.dead_letters"),
        (REPLAY, "Cluster.run"),
        (BOARD, "Cluster.queue_depth"),
        (BOARD, "Cluster.utilisation"),
        (INCIDENT, "Cluster.tasks"),
        (INCIDENT, "diagnose"),
        (INCIDENT, "timeline"),
        (CAPACITY, "capacity.solve"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_a_notebook_complains_where_what_it_shows_is_empty(
    notebook: Path, frame: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without nbval, whose start takes 3 s of processor time: all that is asked here is that the
    first cell that fails is one that checks."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(_BREAK.format(frame=frame), encoding="utf-8")
    for name, value in jupyter_environment(tmp_path / "home", broken).items():
        monkeypatch.setenv(name, value)
    client = NotebookClient(read(notebook), timeout=500, kernel_name="python3")
    with pytest.raises(CellExecutionError) as complaint:
        client.execute(cwd=str(tmp_path))
    assert complaint.value.ename == "AssertionError", complaint.value
