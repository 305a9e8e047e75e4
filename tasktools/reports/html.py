"""HTML elements, built so that text is never markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from tasktools.core.escaping import harmless

_VOID: Final = frozenset({"circle", "image", "line", "meta", "path", "rect"})
"""Elements without content. Those of SVG must be closed."""


class Html(str):
    """Markup that `tag` has made. Every other text is escaped where it becomes part of a page."""

    __slots__ = ()


Child = str | Iterable[str]
"""A text, which is escaped; markup of `tag`; or several of them."""
Attribute = str | float | bool | None


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """Return an element. Attributes that are `None` or false are left out.

    Names of attributes are written with ``_`` in place of ``-``; ``class_`` is ``class``.

    >>> tag("p", "1 < 2", class_="note", data_n=3)
    '<p class="note" data-n="3">1 &lt; 2</p>'
    """
    opening = f"<{name}{''.join(_attributes(attributes))}"
    if name in _VOID:
        return Html(f"{opening}/>")
    return Html(f"{opening}>{''.join(map(_markup, _flat(children)))}</{name}>")


def fragment(*children: Child) -> Html:
    """Return *children* one after the other."""
    return Html("".join(map(_markup, _flat(children))))


def lines(text: str) -> Html:
    """Return *text* as markup that keeps its lines, for a ``pre``."""
    return Html("\n".join(map(_markup, str.split(text, "\n"))))


def _attributes(attributes: dict[str, Attribute]) -> Iterator[str]:
    for name, value in attributes.items():
        written = name.rstrip("_").replace("_", "-")
        if value is True:
            yield f" {written}"
        elif value is not None and value is not False:
            text = f"{value:g}" if isinstance(value, float) else harmless(str(value))
            yield f' {written}="{escape(text)}"'


def _flat(children: Iterable[Child]) -> Iterator[str]:
    for child in children:
        if isinstance(child, str):
            yield child
        else:
            yield from child


def _markup(text: str) -> str:
    return text if isinstance(text, Html) else escape(harmless(text), quote=False)
