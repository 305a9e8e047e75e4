"""A parser of printed tracebacks, for the error that they end in."""

from __future__ import annotations

import re
from typing import Final

_MAX_CHARS: Final = 16_000  # from the end, where the error is
_PYTHON_ERROR: Final = re.compile(r"(?P<type>[^\W\d][\w.]*)(?:: (?P<text>.*))?", re.DOTALL)
_JAVA_ERROR: Final = re.compile(
    r"^(?:Caused by: )?(?P<type>(?:[\w$]+\.)+[\w$]+)(?:: (?P<text>[^\n]*))?$", re.MULTILINE
)


def last_error(traceback: str) -> tuple[str | None, str | None]:
    r"""Return type and text of the error that a traceback of Python ends in.

    >>> last_error('Traceback (most recent call last):\n  File "a.py", line 1, in f\nKeyError: 7')
    ('KeyError', '7')
    """
    lines = traceback[-_MAX_CHARS:].rstrip().splitlines()
    after = next((n for n in range(len(lines), 0, -1) if lines[n - 1].startswith("  ")), 0)
    match = _PYTHON_ERROR.fullmatch("\n".join(lines[after:]))
    return (match["type"], match["text"]) if match else (None, None)


def root_cause(stacktrace: str) -> tuple[str | None, str | None]:
    r"""Return type and text of the error at the root of a stack trace of Java: of the last
    ``Caused by``, else of the first line.

    >>> root_cause("a.ListenerFailed: failed\n\tat a.B.c(B.java:1)\nCaused by: a.NoSuchUser: 7")
    ('a.NoSuchUser', '7')
    """
    errors = list(_JAVA_ERROR.finditer(stacktrace[-_MAX_CHARS:]))
    caused = [match for match in errors if match[0].startswith("Caused by: ")]
    match = caused[-1] if caused else next(iter(errors), None)
    return (match["type"], match["text"]) if match else (None, None)
