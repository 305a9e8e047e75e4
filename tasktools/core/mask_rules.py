"""A user's own masking rules: names of keys, and patterns of texts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Final

from tasktools.core.errors import InvalidMask
from tasktools.core.redaction import MaskRule
from tasktools.core.secret_names import words_of

_MAX_SECONDS: Final = 0.2  # of the processor, for one hostile text
_MAX_PROBE_CHARS: Final = 20_000
_GROWTH: Final = 1.2  # from one probe to the next; up to _SHORT_CHARS one by one
_SHORT_CHARS: Final = 60
_MAX_PROBED: Final = 24  # characters that hostile texts are made of
_ALWAYS_PROBED: Final = "aA0 _-./:@=\n"


def checked(rules: Iterable[MaskRule]) -> tuple[MaskRule, ...]:
    """Return *rules* as a tuple, once all of them are valid.

    Raises `InvalidMask` for an invalid rule, and for a pattern that takes too long on a text that
    was made to slow it down.
    """
    if isinstance(rules, str | re.Pattern) or not isinstance(rules, Iterable):
        raise InvalidMask(
            "mask is a list of names and compiled patterns, as mask=['iban', "
            f"re.compile('C-[0-9]+')], not a {type(rules).__name__}; nothing was contacted."
        )
    return tuple(
        _checked_name(rule) if isinstance(rule, str) else _checked_pattern(rule) for rule in rules
    )


def _checked_name(name: str) -> str:
    if not words_of(name):
        raise InvalidMask(
            f"mask has the name {name!r}, which has no letters or digits; nothing was contacted. "
            "Name a key, as 'iban', or give a compiled pattern."
        )
    return name


def _checked_pattern(rule: object) -> re.Pattern[str]:
    if not isinstance(rule, re.Pattern) or not isinstance(rule.pattern, str):
        kind = "a pattern of bytes" if isinstance(rule, re.Pattern) else f"a {type(rule).__name__}"
        raise InvalidMask(
            f"mask has {kind} in it; nothing was contacted. It takes names of keys, and patterns "
            "of text as re.compile('C-[0-9]+')."
        )
    if rule.search("") is not None:
        raise InvalidMask(
            f"The pattern {rule.pattern!r} of mask matches the empty text, so it would mask "
            "everything; nothing was contacted."
        )
    if any(_is_slow(rule, character) for character in _probed(rule.pattern)):
        raise InvalidMask(
            f"The pattern {rule.pattern!r} of mask takes too long on some texts, so a stranger's "
            "message could hold up every look; nothing was contacted. Repetitions within a "
            "repetition are usually why: write ++ for +, and *+ for *."
        )
    return rule


def _probed(pattern: str) -> Iterator[str]:
    characters = dict.fromkeys(c for c in pattern if c.isalnum() or c in _ALWAYS_PROBED)
    yield from [*dict.fromkeys(_ALWAYS_PROBED), *characters][:_MAX_PROBED]


def _is_slow(pattern: re.Pattern[str], character: str) -> bool:
    """Whether *pattern* is slow on a long run of *character*. Runs grow from short ones:
    exponential time is noticed at a length that still ends."""
    size = 1
    while size <= _MAX_PROBE_CHARS:
        begin = time.thread_time()
        pattern.sub("", f"{character * size}\x00")
        if time.thread_time() - begin > _MAX_SECONDS:
            return True
        size = size + 1 if size < _SHORT_CHARS else int(size * _GROWTH)
    return False
