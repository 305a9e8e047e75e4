"""``tasktools notebook run``: run a notebook, and keep it with its outputs as a record."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from tasktools.cli import output, render
from tasktools.cli.connection_options import spoken
from tasktools.core import files
from tasktools.core.escaping import cut
from tasktools.core.plans import RECORDING_DSN
from tasktools.core.redaction import mask_text
from tasktools.history.store import File

_NO_PAPERMILL: Final = (
    "Notebooks are run by papermill, which is not installed; nothing was run. Install it: "
    "pip install 'tasktools-ops[notebooks]'."
)
_MAX_NOTEBOOK_BYTES: Final = 100_000_000
_MAX_ERROR_CHARS: Final = 1_000


@click.group()
def notebook() -> None:
    """Run notebooks without a browser."""


def _parameters(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    """Read ``NAME=VALUE``: a value is what it is in Python (a number, ``True``), else a text."""
    parameters: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{render.harmless(text)!r} is not NAME=VALUE.")
        try:
            parameters[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            parameters[name] = value
    return parameters


@notebook.command()
@click.argument("file", metavar="NOTEBOOK", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The notebook with its outputs, as out.ipynb.",
)
@click.option(
    "-p",
    "--parameter",
    "parameters",
    multiple=True,
    callback=_parameters,
    metavar="NAME=VALUE",
    help="Sets a name of the cell that is tagged 'parameters', as since=2h; any number of them.",
)
@click.option(
    "--dsn",
    metavar="DSN",
    help="The cluster or the recording, in place of BROKER_DSN; it is not kept in the notebook.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
def run(
    file: Path, path: Path, *, parameters: dict[str, Any], dsn: str | None, overwrite: bool
) -> None:
    """Run NOTEBOOK from top to bottom, and keep it with its outputs as the record.

    Where a cell fails, what ran until then is kept all the same, and the exit code is 1. The
    notebook runs in its own folder, on the demo cluster where neither --dsn nor BROKER_DSN is set.
    """
    with spoken():
        files.check_target(path, overwrite=overwrite)
        files.read(file, at_most=_MAX_NOTEBOOK_BYTES)
        _check_parameters(file, parameters)
        with tempfile.TemporaryDirectory() as folder, dsn_in_environment(dsn):
            executed = Path(folder) / "executed.ipynb"
            failure = _executed(file, executed, parameters)
            files.write(path, _record(executed, path), overwrite=overwrite)
    where = render.harmless(f"The notebook with its outputs is in {path}.")
    if failure is not None:
        raise click.ClickException(f"{failure} {where}")
    output.remark([where])


def _check_parameters(file: Path, parameters: Mapping[str, Any]) -> None:
    """Raise an error for names that the notebook does not have: they would do nothing."""
    try:
        from papermill import inspect_notebook
    except ImportError as error:
        raise click.ClickException(_NO_PAPERMILL) from error
    try:
        known = inspect_notebook(str(file))
    except Exception as error:  # a notebook may be broken in any way
        first = mask_text(str(error) or type(error).__name__).splitlines()[0]
        why = cut(first, _MAX_ERROR_CHARS)
        raise click.ClickException(
            render.harmless(f"{file} is no notebook that can be run ({why}); nothing was run.")
        ) from error
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise click.ClickException(
            render.harmless(
                f"The notebook has no parameter {', '.join(unknown)}; nothing was run. It has "
                f"{', '.join(known) or 'none'}."
            )
        )


def _executed(file: Path, executed: Path, parameters: Mapping[str, Any]) -> str | None:
    """Run *file* into *executed*; return which cell failed and why, if one did."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    try:
        execute_notebook(
            str(file),
            str(executed),
            parameters=dict(parameters),
            cwd=str(file.parent),
            progress_bar=sys.stderr.isatty(),
            store_widget_state=False,  # megabytes, of widgets that nobody can use any more
        )
    except PapermillExecutionError as error:
        why = cut(mask_text(f"{error.ename}: {error.evalue}"), _MAX_ERROR_CHARS)
        return render.harmless(f"Cell {error.exec_count} failed: {why}.")
    except (DeadKernelError, NoSuchKernel) as error:
        return render.harmless(f"The kernel did not run to the end ({type(error).__name__}).")
    return None


def _record(executed: Path, path: Path) -> bytes:
    """Return the executed notebook, with the path at which it is stored in its metadata, not that
    of the temporary file."""
    contents = json.loads(executed.read_bytes())
    contents["metadata"]["papermill"]["output_path"] = str(path)
    return json.dumps(contents, indent=1, ensure_ascii=False).encode("utf-8")


@contextlib.contextmanager
def dsn_in_environment(dsn: str | None) -> Iterator[None]:
    """Let the kernel find *dsn* in its environment: a parameter would be kept, password and all.

    The path of a recording is from here, while the notebook runs in its own folder.
    """
    before = os.environ.get("BROKER_DSN")
    dsn = dsn or before
    if dsn is not None:
        is_recording = dsn.startswith(RECORDING_DSN)
        os.environ["BROKER_DSN"] = File.named(dsn).name if is_recording else dsn
    try:
        yield
    finally:
        if before is not None:
            os.environ["BROKER_DSN"] = before
        else:
            os.environ.pop("BROKER_DSN", None)
