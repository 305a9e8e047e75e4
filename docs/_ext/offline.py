"""The check of the built site: it fetches nothing from elsewhere, and its inner links lead on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_FETCHED: Final = {
    "audio": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "video": "src",
}
"""The tags that make a browser fetch something, and the attribute that says what."""
_NOT_FETCHED: Final = {"author", "canonical", "license", "next", "prev"}  # relations of a link
_FETCHED_BY_STYLE: Final = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check the site when it is built."""
    app.connect("build-finished", _check, priority=900)  # the theme writes files then, too
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class _Page(HTMLParser):
    """The names in a page, its links, and what it fetches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag names, links or fetches."""
        values = {name: value for name, value in attrs if value is not None}
        self.names |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif _FETCHED.get(tag) in values and values.get("rel") not in _NOT_FETCHED:
            self.fetched.append(values[_FETCHED[tag]])
        self.fetched += _FETCHED_BY_STYLE.findall(values.get("style", ""))


def _check(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    root = Path(app.outdir)
    pages = {
        file.relative_to(root).as_posix(): _Page(file.read_text(encoding="utf-8"))
        for file in sorted(root.rglob("*.html"))
        if "_static" not in file.relative_to(root).parts
    }
    wrong = [*_foreign(root, pages), *_broken(root, pages)]
    if wrong:
        raise ExtensionError("The site is not whole:\n" + "\n".join(wrong))


def _foreign(root: Path, pages: dict[str, _Page]) -> Iterator[str]:
    for name, page in pages.items():
        for address in page.fetched:
            if urlsplit(address).netloc:
                yield f"{name} fetches {address}"
    for file in sorted(root.rglob("*.css")):
        for address in _FETCHED_BY_STYLE.findall(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(root)} fetches {address}"


def _broken(root: Path, pages: dict[str, _Page]) -> Iterator[str]:
    for name, page in pages.items():
        for address in (*page.links, *page.fetched):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            path = (root / name).parent / unquote(parts.path) if parts.path else root / name
            target = path.resolve()
            if not target.is_file():
                yield f"{name} links to {address}, which is not there"
                continue
            linked = pages.get(target.relative_to(root.resolve()).as_posix())
            fragment = unquote(parts.fragment)
            if fragment and linked is not None and fragment not in linked.names:
                yield f"{name} links to {address}, which has no such place"
