"""``tasktools notebooks`` and ``tasktools lab``: copied notebooks, and JupyterLab on them."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from tasktools.cli import main
from tasktools.testing import eventually
from tests.jupyter import NOTEBOOKS, jupyter_environment

NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args, catch_exceptions=False)


def test_the_notebooks_are_copied_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    result = run("notebooks", str(folder))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(folder / name) for name in NAMES]
    for name in NAMES:
        assert (folder / name).read_bytes() == (NOTEBOOKS / name).read_bytes()


def test_a_notebook_that_was_changed_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    run("notebooks", str(tmp_path))
    changed = tmp_path / NAMES[0]
    changed.write_text("mine")
    (tmp_path / NAMES[1]).unlink()
    result = run("notebooks", str(tmp_path))
    assert result.stdout.splitlines() == [str(tmp_path / NAMES[1])]
    assert f"{len(NAMES) - 1} were there already" in result.stderr
    assert changed.read_text() == "mine"
    assert run("notebooks", str(tmp_path), "--overwrite").exit_code == 0
    assert changed.read_bytes() == (NOTEBOOKS / NAMES[0]).read_bytes()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("notebooks", str(tmp_path / "file" / "folder"))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "nothing was copied" in result.stderr


def test_where_one_cannot_be_replaced_none_is_written(tmp_path: Path) -> None:
    (tmp_path / NAMES[-1]).mkdir()
    result = run("notebooks", str(tmp_path), "--overwrite")
    assert result.exit_code == 1
    assert "nothing was done" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[-1]]


def test_the_home_opens_every_other_notebook() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (NOTEBOOKS / "00_home.ipynb").read_text(encoding="utf-8"))
    assert sorted(set(links)) == NAMES[1:]


def answer(url: str) -> str:
    """Return what the server answers; "" while it does not listen yet."""
    with contextlib.suppress(URLError), urlopen(url, timeout=30) as response:  # noqa: S310 - ours
        text: str = response.read().decode()
        return text
    return ""


@pytest.mark.slow
def test_lab_opens_the_home_and_hands_its_options_on(tmp_path: Path) -> None:
    options = ["--no-browser", "--IdentityProvider.token=t"]  # root may, too
    options += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tasktools.cli", "lab", "--folder", "night", "--", *options],
        env=jupyter_environment(tmp_path / "home"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    ending = threading.Timer(90, process.kill)
    ending.start()
    try:
        assert process.stderr is not None
        pattern = re.compile(r"http://127\.0\.0\.1:(\d+)/lab/tree/00_home\.ipynb")
        matches = (pattern.search(line) for line in process.stderr)
        address = next(filter(None, matches), None)
        assert address is not None
        url = f"http://127.0.0.1:{address[1]}/api/contents?token=t"
        shown = eventually(lambda: answer(url))
    finally:
        ending.cancel()
        process.kill()
        process.wait(30)
        process.stderr.close() if process.stderr else None
    assert sorted(path.name for path in (tmp_path / "night").iterdir()) == NAMES
    assert all(name in shown for name in NAMES)
