"""Names of secrets: which keys, fields and parameters hold one."""

from __future__ import annotations

import functools
import re
from itertools import pairwise
from typing import Final

_MAX_NAME_CHARS: Final = 100
_PARTS: Final = re.compile(
    r"passw|passphrase|passcode|kennwort|pwd|pswd|secret(?!ar)|token(?!i[sz])"
    r"|(?:api|access|account|private|signing|encryption|master|session|ssh)[-_. ]?key"
    r"|authori[sz]ation|bearer|credential|cookie|session[-_. ]?id|mnemonic|seed[-_. ]?phrase"
    r"|recovery[-_. ]?code|dsn",
    re.IGNORECASE,
)
"""Parts of names that always mean a secret."""
_WORD: Final = re.compile(r"(?:[A-Z](?![a-z]))++|[A-Z]?[a-z]++|[^\W\d_A-Za-z]++|\d++")
_WORDS: Final = frozenset({"jwt", "otp", "totp", "cvv", "cvc", "pw"})
_LAST_WORDS: Final = frozenset({"pass", "auth", "pin"})
"""Words that mean a secret at the end of a name, or before one of `_AFTER`: ``auth_method`` and
``pass_rate`` hold none."""
_AFTER: Final = frozenset({"code", "header", "key", "phrase", "string", "value", "word"})
_COUNTED: Final = frozenset({"auth", "pass", "pin", "tokens"})
"""Last words of names whose numbers are no secrets: ``max_tokens`` is a count."""
_IN_QUERIES: Final = frozenset({"code", "hmac", "key", "sig", "signature"})


def names_secret(name: str, *, in_query: bool = False) -> bool:
    """Whether *name* names a secret; *in_query*: it is a parameter of a URL, as ``sig`` is.

    Words end at ``_``, ``-``, ``.`` and capitals.

    >>> [names_secret(name) for name in ("db_pass", "userJwt", "api-key", "author", "pass_rate")]
    [True, True, True, False, False]
    """
    return _names_secret(name[-_MAX_NAME_CHARS:], in_query)


def names_count(name: str) -> bool:
    """Whether a number under *name* is a count rather than a secret."""
    words = _words(name)
    return bool(words) and words[-1] in _COUNTED


@functools.lru_cache(maxsize=4096)
def _names_secret(name: str, in_query: bool) -> bool:  # noqa: FBT001 - a cached function
    if _PARTS.search(name) is not None:
        return True
    words = _words(name)
    if not _WORDS.isdisjoint(words):
        return True
    if in_query and words and words[-1] in _IN_QUERIES:
        return True
    return any(a in _LAST_WORDS and b in _AFTER for a, b in pairwise((*words, "value")))


def _words(name: str) -> list[str]:
    """Return the words of *name* without numbers: ``pass2`` is a ``pass``."""
    return [word for word in words_of(name) if not word.isdecimal()]


def words_of(name: str) -> list[str]:
    """Return the words of *name* in lower case; only the last words of a long name."""
    return [word.lower() for word in _WORD.findall(name[-_MAX_NAME_CHARS:])]
