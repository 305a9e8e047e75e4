"""Reports: the same every time, nothing secret, nothing that runs, and all numbers to recompute."""

from __future__ import annotations

import base64
import hashlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import tasktools as tt
from tests import incident
from tests.recorded import Scene
from tests.recorded_day import record_day
from tests.unit.reports.page import Page

SINCE = "25min"
BEGAN = "2027-01-15T08:20:15Z"
"""When the workers have nothing else but tasks that never end."""
EARLIER = "2027-01-15T08:10:00Z"
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "a", "strong", "span", "code", "pre", "ul", "li", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td", "div", "details", "summary", "article"),
    *("figure", "figcaption", "svg", "g", "path", "line", "rect", "circle", "text", "image"),
    *("button", "output", "script"),
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("incident") / "ops.db"
    incident.record_incident(path)
    return path


@pytest.fixture(scope="module")
def path(recording: Path) -> Path:
    return made(recording, recording.parent / "incident.html")


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path)


def made(recording: Path, path: Path, *, reveal: bool = False) -> Path:
    with tt.connect(f"sqlite:///{recording}", reveal=reveal) as history:
        return tt.report(history, path, since=SINCE)


# --- what it says -----------------------------------------------------------------------


def test_the_cause_comes_first_with_its_symptoms_below_it(page: Page) -> None:
    cause = page.by_section["cause"]
    assert cause.index("workers_hung · topic emails") < cause.index("task_stuck · topic emails")
    assert f"since {BEGAN[11:19]} UTC, 9 min 45 s before the end" in cause
    assert "cluster.active_tasks('emails', queued=False)" in cause
    assert re.search(r"\d+ checks: ruled out", cause)
    assert "deploy 1.4" in cause


def test_numbers_before_and_after_can_be_recomputed_from_the_frames(page: Page) -> None:
    depth = page.frame("queue_depth", "at")
    split = pd.Timestamp(BEGAN)
    ready = depth[depth["topic"] == "emails"].set_index("at")["queued"]
    before, after = ready[ready.index < "2027-01-15T08:20:00Z"], ready[ready.index > split]
    values = (before.median(), after.median(), after.iloc[-1])
    shown = " ".join(f"{value:.0f}" for value in values)
    assert f"messages ready {shown} {shown} " in page.by_section["numbers"]
    ended = page.frame("throughput", "at")
    late = ended[ended["at"] > split]
    share = late["failed"].sum() / (late["failed"].sum() + late["succeeded"].sum())
    assert f"{share:.1%}" in page.by_section["numbers"]


def test_the_timeline_has_a_lane_for_what_happened_and_all_of_it_in_words(page: Page) -> None:
    shown = page.by_section["timeline"]
    assert "★ deploy 1.4, token=•••" in shown
    assert "stopped ▸" in shown
    assert "no recorder was running" in shown
    frame = page.frame("timeline", "at")
    assert f"{len(frame)} events" in shown
    assert set(frame["kind"]) == {"mark", "topic", "failures", "gap"}


def test_groups_of_failures_can_be_recounted_and_have_an_example(page: Page) -> None:
    counts = page.frame("failures")["fingerprint"].value_counts()
    shown = page.by_section["failures"]
    assert {int(count) for count in re.findall(r"(\d+) ×", shown)} == set(counts)
    assert len(counts) == len(incident._ERRORS)
    assert "user" in shown
    assert "shop" in shown


def test_versions_gaps_and_what_is_known_are_said(page: Page) -> None:
    assert f"tasktools {tt.__version__}" in page.by_section["cluster"]
    assert "layout fp" in page.by_section["cluster"]
    assert "no recorder was running" in page.by_section["gaps"]
    assert "recorded from memory://, 2027-01-15 08:05:00 UTC to 2027-01-15 08:30:00" in page.text


# --- the same bytes ---------------------------------------------------------------------


def test_the_same_recording_and_time_give_the_same_bytes(
    recording: Path, path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / recording.name
    copy.parent.mkdir()
    shutil.copy(recording, copy)
    for again in (recording, copy):
        assert made(again, tmp_path / f"{again.parent.name}.html").read_bytes() == path.read_bytes()


def test_another_process_writes_the_same_bytes(recording: Path, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "again.html"
    command = [sys.executable, "-m", "tasktools.cli", "report", "--since", SINCE, "-o", str(file)]
    command += ["--dsn", f"sqlite:///{recording}"]
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=100)
    assert file.read_bytes() == path.read_bytes()


# --- nothing secret, nothing that runs --------------------------------------------------


@pytest.mark.parametrize("reveal", [False, True])
def test_no_planted_secret_is_in_it_also_of_a_cluster_that_reveals(
    recording: Path, tmp_path: Path, *, reveal: bool
) -> None:
    stored = recording.read_bytes() + recording.with_name(f"{recording.name}-wal").read_bytes()
    assert all(secret.encode() in stored for secret in incident.SECRETS)
    page = Page(made(recording, tmp_path / "r.html", reveal=reveal))
    everything = page.source.encode() + b"".join(page.csvs().values())
    assert [secret for secret in incident.SECRETS if secret.encode() in everything] == []
    assert "•••" in page.source


def test_neither_the_folder_of_the_recording_nor_the_user_is_in_it(
    recording: Path, page: Page
) -> None:
    everything = page.source.encode() + b"".join(page.csvs().values())
    assert str(recording.parent).encode() not in everything


def test_payloads_are_text_and_only_our_script_can_run(page: Page) -> None:
    assert incident.SCRIPT in page.text
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert [tag for tag, _ in page.elements].count("script") == 1
    handlers = [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert handlers == []
    assert not any("style" in attributes for _, attributes in page.elements)
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for name in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[name].encode()).digest()).decode()
        assert rules[f"{name}-src"] == f"'sha256-{digest}'"


