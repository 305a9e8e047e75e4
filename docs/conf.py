"""Settings of the docs site, which `make docs` builds into docs/_build/html."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from sphinx.application import Sphinx

import tasktools

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "tasktools"
author = copyright = "tasktools contributors"  # noqa: A001 - Sphinx's name
version = release = tasktools.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "blocks",
    "command_line",
    "llms",
    "offline",
    "tutorials",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Pages: MyST. Their Python cells are run, and so are their shell blocks (blocks.py). The notebooks
# are run before (tutorials.py).
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_excludepatterns = ["tutorials/*"]
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no content delivery network
nb_merge_streams = True
os.environ["BROKER_DSN"] = "demo://"
_folder = tempfile.TemporaryDirectory(prefix="tasktools-")  # removed when the build ends
os.environ["TASKTOOLS_LEDGER"] = str(Path(_folder.name) / "ledger.db")

# Reference: the numpy sections of the docstrings.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"
_NOT_MADE_BY_HAND = {f"tasktools.{name}" for name in ("Cluster", "CurrentTask", "Outcome", "Plan")}

html_theme = "pydata_sphinx_theme"
html_title = "tasktools"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "tasktools"},
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"


def setup(app: Sphinx) -> None:
    """Show no parameters of classes that a function makes."""

    def signature(_app: Sphinx, _kind: str, name: str, *_rest: object) -> tuple[str, str] | None:
        return ("", "") if name in _NOT_MADE_BY_HAND else None

    app.connect("autodoc-process-signature", signature)
