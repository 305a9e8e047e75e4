"""``tasktools notebooks`` and ``tasktools lab``: the notebooks, to use and to change."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import spoken
from tasktools.cli.notebook import dsn_in_environment
from tasktools.core import files

_HOME: Final = "00_home.ipynb"
_HOME_URL: Final = f"/lab/tree/{_HOME}"
_FOLDER: Final = "tasktools-notebooks"
_MAX_NOTEBOOK_BYTES: Final = 100_000_000
_NO_LAB: Final = (
    "JupyterLab is not installed; nothing was done. Install it: "
    "pip install 'tasktools-ops[notebooks]'."
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace notebooks that are there already.")
def notebooks(folder: Path, *, overwrite: bool) -> None:
    """Copy the notebooks into DIR, to run and change them there; print their paths.

    They run on the demo cluster where BROKER_DSN is not set. A notebook that is there already
    stays as it is.
    """
    copied, there = _copy(folder, overwrite=overwrite)
    for path in copied:
        output.write(render.harmless(str(path)))
    if there:
        output.remark([f"note: {there:,} were there already; --overwrite replaces them"])


@click.command()
@click.option(
    "--folder",
    default=_FOLDER,
    show_default=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the notebooks are, or are copied to.",
)
@click.option(
    "--dsn",
    metavar="DSN",
    help="The cluster or the recording, in place of BROKER_DSN; without both the demo.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION]...")
def lab(folder: Path, *, dsn: str | None, options: tuple[str, ...]) -> None:
    """Open JupyterLab on the notebooks: the state of the cluster, and the way to all others.

    They are copied into a folder first; those that are there already stay as they are. Arguments
    after -- are passed to JupyterLab.
    """
    if find_spec("jupyterlab") is None:
        raise click.ClickException(_NO_LAB)
    _copy(folder, overwrite=False)
    settings = [f"--ServerApp.root_dir={folder.absolute()}", f"--LabApp.default_url={_HOME_URL}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        settings.append("--allow-root")  # as in a container; else it does not start
    command = [sys.executable, "-m", "jupyterlab", *settings, *options]
    with spoken(), dsn_in_environment(dsn):
        sys.stdout.flush()
        os.execv(sys.executable, command)  # noqa: S606 - signals are JupyterLab's from here on


def _copy(folder: Path, *, overwrite: bool) -> tuple[list[Path], int]:
    """Copy the notebooks; return the paths of the copies, and how many were there already."""
    with spoken():
        sources = _shipped()
        with files.errors_of(folder, "cannot be made", "nothing was copied."):
            folder.mkdir(parents=True, exist_ok=True)
            to_copy = [each for each in sources if overwrite or not (folder / each.name).exists()]
        for source in to_copy:
            files.check_target(folder / source.name, overwrite=overwrite)
        for source in to_copy:
            contents = files.read(source, at_most=_MAX_NOTEBOOK_BYTES)
            files.write(folder / source.name, contents, overwrite=overwrite)
    return [folder / source.name for source in to_copy], len(sources) - len(to_copy)


def _shipped() -> list[Path]:
    """Return the notebooks of this version: in the package, or beside it in its repository."""
    package = Path(tasktools.__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / _HOME).is_file():
            return sorted(folder.glob("*.ipynb"))
    raise click.ClickException(
        "This installation has no notebooks; nothing was copied. Install the wheel, which has them."
    )
