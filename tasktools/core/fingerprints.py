"""Fingerprints of errors: the same text for failures that differ only in their values.

What varies from message to message (ids, numbers, addresses, times, directories) is replaced by a
placeholder. What is left stays readable, so a fingerprint is its own explanation.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tasktools.core.redaction import mask_text

_READ: Final = 500  # characters; so hostile texts cost no more than others
_LONGEST: Final = 200

_CUT_URL: Final = re.compile(r"://\S*\Z")
_URL_PATH: Final = re.compile(r"""(://[^\s/?#'"<>]*)/(?:[^\s/?#'"<>]+/)+""")
_QUERY: Final = re.compile(r"""\?[\w.%\[\]-]+=[^\s'"<>)\]]*""")
_DIRECTORIES: Final = re.compile(
    r"""
    (?<![\w>\]…~./\\-]) (?:~|\.{1,2})? / (?:[^\s/'"<>(),:;]+/)+ (?=[^\s/…])
    | (?<![\w>/\\]) [A-Za-z]:\\+ (?:[^\s\\'"<>]+\\+)+ (?=[^\s\\…])
    """,
    re.VERBOSE,
)
_VALUES: Final = re.compile(
    r"""
    # Kept, since 404 is another failure than 503
    (?P<code> (?<![^\W_])(?:HTTP|[Ss]tatus|[Cc]ode|[Ee]rrno)[ :=]{1,2}\d{1,3}\b(?![.,:]\d) )
    | (?P<email> (?<![\w.+>-])[\w.+-]+@[\w.-]+ )
    | (?P<time>
        \b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?
        | \b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?![\w:])
      )
    | (?P<hex> (?<![^\W_])0x[0-9a-fA-F]+(?![^\W_]) )
    | (?P<id> (?<![^\W_])(?:
          [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}
          | (?:rmq|tt):[0-9a-fA-F]+:\d+
          # At least 8 hex digits with a letter among them, or letters and digits well mixed
          | (?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{8,}
          | (?=\d*[A-F])(?=[A-F]*\d)[0-9A-F]{8,}
          | (?=[A-Za-z]*\d+[A-Za-z]+\d)[0-9A-Za-z]{8,}
        )(?![^\W_]) )
    | (?P<address>
        \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b
        | (?<![\w:>])(?=[a-fA-F:]*\d)(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?![\w:])
      )
    | (?P<n> (?:(?<![^\s(\[=,:])[-+])?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+(?![^\W_]))? )
    """,
    re.VERBOSE,
)


def fingerprint(error_type: str | None, error: str | None) -> str | None:
    r"""Return what failures of one kind have in common, in words; missing if nothing is known.

    The first line of *error* is read, at most 500 characters of it; the answer has at most 200.
    Status codes and quoted names stay, since they say what went wrong.

    >>> fingerprint("requests.ConnectTimeout", "POST https://pay.example/v1/charge: 5.02 s, try 2")
    'ConnectTimeout: POST https://pay.example/…/charge: <n> s, try <n>'
    >>> fingerprint("KeyError", "'user_123'")
    "KeyError: 'user_<n>'"
    """
    if not (error_type or error):
        return None
    kind = _line(error_type or "").rpartition(".")[2]
    text = _normalised(_line(error or ""))
    return _shortened(": ".join(part for part in (kind, text) if part)) or None


def _line(text: str) -> str:
    """Return the first line of *text* that says something."""
    text = text.lstrip()
    start = text[:_READ]
    line = start.splitlines()[0] if start else ""
    if len(line) == _READ < len(text):  # a URL that was cut could show half a password
        line = _CUT_URL.sub("://…", line)
    return mask_text(" ".join(line.split()))


@lru_cache(maxsize=8_192)
def _normalised(line: str) -> str:
    if "/" in line or "\\" in line:
        line = _URL_PATH.sub(r"\1/…/", line)
        line = _QUERY.sub("?…", line)
        line = _DIRECTORIES.sub("…/", line)
    return _VALUES.sub(_placeholder, line)


def _placeholder(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match[0] if kind == "code" else f"<{kind}>"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
