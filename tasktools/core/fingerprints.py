"""Fingerprints of errors: the same text for failures that differ only in their values.

There are two levels. The coarse one is the type of the error and where in the task's own code it
was raised, as far as a traceback says; the fine one the type and the message, of which what varies
(ids, numbers, addresses, times, directories) is replaced by a placeholder. Both stay readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from tasktools.core.escaping import cut
from tasktools.core.redaction import mask_text

VERSION: Final = 1
"""The version of the rules: two fingerprints of different versions do not compare."""

_READ: Final = 500  # characters; so hostile texts cost no more than others
_MAX_FINGERPRINT_CHARS: Final = 200
_MAX_TRACEBACK_CHARS: Final = 16_000
_MAX_FRAMES: Final = 100
_TRACEBACK: Final = "Traceback (most recent call last)"

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

_FRAME: Final = re.compile(r'File "([^"\n]{1,500})", line \d+, in ([^\n]{1,200})')
_LIBRARY: Final = re.compile(
    r"""
    ^< | (?:^|[/\\])(?:site|dist)-packages[/\\] | [/\\]lib(?:64)?[/\\]python\d | [/\\]Lib[/\\]
    | [/\\]tasktools[/\\]worker[/\\]
    """,
    re.VERBOSE,
)
_PACKAGE: Final = re.compile(r"[/\\](?:site|dist)-packages[/\\]([^/\\]+)")


class Fingerprint(NamedTuple):
    """The text that failures of one kind share, in two levels, and where it comes from."""

    kind: str | None
    """Type, and the innermost frame of the task's own code: the coarse level."""
    text: str | None
    """Type and message without values: the fine level."""
    why: str | None


def fingerprints(
    error_type: str | None, error: str | None, traceback: str | None = None
) -> Fingerprint:
    r"""Return both levels of the fingerprint of an error; all `None` if nothing is known of it.

    >>> trace = 'Traceback (most recent call last):\n  File "/srv/shop/mail.py", line 4, in send'
    >>> fingerprints("smtplib.SMTPException", "no answer in 5 s", trace)[:2]
    ('SMTPException in mail.py:send', 'SMTPException: no answer in <n> s')
    """
    text = fingerprint(error_type, error)
    if text is None:
        return Fingerprint(None, None, None)
    if traceback is None and error is not None and _TRACEBACK in error:
        traceback = error
    place, why = _place(traceback)
    name = _line(error_type or "").rpartition(".")[2]
    kind = " in ".join(part for part in (name or "error", place) if part)
    return Fingerprint(
        cut(kind, _MAX_FINGERPRINT_CHARS), text, f"kind: {why}; fingerprint: {_why(name, text)}"
    )


def _why(name: str, text: str) -> str:
    """Return in words which parts of the error make its fingerprint."""
    parts = "type and message" if name and text != name else "type" if name else "message"
    replaced = [kind for kind in _VALUES.groupindex if f"<{kind}>" in text]
    return f"{parts}, with {', '.join(f'<{kind}>' for kind in replaced)}" if replaced else parts


def _place(traceback: str | None) -> tuple[str | None, str]:
    """Return the place where an error was raised, and in words how it was determined."""
    if not traceback:
        return None, "the type alone, as no traceback was reported"
    text = traceback[-_MAX_TRACEBACK_CHARS:]
    start, last = max(text.rfind(_TRACEBACK), 0), text.rfind('File "')
    # Failures share their frames, not the message that follows.
    return _place_in(text[start : _line_end(text, last) if last >= 0 else start])


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


@lru_cache(maxsize=256)
def _place_in(trace: str) -> tuple[str | None, str]:
    frames = list(_frames(trace))
    if not frames:
        return None, "the type alone, as no frame of the traceback can be read"
    own = next((frame for frame in frames if not _LIBRARY.search(frame[0])), None)
    why = "the type, and the innermost frame outside of libraries"
    if own is None:  # the task is installed as one: a worker's traceback begins in it
        package = _PACKAGE.search(frames[-1][0])
        if package is None:
            return None, "the type alone, as all frames of the traceback are of libraries"
        own = next(frame for frame in frames if _is_of(package[1], frame[0]))
        why = "the type, and the innermost frame of the package that the task is of"
    file = re.split(r"[/\\]", own[0])[-1]
    return mask_text(f"{file}:{own[1].strip()}"), why


def _frames(trace: str) -> Iterator[tuple[str, str]]:
    """Yield file and function of each frame, the innermost first."""
    end = len(trace)
    for _ in range(_MAX_FRAMES):
        end = trace.rfind('File "', 0, end)
        if end < 0:
            return
        if match := _FRAME.match(trace, end):
            yield match[1], match[2]


def _is_of(package: str, path: str) -> bool:
    match = _PACKAGE.search(path)
    return match is not None and match[1] == package


def fingerprint(error_type: str | None, error: str | None) -> str | None:
    r"""Return the text that failures of one kind share; `None` if nothing is known.

    The first line of *error* is read, at most 500 characters of it; the answer has at most 200.
    Status codes and quoted names stay, since they say what went wrong.

    >>> fingerprint("requests.ConnectTimeout", "POST https://pay.example/v1/charge: 5.02 s, try 2")
    'ConnectTimeout: POST https://pay.example/…/charge: <n> s, try <n>'
    >>> fingerprint("KeyError", "'user_123'"), fingerprint("KeyError", "KeyError: 'user_124'")
    ("KeyError: 'user_<n>'", "KeyError: 'user_<n>'")
    """
    if not (error_type or error):
        return None
    kind = _line(error_type or "").rpartition(".")[2]
    text = _normalised(_line(error or "").removeprefix(f"{kind}: "))  # some name it in both
    whole = ": ".join(part for part in (kind, text) if part)
    return cut(whole, _MAX_FINGERPRINT_CHARS) or None


def _line(text: str) -> str:
    """Return the first line of *text* with content."""
    text = text.lstrip()
    start = text[:_READ]
    line = start.splitlines()[0] if start else ""
    if len(line) == _READ < len(text):  # a URL that was cut could show half a password
        line = _without_cut_url(line)
    return mask_text(" ".join(line.split()))


def _without_cut_url(line: str) -> str:
    words, _, last = line.rpartition(" ")
    head, cut, _ = last.partition("://")
    return f"{words} {head}://…" if cut else line


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
