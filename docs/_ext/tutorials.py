"""Tutorials: the notebooks, run on the demo, with outputs that need neither kernel nor network.

Each is run in a kernel of its own, several at a time, as most of their time is waiting. Then

* cells that do nothing but assert are left out: they are tests of the notebook;
* a figure of plotly is drawn by the copy of plotly.js that the package brings;
* a widget is shown by the HTML that stands for it.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import nbformat
import plotly.io
from nbclient import NotebookClient
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util import logging

_AT_A_TIME: Final = 4
_CELL_TIMEOUT: Final = 120  # seconds
_FIGURE: Final = "application/vnd.plotly.v1+json"
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_STYLE_OF_STATIC_OUTPUT: Final = 'class="tasktools-frozen"'
_ABOUT: Final = """

:::{{note}}
This page is the notebook `{name}`, run on the demo when these pages were built. `tasktools lab`
opens the notebooks, `tasktools notebooks DIR` copies them. Cells that only check are left out here.
:::
"""

_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run the notebooks before the pages are read."""
    app.connect("builder-inited", _run_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _run_all(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    notebooks = sorted((docs.parent / "notebooks").glob("*.ipynb"))
    for stale in (docs / "tutorials").glob("*.ipynb"):
        stale.unlink()
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    (static / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    with (
        tempfile.TemporaryDirectory(prefix="tasktools-") as folder,
        ThreadPoolExecutor(_AT_A_TIME) as pool,
    ):
        runs = pool.map(lambda notebook: _run(notebook, Path(folder)), notebooks)
        for notebook, content in zip(notebooks, runs, strict=True):
            page = _Page(notebook, content)
            nbformat.write(page.content, docs / "tutorials" / notebook.name)
    _log.info("ran %d notebooks on the demo", len(notebooks))


def _run(notebook: Path, folder: Path) -> Any:
    content = nbformat.read(notebook, as_version=4)
    own = folder / notebook.stem
    own.mkdir()
    environment = {
        **os.environ,
        "PLOTLY_RENDERER": "plotly_mimetype",
        "TASKTOOLS_LEDGER": str(own / "ledger.db"),
        "TZ": "UTC",
    }
    del environment["BROKER_DSN"]  # each connects to the demo that it names
    NotebookClient(
        content,
        timeout=_CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(own)}},
    ).execute(env=environment)
    return content


class _Page:
    """A notebook that was run, as it is shown."""

    def __init__(self, notebook: Path, content: Any) -> None:
        self.content = content
        self._is_plotly_loaded = False
        content.metadata.pop("widgets", None)
        content.cells[0].source += _ABOUT.format(name=notebook.name)
        content.cells = [
            cell
            for cell in content.cells
            if not (cell.cell_type == "code" and _only_asserts(cell.source))
        ]
        for cell in content.cells:
            if cell.cell_type == "code":
                cell.outputs = [shown for each in cell.outputs if (shown := self._output(each))]

    def _output(self, output: Any) -> Any:
        """Return *output* as it is shown, or `None` if it says nothing without a kernel."""
        data = output.get("data")
        if data is None:  # what was printed
            return output if output.get("text", "").strip() else None
        if _FIGURE in data:
            output.data = {"text/html": self._figure(data[_FIGURE])}
            return output
        if _STYLE_OF_STATIC_OUTPUT in data.get("text/html", ""):
            return None
        if _WIDGET in data:
            return None if "text/html" not in data else self._only_html(output)
        return output if any(text for text in data.values()) else None

    def _only_html(self, output: Any) -> Any:
        output.data = {"text/html": output.data["text/html"]}
        return output

    def _figure(self, figure: Any) -> str:
        script = False if self._is_plotly_loaded else "../_static/plotly.min.js"
        self._is_plotly_loaded = True
        return plotly.io.to_html(
            plotly.io.from_json(json.dumps(figure), skip_invalid=True),
            config={"displaylogo": False, "responsive": True},
            include_plotlyjs=script,
            full_html=False,
            default_width="100%",
            post_script="addEventListener('load', () => Plotly.Plots.resize('{plot_id}'));",
        )


def _only_asserts(source: str) -> bool:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with contextlib.suppress(SyntaxError):  # a magic of IPython
        body = compile(source, "cell", "exec", flags).body
        return all(isinstance(statement, ast.Assert) for statement in body)
    return False
