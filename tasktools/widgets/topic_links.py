"""Links to copies of the notebooks that begin with a topic."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlencode

from tasktools.core import files
from tasktools.core.escaping import harmless

if TYPE_CHECKING:
    from tasktools.cluster.cluster import Cluster

_COPIES: Final = "topics"
_CELL: Final = "topic"  # the id of the cell that is added
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
            f'<a href="{quote(path.as_posix())}" style="text-decoration: underline">'
            f"{escape(title)}</a>"
            for title, path in self.paths.items()
        ]
        shown = f"<b>{escape(harmless(self.topic))}</b>: {' · '.join(links) or _NONE}"
        return f"{shown}{_keep_theme()}"


def _keep_theme() -> str:
    """Return a script that gives all links to notebooks, also those in Markdown cells, the theme
    which the page of Voilà was asked for."""
    themes = parse_qs(os.environ.get("QUERY_STRING", "")).get("theme")
    if not themes:
        return ""
    query = urlencode({"theme": themes[0]})  # in which nothing is left that could end the script
    return (
        "<script>document.querySelectorAll('a[href$=\".ipynb\"]')"
        f".forEach(link => {{ link.search = '{query}'; }})</script>"
    )


_NONE: Final = "no notebook in this folder takes a topic"


def notebook_links(
    cluster: Cluster, topic: str, folder: str | os.PathLike[str] = "."
) -> NotebookLinks:
    """Return links to the notebooks that take a topic, each to a copy that begins with *topic*.

    The copies are in ``topics/`` below *folder*, and are made of the notebooks in *folder* whose
    cell of parameters has a ``topic``. They open *cluster* again: the cell that sets the topic also
    sets ``default``, the DSN of a demo or a recording. Any other cluster is the one that
    `BROKER_DSN` names: its password is in no notebook. A copy that is there already stays as it
    is, but for that cell.

    Parameters
    ----------
    cluster
        The cluster that the copies open.
    topic
        Name of a topic.
    folder
        The folder of the notebooks; by default the working directory of the kernel.

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
    >>> with tt.connect("demo://") as cluster:
    ...     tt.widgets.notebook_links(cluster, "orders", folder="docs")
    orders: no notebook in this folder takes a topic

    """
    copies = Path(_COPIES) / _folder_name(topic)
    source_text = f"topic = {topic!r}\ndefault = {_default(cluster)}"
    paths: dict[str, Path] = {}
    for source in sorted(Path(folder).glob("*.ipynb")):
        notebook = _read(source)
        if notebook is None or (place := _place(notebook)) is None:
            continue
        path = copies / source.name
        target = Path(folder) / path
        with files.errors_of(target.parent, "cannot be made", "nothing was copied."):
            target.parent.mkdir(parents=True, exist_ok=True)
        copy = _read(target) if target.exists() else _with_cell(notebook, place)
        if copy is not None and _set(copy, source_text):
            contents = json.dumps(copy, indent=1, ensure_ascii=False).encode()
            files.write(target, contents, overwrite=True)
        paths[_title(notebook) or source.stem] = path
    return NotebookLinks(topic, paths)


def _default(cluster: Cluster) -> str:
    """Return the DSN that opens *cluster* where `BROKER_DSN` is not set, as Python writes it."""
    if cluster.broker.demo or cluster.is_recorded:
        return repr(cluster.broker.address)
    return "None  # the cluster is that of BROKER_DSN"


def _read(path: Path) -> dict[str, Any] | None:
    """Return the notebook in the file *path*; `None` if the file is not a notebook."""
    try:
        notebook = json.loads(files.read(path, at_most=_MAX_NOTEBOOK_BYTES))
    except ValueError:
        return None
    return notebook if isinstance(notebook, dict) and "cells" in notebook else None


def _place(notebook: dict[str, Any]) -> int | None:
    """Return the place after the parameters of *notebook*; `None` if no topic is among them."""
    for place, cell in enumerate(notebook["cells"]):
        is_parameters = "parameters" in cell["metadata"].get("tags", ())
        if is_parameters and _PARAMETER.search("".join(cell["source"])):
            return place + 1
    return None


def _with_cell(notebook: dict[str, Any], place: int) -> dict[str, Any]:
    """Return *notebook* with a cell at *place* that sets parameters, as papermill does."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "execution_count": None,
        "id": _CELL,
        "metadata": {"tags": ["injected-parameters"]},
        "outputs": [],
        "source": [],
    }
    return {**notebook, "cells": [*notebook["cells"][:place], cell, *notebook["cells"][place:]]}


def _set(copy: dict[str, Any], text: str) -> bool:
    """Set the cell of *copy* that sets parameters, if it is there; return whether it changed."""
    for cell in copy["cells"]:
        if cell.get("id") == _CELL and "".join(cell["source"]) != text:
            cell["source"] = text.splitlines(keepends=True)
            return True
    return False


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
