"""`llms.txt` of the site: its pages with a sentence on each, for programs that read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

_SECTIONS: Final = ("tutorials", "how-to", "reference", "explanation")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the file when the site is built."""
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    lines = [f"# {app.config.project}", "", f"> {_first_sentence(app.env, 'index')}", ""]
    for section in _SECTIONS:
        lines += [f"## {app.env.titles[f'{section}/index'].astext()}", ""]
        for page in _pages(app.env, f"{section}/index"):
            title = app.env.titles[page].astext()
            lines.append(f"- [{title}]({page}.html): {_first_sentence(app.env, page)}")
        lines.append("")
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def _pages(env: BuildEnvironment, index: str) -> list[str]:
    """Return the pages below *index*, in order, without the generated ones of single names."""
    pages = []
    for page in env.toctree_includes.get(index, []):
        if "/generated/" not in page:
            pages += [page, *_pages(env, page)]
    return pages


def _first_sentence(env: BuildEnvironment, page: str) -> str:
    paragraph = next(iter(env.get_doctree(page).findall(nodes.paragraph)))
    return " ".join(paragraph.astext().split()).partition(". ")[0].rstrip(".:") + "."
