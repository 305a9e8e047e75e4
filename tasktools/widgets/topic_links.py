"""Links to copies of the notebooks that begin with a topic."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tasktools.core import files
from tasktools.core.escaping import harmless

_COPIES: Final = "topics"
_PARAMETER: Final = re.compile(r"^topic\b", re.MULTILINE)
_TITLE: Final = re.compile(r"^# (.+)", re.MULTILINE)
_PLAIN: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,60}")  # some file systems take A for a
_MAX_NOTEBOOK_BYTES: Final = 100_000_000
_MAX_SLUG_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class NotebookLinks:
    """Links that a notebook shows: the paths of copies by their titles."""

    topic: str
    paths: dict[str, Path]

    def __repr__(self) -> str:
        shown = [f"{title}: {path.as_posix()}" for title, path in self.paths.items()]
        return harmless(f"{self.topic}: {', '.join(shown) or _NONE}")

    def _repr_html_(self) -> str:
        links = [
            f'<a href="{quote(path.as_posix())}">{escape(title)}</a>'
            for title, path in self.paths.items()
        ]
        return f"<b>{escape(harmless(self.topic))}</b>: {' · '.join(links) or _NONE}"


_NONE: Final = "no notebook in this folder takes a topic"


def notebook_links(topic: str, folder: str | os.PathLike[str] = ".") -> NotebookLinks:
    """Return links to the notebooks that take a topic, each to a copy that begins with *topic*.

    The copies are in ``topics/`` below *folder*, and are made of the notebooks in *folder* whose
    cell of parameters has a ``topic``. A copy that is there already stays as it is.

    Parameters
    ----------
    topic
        Name of a topic.
    folder
        Where the notebooks are; by default beside the one that calls this.

    Returns
    -------
    The links, as a cell of a notebook shows them; `paths` has them by title.

    Raises
    ------
    FileError
        A notebook cannot be read, or its copy cannot be written.

    Examples
    --------
    >>> import tasktools as tt
    >>> tt.widgets.notebook_links("orders", folder="docs")
    orders: no notebook in this folder takes a topic

    """
    copies = Path(_COPIES) / _folder_name(topic)
    paths: dict[str, Path] = {}
    for source in sorted(Path(folder).glob("*.ipynb")):
        notebook = json.loads(files.read(source, at_most=_MAX_NOTEBOOK_BYTES))
        begun = _with_topic(notebook, topic)
        if begun is None:
            continue
        path = copies / source.name
        target = Path(folder) / path
        if not target.exists():
            with files.errors_of(target.parent, "cannot be made", "nothing was copied."):
                target.parent.mkdir(parents=True, exist_ok=True)
            files.write(target, json.dumps(begun, indent=1, ensure_ascii=False).encode())
        paths[_title(notebook) or source.stem] = path
    return NotebookLinks(topic, paths)


def _with_topic(notebook: dict[str, Any], topic: str) -> dict[str, Any] | None:
    """Return *notebook* with a cell that sets its topic, as papermill does; `None` without one."""
    cells = notebook["cells"]
    for place, cell in enumerate(cells):
        is_parameters = "parameters" in cell["metadata"].get("tags", ())
        if is_parameters and _PARAMETER.search("".join(cell["source"])):
            injected = {
                "cell_type": "code",
                "execution_count": None,
                "id": "topic",
                "metadata": {"tags": ["injected-parameters"]},
                "outputs": [],
                "source": [f"topic = {topic!r}"],
            }
            return {**notebook, "cells": [*cells[: place + 1], injected, *cells[place + 1 :]]}
    return None


def _title(notebook: dict[str, Any]) -> str | None:
    texts = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    heading = _TITLE.search(next(texts, ""))
    return heading and heading[1]


def _folder_name(topic: str) -> str:
    """Return a name for the copies of *topic*, which no other topic has."""
    if _PLAIN.fullmatch(topic):
        return topic
    slug = re.sub(r"[^A-Za-z0-9_]+", "_", topic)[:_MAX_SLUG_CHARS]
    return f"{slug}~{hashlib.sha256(topic.encode()).hexdigest()[:8]}"
