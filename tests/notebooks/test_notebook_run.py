"""``tasktools notebook run``: shipped notebooks run without a browser, and are kept as a record."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner, Result

from tasktools.cli import main
from tests.jupyter import NOTEBOOKS, jupyter_environment

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))

pytestmark = pytest.mark.slow


def cells(path: Path, tag: str | None = None) -> list[Any]:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in code if tag is None or tag in cell.metadata.get("tags", ())]


def written(path: Path, *sources: str) -> Path:
    """Write a notebook of *sources*; the first of them has the parameters."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "P", "language": "python"}}
    )
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)
    return path


def run(tmp_path: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with a Jupyter that knows nothing of this user."""
    return subprocess.run(
        [sys.executable, "-m", "tasktools.cli", "notebook", "run", *args],
        env=jupyter_environment(tmp_path / "home", **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def invoked(*args: str) -> Result:
    return CliRunner().invoke(main, ["notebook", "run", *args], catch_exceptions=False)


@pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)
def test_every_notebook_has_one_cell_of_parameters_and_uses_them(notebook: Path) -> None:
    (parameters,) = cells(notebook, "parameters")
    names = [line.partition(" = ")[0] for line in parameters.source.splitlines()]
    rest = "\n".join(cell.source for cell in cells(notebook) if cell != parameters)
    assert names
    assert [name for name in names if name not in rest] == []


def test_a_shipped_notebook_runs_on_the_demo_with_a_parameter_and_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    board = NOTEBOOKS / "05_live_dashboard.ipynb"
    done = run(tmp_path, str(board), "-p", "since=2h", "-p", "window=1m", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert f"The notebook with its outputs is in {out}." in done.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (injected,) = cells(out, "injected-parameters")
    assert 'since = "2h"' in injected.source
    assert len(cells(out)) == len(cells(board)) + 1
    assert all(cell.execution_count for cell in cells(out))
    assert sum(len(cell.outputs) for cell in cells(out)) > 5
    assert "DEMO" in out.read_text(encoding="utf-8")
    assert out.stat().st_size < 2_000_000
    assert all(cell.outputs == [] for cell in cells(board))


def test_a_cell_that_fails_is_named_and_what_ran_is_kept(tmp_path: Path) -> None:
    source = 'raise ValueError("broken, password=hunter2")'
    notebook = written(tmp_path / "in.ipynb", "n = 1", "print('n is', n)", source, "never = 1")
    out = tmp_path / "out.ipynb"
    done = run(tmp_path, str(notebook), "-p", "n=7", "-o", str(out))
    assert done.returncode == 1
    assert "failed: ValueError: broken, password=•••. The notebook with its outputs" in done.stderr
    assert "Traceback" not in done.stderr
    text = json.dumps([cell.outputs for cell in cells(out)])
    assert "n is 7" in text
    assert "never" not in text


def test_the_dsn_is_given_to_the_kernel_and_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    shown = "import os\nprint(os.environ['BROKER_DSN'].replace('hunter2', 'given'), os.getcwd())"
    notebook = written(folder / "in.ipynb", "n = 1", shown)
    for dsn, seen in (
        ("amqp://ops:hunter2@rabbit/prod", "amqp://ops:given@rabbit/prod"),
        ("sqlite:///ops.db", f"sqlite:///{tmp_path / 'ops.db'}"),
    ):
        out = tmp_path / "out.ipynb"
        done = run(tmp_path, str(notebook), "--dsn", dsn, "-o", str(out), "--overwrite")
        assert done.returncode == 0, done.stderr
        assert f"{seen} {folder}" in out.read_text(encoding="utf-8")
        assert "hunter2@" not in out.read_text(encoding="utf-8")


def test_what_cannot_be_run_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook, out = written(tmp_path / "in.ipynb", "since = '1h'"), tmp_path / "out.ipynb"
    broken = tmp_path / "broken.ipynb"
    broken.write_text("{}")
    before = sorted(tmp_path.iterdir())
    for args, words in (
        ((str(notebook), "-p", "sinse=2h"), "no parameter sinse; nothing was run. It has since."),
        ((str(notebook), "-p", "since"), "is not NAME=VALUE"),
        ((str(broken),), "is no notebook that can be run"),
        ((str(tmp_path / "nowhere.ipynb"),), "No such file"),
    ):
        result = invoked(*args, "-o", str(out))
        assert result.exit_code in {1, 2}, words
        assert words in result.stderr
    assert "already" in invoked(str(notebook), "-o", str(broken)).stderr
    monkeypatch.setitem(sys.modules, "papermill", None)
    result = invoked(str(notebook), "-o", str(out))
    assert "pip install 'tasktools-ops[notebooks]'" in result.stderr
    assert sorted(tmp_path.iterdir()) == before