def test_nothing_is_fetched_and_links_stay_in_the_page(page: Page) -> None:
    links = [
        attributes.get(name) or "#"
        for _, attributes in page.elements
        for name in ("href", "src", "action", "data")
    ]
    assert {re.split(r"[#;,]", link)[0] for link in links} <= {"", "data:application/gzip"}


# --- the file ---------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_replaced_unless_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "mine.html"
    file.write_text("precious")
    with tt.connect("memory://") as cluster:
        with pytest.raises(tt.FileError, match=r"such a file already\); nothing was done"):
            tt.report(cluster, file)
        assert file.read_text() == "precious"
        assert tt.report(cluster, file, overwrite=True) == file
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_link_is_followed(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link.html"
    mine.write_text("precious")
    link.symlink_to(mine)
    with tt.connect("memory://") as cluster, pytest.raises(tt.FileError, match="it is a link"):
        tt.report(cluster, link, overwrite=True)
    assert mine.read_text() == "precious"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond 1 kB meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, full_disk: None) -> None:
    with tt.connect("memory://") as cluster, pytest.raises(tt.FileError, match="File too large"):
        tt.report(cluster, tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_a_time_that_ends_before_it_begins_is_refused(recording: Path, tmp_path: Path) -> None:
    not_before = pytest.raises(ValueError, match=r"is not before until .*; no report was made")
    with tt.connect(f"sqlite:///{recording}") as history, not_before:
        tt.report(history, tmp_path / "r.html", since=BEGAN, until=EARLIER)
    assert list(tmp_path.iterdir()) == []


# --- other clusters ---------------------------------------------------------------------


def test_a_live_cluster_of_which_nothing_is_known_yet_has_a_report(tmp_path: Path) -> None:
    with tt.connect("memory://") as cluster:
        page = Page(tt.report(cluster, tmp_path / "r.html"))
    assert (
        "layout taskworker the events that this process received from a live cluster" in page.text
    )
    assert "No cause was found" in page.by_section["cause"]
    assert "Nothing in this time." in page.by_section["figures"]


def test_of_a_live_cluster_it_says_of_which_time_its_numbers_are(tmp_path: Path) -> None:
    """A new user read that no task is known to have failed, beside a worker with 8 failed."""
    scene = Scene(tmp_path / "ops.db")
    tt.diagnose(scene.cluster, settle=0)
    scene.clock.advance(30)
    scene.beat(failed=8, succeeded=5)
    page = Page(tt.report(scene.cluster, tmp_path / "r.html"))
    failures = page.by_section["failures"]
    assert "No failure was received in the time that is known." in failures
    assert "The 8 that workers count are of all the time since they started." in failures
    assert "failed since start" in page.by_section["cluster"]
    assert "nobody looked at the cluster" in page.by_section["gaps"]
    assert "held up" not in page.text
    scene.close()


def test_the_demo_says_that_it_is_one(tmp_path: Path) -> None:
    with tt.connect("demo://") as cluster:
        page = Page(tt.report(cluster, tmp_path / "r.html", since="10min"))
    assert "DEMO" in page.text
    assert len(page.frame("workers")) == 8


def test_it_is_made_without_a_notebook(tmp_path: Path) -> None:
    program = (
        "import sys, tasktools as tt\n"
        "with tt.connect('memory://') as cluster:\n"
        f"    tt.report(cluster, {str(tmp_path / 'r.html')!r})\n"
        "print([n for n in ('ipywidgets', 'anywidget', 'IPython', 'tasktools.widgets') "
        "if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip() == "[]"


# --- size ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_day_of_100_topics_is_a_small_file(tmp_path: Path) -> None:
    """Issue 13: at most 5 MB; how long it takes is measured by `make bench-sample`."""
    recording, file = tmp_path / "day.db", tmp_path / "day.html"
    record_day(recording)
    with tt.connect(f"sqlite:///{recording}") as history:
        tt.report(history, file, since="1D")
    page = Page(file)
    assert page.frame("queue_depth")["topic"].nunique() == 100
    assert page.frame("failure_groups")["count"].sum() == 5_000
    assert file.stat().st_size < 5_000_000
