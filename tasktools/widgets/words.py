"""Words on screen, as HTML. What comes from messages is text in it, always."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tasktools.core.redaction import mask_text


def quiet(text: str) -> str:
    """Return *text* as a remark."""
    return f'<div class="tt-note tt-quiet">{escape(text)}</div>' if text else ""


def status(text: str) -> str:
    """Return *text* as what has happened."""
    return f'<div class="tt-note" role="status">{escape(text)}</div>' if text else ""


def reasons(blockers: Sequence[str]) -> str:
    """Return why a button is off."""
    items = "".join(f"<li>{escape(blocker)}</li>" for blocker in blockers)
    return f'<div class="tt-note" role="status"><ul>{items}</ul></div>' if items else ""


def alert(*texts: str) -> str:
    """Return errors, as far as there are any."""
    shown = [f"<div>{escape(mask_text(text))}</div>" for text in texts if text]
    return f'<div class="tt-error" role="alert">{"".join(shown)}</div>' if shown else ""
