"""Jupyter with a home of its own: what the tests of the notebooks and of the browser share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
NOTEBOOKS: Final = REPOSITORY / "notebooks"

_OURS: Final = ("BROKER_", "JUPYTER", "IPYTHON", "PYTEST_", "COV_")


def jupyter_environment(home: Path, *first_on_path: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a Jupyter that knows nothing of this user's configuration.

    Kernels find *first_on_path* before this repository, and both before what is installed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    folders = {
        "HOME": home,
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(str(folder) for folder in (*first_on_path, REPOSITORY))
    named = {name: str(folder) for name, folder in folders.items()}
    settings = {"PYTHONPATH": path, "TASKTOOLS_LEDGER": str(home / "ledger.db")}
    return inherited | named | settings | variables
