"""The error of a task of Celery, from the ``repr`` and the traceback that its event carries.

A ``repr`` is text: it is matched, and never evaluated.
"""

from __future__ import annotations

import re
from typing import Final

from tasktools.core.dialects.tracebacks import last_error
from tasktools.core.escaping import cut

_MAX_CHARS: Final = 2_000
_CALL: Final = re.compile(r"(?P<type>[^\W\d][\w.]*)\((?P<args>.*)\)", re.DOTALL)
_QUOTED: Final = re.compile(r"""(['"])(?P<text>(?:(?!\1)[^\\]|\\.)*)\1,?""", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(['\"\\n])")


def error_of(exception: str | None, traceback: str | None) -> tuple[str | None, str | None]:
    r"""Return type and text of an error.

    >>> error_of("ValueError('no such user')", None)
    ('ValueError', 'no such user')
    >>> error_of("Declined('no')", "Traceback …\n  File …\n    …\nshop.Declined: no")
    ('shop.Declined', 'no')
    """
    exception = exception and cut(exception, _MAX_CHARS)
    call = _CALL.fullmatch(exception or "")
    name = call["type"] if call else None
    if traceback is not None:
        full_name, text = last_error(traceback)
        # The traceback of a retry ends in `Retry`, and its `repr` names the error before.
        if full_name is not None and name in (None, full_name.rpartition(".")[2]):
            return full_name, text
    if call is None:
        return None, exception
    quoted = _QUOTED.fullmatch(call["args"])
    if quoted is None or name == "KeyError":  # whose text is the `repr` of the key
        return name, call["args"] or None
    return name, _plain(quoted["text"]) or None


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
