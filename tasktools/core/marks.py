"""Marks: notes of operators, as events for all clients that listen to the cluster.

A peer ignores events of names that it does not know and that have no ``worker`` in them.
"""

from __future__ import annotations

from typing import Final

from tasktools.core import untrusted
from tasktools.core.escaping import cut, harmless
from tasktools.core.masked_repr import MaskedStruct

KIND: Final = "tasktools_mark"
"""The name of the event."""
MAX_CHARS: Final = 200
"""Characters of the text of a mark."""
_MAX_ID_CHARS: Final = 64
_MAX_WHO_CHARS: Final = 200


class Mark(MaskedStruct, frozen=True, kw_only=True):
    """A note of an operator. *mark* names it, since it may arrive more than once; *who* is the
    user, host and process that noted it."""

    sender_id: str
    mark: str
    text: str
    who: str | None = None


def checked(text: str) -> str:
    """Return the *text* of a mark without the spaces around it. Raises `ValueError`."""
    text = text.strip()
    if not text or len(text) > MAX_CHARS:
        raise ValueError(
            f"The text of a mark has 1 to {MAX_CHARS} characters, not {len(text):,}; nothing was "
            "marked. Say in one line what happened."
        )
    if harmless(text) != text:
        raise ValueError(
            f"The text of a mark is one line of visible characters, not {harmless(text)!r}; "
            "nothing was marked."
        )
    return text


def parse(sender: str, data: object) -> Mark | None:
    """Return the mark in *data*, decoded JSON; `None` if there is none."""
    fields = untrusted.mapping(data)
    name, text = untrusted.text(fields.get("id")), untrusted.text(fields.get("text"))
    if name is None or text is None or len(name) > _MAX_ID_CHARS:
        return None
    try:
        text = checked(text)
    except ValueError:
        return None
    who = untrusted.text(fields.get("who"))
    return Mark(sender_id=sender, mark=name, text=text, who=who and cut(who, _MAX_WHO_CHARS))


def as_json(mark: Mark) -> dict[str, str | None]:
    """Return the mark in the form that `parse` reads."""
    return {"id": mark.mark, "text": mark.text, "who": mark.who}
