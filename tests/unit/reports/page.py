"""The page of a report as a browser reads it: elements, texts, and the frames in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

_VOID = {"meta"}
_APART = {"td", "th", "dt", "dd", "li", "p", "summary"}


class Page(HTMLParser):
    """A page that was read: *elements* are names with attributes, *text* is what is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self._open: list[str] = []
        self._sections: list[str] = []
        self.by_section: dict[str, str] = {}
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)
            self._sections.append(dict(attrs).get("id") or "" if tag == "section" else "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag in _APART:
            self.handle_data(" ")
        self._sections.pop()

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        if within in {"script", "style"}:
            self.raw[within] = self.raw.get(within, "") + data
            return
        self.texts.append(data)
        for section in filter(None, self._sections):
            self.by_section[section] = self.by_section.get(section, "") + data

    def csvs(self) -> dict[str, bytes]:
        """Return the CSV of each frame; its SHA-256 must be that of the page."""
        contents = {}
        row: dict[str, str | None] = {}
        for tag, attributes in self.elements:
            if attributes.get("class") == "frame":
                row = attributes
            elif tag == "a" and (attributes.get("href") or "").startswith("data:"):
                coded = str(attributes["href"]).partition(";base64,")[2]
                written = gzip.decompress(base64.b64decode(coded))
                assert hashlib.sha256(written).hexdigest() == row["data-sha256"]
                assert str(row["data-sha256"]) in self.text
                assert attributes["download"] == f"{row['data-name']}.csv.gz"
                contents[str(row["data-name"])] = written
        return contents

    def frame(self, name: str, *times: str) -> pd.DataFrame:
        """Return a frame of the page, as pandas reads its CSV."""
        text = self.csvs()[name].decode("utf-8")
        return pd.DataFrame(pd.read_csv(io.StringIO(text), parse_dates=list(times)))
