"""The page of a report: everything is in one file, which loads nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib import resources
from typing import Final

from tasktools.core.timespans import in_words
from tasktools.reports import sections
from tasktools.reports.contents import Contents
from tasktools.reports.html import Html, fragment, tag
from tasktools.reports.sections import Section

_STYLE, _SCRIPT = "report.css", "report.js"
_TITLE: Final = "Incident report"


def document(contents: Contents) -> str:
    """Return the whole page. The same *contents* always give the same text."""
    style, script = (_packaged(name) for name in (_STYLE, _SCRIPT))
    parts = list(sections.all_of(contents))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{_TITLE} {contents.until:%Y-%m-%d %H:%M} UTC"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("a", "Skip to the cause", href="#cause", class_="skip"),
        _header(contents, parts),
        tag("main", map(_section, parts)),
        tag("script", script),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _packaged(name: str) -> Html:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return Html(f"\n{text}")


def _policy(style: str, script: str) -> str:
    """Return the policy by which a browser runs this script alone, and fetches nothing."""
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _header(contents: Contents, parts: Iterable[Section]) -> Html:
    since, until = contents.since, contents.until
    time = f"{since:%Y-%m-%d %H:%M:%S} to {until:%Y-%m-%d %H:%M:%S} UTC"
    length = in_words((until - since).total_seconds())
    demo = [tag("span", "DEMO", class_="badge demo"), " "] if contents.demo else []
    links = (tag("a", part.title, href=f"#{part.name}") for part in parts)
    return tag(
        "header",
        tag("h1", _TITLE),
        tag(
            "p",
            demo,
            tag("strong", time),
            f" ({length}) · {contents.cluster}",
        ),
        tag("p", contents.extent, class_="note"),
        tag("nav", links, aria_label="sections"),
    )


def _section(part: Section) -> Html:
    heading = f"{part.name}-title"
    return tag(
        "section",
        tag("h2", part.title, id=heading),
        fragment(part.content),
        id=part.name,
        aria_labelledby=heading,
    )
