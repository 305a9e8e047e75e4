"""The beginning of the page, which says "starting …" until the board is there."""

from __future__ import annotations

from importlib import resources
from string import Template
from typing import Final, Literal

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")

_TEMPLATE: Final = "starting.html"


def theme_of(named: str | None, default: Theme) -> Theme:
    """Return the theme that the address of a page names (``?theme=dark``), else *default*."""
    return next((theme for theme in THEMES if theme == named), default)


def starting_page(theme: Theme) -> str:
    """Return the beginning of the page."""
    page = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return Template(page).substitute(theme=theme, is_light="true" if theme == "light" else "false")
