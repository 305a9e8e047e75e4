"""Untrusted texts for display: control and invisible characters are escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
"""Characters that Python takes for printable, and that nobody can see."""
_to_json: Final = msgspec.json.Encoder().encode
_BACKSLASH: Final = b"\\"  # before all control characters but one
_DELETE: Final = b"\x7f"


def harmless(text: str) -> str:
    r"""Return *text* with invisible characters escaped, as ``\n`` or ``\u202e``.

    A terminal obeys control characters, direction marks change how neighbouring text is displayed,
    and lone surrogates cannot be sent.

    >>> harmless("emails\u202e")
    'emails\\u202e'
    """
    if text.isascii():
        if text.isprintable():
            return text
    elif text.isprintable() and _INVISIBLE.search(text) is None:
        return text
    return "".join(
        c if c.isprintable() and _INVISIBLE.match(c) is None else _escaped(c) for c in text
    )


def cut(text: str, most: int) -> str:
    """Return *text*, or the beginning of a long one with an ellipsis, of *most* characters in all.

    >>> cut("publish", 7), cut("publish", 6)
    ('publish', 'publi…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def last_lines(text: str, most: int) -> str:
    r"""Return *text*, or the last lines of a long one after an ellipsis, of *most* characters in
    all.

    A line is not cut, unless it is the only one: nobody could tell a secret by its second half.

    >>> last_lines("a b\nc d\ne f", 11), last_lines("a b\nc d\ne f", 10)
    ('a b\nc d\ne f', '…\nc d\ne f')
    """
    if len(text) <= most:
        return text
    end = text[2 - most :]
    _, line_end, whole = end.partition("\n")
    return f"…\n{whole}" if line_end else f"…{end}"


def shortened(text: str, most: int) -> str:
    """Return *text*, or the first *most* characters of a long one and how many more there are.

    >>> shortened("publish", 7), shortened("publish", 3)
    ('publish', 'pub… [+4 characters]')
    """
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}… [+{more:,} characters]"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class StrangersText(str):
    r"""A text with invisible or misleading characters, which are shown as escapes (``\u202e``).

    Its value is exact: it is equal to the plain text, and is sent, joined and formatted as that.
    Only `str()` differs, which is what pandas shows, as text, HTML, Markdown and LaTeX alike.

    >>> name = StrangersText("emails\u202e")
    >>> print(name)
    emails\u202e
    >>> name == "emails\u202e"
    True
    """

    __slots__ = ()

    def __str__(self) -> str:
        # pandas writes these itself; who prints a traceback wants its lines
        return "".join(c if c in "\n\t" else harmless(c) for c in exact(self))

    def __repr__(self) -> str:
        return harmless(super().__repr__())

    def __format__(self, spec: str) -> str:
        return format(exact(self), spec)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (exact(self),)


UNTYPESET: Final = 'class="tex2jax_ignore mathjax_ignore"'
"""The attribute of an HTML element in which a notebook takes no ``$x$`` for a formula."""


def exact(text: str) -> str:
    """Return *text* as a plain `str`, with nothing escaped, also of a `StrangersText`."""
    return str.__str__(text)


def as_shown(value: Any) -> Any:
    """Return *value* with its texts wrapped so that they are shown escaped."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable():  # most are
            return value
        if isinstance(value, StrangersText) or not is_disguised(value):
            return value
        return StrangersText(value)
    if isinstance(value, dict) and value:
        return {as_shown(key): as_shown(item) for key, item in value.items()}
    if isinstance(value, list) and value:
        return [as_shown(item) for item in value]
    return value


def all_are_plain(values: Sequence[Any]) -> bool:
    """Whether *values* certainly have no disguised character; one `repr` of all shows it, since it
    escapes what cannot be printed.

    >>> all_are_plain([{"to": "ann@example.com"}, ["é"]]), all_are_plain([{"to": "a\u202eb"}])
    (True, False)
    """
    try:
        encoded = _to_json(values)  # in a third of the time of `repr`
    except (TypeError, ValueError, RecursionError):  # it holds more than JSON
        encoded = _BACKSLASH
    if _BACKSLASH not in encoded and _DELETE not in encoded and encoded.isascii():
        return True
    written = repr(values)
    return "\\" not in written and (written.isascii() or _INVISIBLE.search(written) is None)


def is_disguised(text: str) -> bool:
    """Whether *text* has characters in it that nobody can see, other than ends of lines."""
    if text.isprintable():
        return not text.isascii() and _INVISIBLE.search(text) is not None
    lines = text.replace("\n", "").replace("\t", "")
    return not lines.isprintable() or _INVISIBLE.search(lines) is not None
