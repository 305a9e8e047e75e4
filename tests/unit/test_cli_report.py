"""``tasktools report``: a file that is written, and clear words where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasktools.cli import main
from tests.recorded import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "ops.db")
    scene.beat()
    scene.tick()
    scene.tick()
    yield scene
    scene.close()


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["report", *args], catch_exceptions=False)


def test_it_says_where_the_report_is(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "incident.html"
    result = run("--dsn", f"sqlite:///{scene.path}", "--since", "1h", "-o", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"The report is in {file}.\n"
    assert "2027-01-15 08:00:10 UTC" in file.read_text(encoding="utf-8")


def test_of_a_live_cluster_it_says_that_a_recording_knows_more(tmp_path: Path) -> None:
    result = run("--dsn", "demo://", "-o", str(tmp_path / "demo.html"))
    assert result.exit_code == 0
    assert "(DEMO: a made-up cluster)" in result.stderr
    assert "tasktools record" in result.stderr


def test_a_file_is_replaced_only_if_asked(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "incident.html"
    file.write_text("precious")
    args = ["--dsn", f"sqlite:///{scene.path}", "-o", str(file)]
    result = run(*args)
    assert result.exit_code == 1
    assert "such a file already" in result.stderr
    assert "nothing was done" in result.stderr
    assert file.read_text() == "precious"
    assert run(*args, "--overwrite").exit_code == 0
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--since", "yesterday"], "no moment"),
        (["--since", "2027-01-15T08:00Z", "--until", "2027-01-15T07:00Z"], "is not before until"),
        (["-o", "{tmp}/nowhere/r.html"], "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    scene: Scene, tmp_path: Path, args: list[str], words: str
) -> None:
    arguments = [arg.replace("{tmp}", str(tmp_path)) for arg in args]
    dsn = ["--dsn", f"sqlite:///{scene.path}"]
    result = run("-o", str(tmp_path / "r.html"), *dsn, *arguments)
    assert result.exit_code in {1, 2}
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "r.html").exists()
