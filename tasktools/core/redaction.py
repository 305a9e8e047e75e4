"""Redaction: secrets are replaced by `Masked` before values are shown."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tasktools.core import secret_text
from tasktools.core.secret_names import names_count, names_secret, words_of
from tasktools.core.secret_text import MARK

_MAX_DEPTH: Final = 50
_MAX_TEXT_CHARS: Final = 200_000
_JSON_DEPTH: Final = 10  # what a text of JSON counts for, since it may hold others
_NAME_FIELDS: Final = frozenset({"name", "key", "field", "header", "variable", "param", "k"})
_VALUE_FIELDS: Final = frozenset({"value", "val", "content", "default", "v"})
_PAIR: Final = 2
_MAX_INDENT: Final = 20  # characters before a text that is JSON
_MAX_SHORT_CHARS: Final = 1_000
_MAX_FEW_KEYS: Final = 32
_MIN_CARD: Final = 10**13
_MAX_DIGITS: Final = 4_000  # of a number that is written out


MaskRule = str | re.Pattern[str]
"""The name of a key that holds a secret, or a pattern of texts that are secrets."""


class Masked:
    """Stands for a secret that is not shown; it can never be written back into a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MARK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked)

    def __hash__(self) -> int:
        return hash(Masked)


MASKED: Final = Masked()


class _Key(NamedTuple):
    """A key of a mapping: how it is shown, and whether the value under it is secret.

    *is_name* and *is_value* are those of a setting, as ``{"name": "PASSWORD", "value": …}``.
    """

    shown: Any
    is_secret: bool
    is_count: bool = False
    is_name: bool = False
    is_value: bool = False


class Redaction:
    """The rules of masking: the built-in ones, and those that the user added.

    *rules* are names of keys, where a key that has their words in it, in this order, holds a
    secret, and patterns of texts. With *reveal* nothing is masked.
    """

    __slots__ = ("_few_keys", "_names", "_patterns", "_short_key", "_short_text", "reveal", "rules")

    def __init__(self, rules: Iterable[MaskRule] = (), *, reveal: bool = False) -> None:
        self.rules = tuple(rules)
        self.reveal = reveal
        self._names = tuple(_joined(rule) for rule in self.rules if isinstance(rule, str))
        self._patterns = tuple(rule for rule in self.rules if not isinstance(rule, str))
        # Those of a queue's messages repeat, and there may be 100,000 messages.
        self._short_key = functools.lru_cache(maxsize=4096)(self._read_key)
        self._short_text = functools.lru_cache(maxsize=8192)(self._long_text)
        self._few_keys = functools.lru_cache(maxsize=512)(self._are_plain)

    def value(self, value: Any) -> Any:
        """Return *value* with every secret masked: values under keys that name a secret (password,
        token, api_key, authorization, cookie, dsn …), and secrets in texts."""
        return self._value(value, 0) if value and not self.reveal else value

    def text(self, text: str) -> str:
        """Return *text* with its secrets masked; a very long text is cut to its beginning."""
        return text if self.reveal else self._text(text, 0)

    # --- values ---------------------------------------------------------------------

    def _value(self, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one a type
        if isinstance(value, str):
            return self._text(value, depth)
        if isinstance(value, int):
            return value if isinstance(value, bool) else self._number(value)
        if value is None or isinstance(value, float):
            return value
        if depth > _MAX_DEPTH:
            return MASKED
        if isinstance(value, dict | Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
            return self._items(value, depth + 1)
        if isinstance(value, set | frozenset):
            return _distinct(self._value(item, depth + 1) for item in value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value), depth)
        return value

    def _mapping(self, mapping: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        if len(mapping) <= _MAX_FEW_KEYS and self._few_keys(tuple(mapping)):
            return {key: self._value(item, depth) for key, item in mapping.items()}
        fields = [(self._key(key, depth), item) for key, item in mapping.items()]
        names = [item for key, item in fields if key.is_name and isinstance(item, str)]
        is_setting = bool(names) and any(map(self._is_secret, names))
        masked: dict[Any, Any] = {}
        for key, item in fields:
            shown = key.shown
            while shown in masked:  # two keys that differ only in their secrets
                shown = f"{shown} ({len(masked)})"
            is_secret = key.is_secret or (is_setting and key.is_value)
            if is_secret and not (item is None or isinstance(item, bool)):
                is_count = key.is_count and isinstance(item, int | float)
                masked[shown] = item if is_count else MASKED
            else:
                masked[shown] = self._value(item, depth)
        return masked

    def _are_plain(self, keys: tuple[Any, ...]) -> bool:
        """Whether *keys* of a mapping are short texts that name no secret."""
        return all(
            isinstance(key, str)
            and len(key) <= _MAX_SHORT_CHARS
            and self._short_key(key) == _Key(key, is_secret=False)
            for key in keys
        )

    def _key(self, key: Any, depth: int) -> _Key:
        if isinstance(key, str):
            return (self._short_key if len(key) <= _MAX_SHORT_CHARS else self._read_key)(key)
        is_secret = isinstance(key, bytes) and self._is_secret(key.decode("latin-1"))
        return _Key(_hashable(self._value(key, depth)), is_secret=is_secret)

    def _read_key(self, key: str) -> _Key:
        return _Key(
            self._text(key, 0),
            is_secret=self._is_secret(key),
            is_count=names_count(key),
            is_name=key.lower() in _NAME_FIELDS,
            is_value=key.lower() in _VALUE_FIELDS,
        )

    def _items(self, items: Sequence[Any], depth: int) -> list[Any]:
        """Mask items; after a name of a secret (``--password``, or in a pair) comes a secret."""
        masked = []
        is_pair = len(items) == _PAIR
        before: Any = None
        for item in items:
            is_named = isinstance(before, str) and (is_pair or before.startswith("--"))
            is_secret = is_named and self._is_secret_after(before, item)
            masked.append(MASKED if is_secret else self._value(item, depth))
            before = item
        return masked

    def _is_secret_after(self, name: str, item: Any) -> bool:
        if item is None or isinstance(item, bool) or not _is_name(name):
            return False
        return self._is_secret(name) and not (isinstance(item, int | float) and names_count(name))

    def _bytes(self, content: bytes, depth: int) -> bytes:
        text = content.decode("utf-8", "surrogateescape")
        masked = self._text(text, depth)
        return content if masked == text else masked.encode("utf-8", "surrogateescape")

    def _number(self, number: int) -> Any:
        if number >= _MIN_CARD and secret_text.is_card(_digits(number)):
            return MASKED
        if self._patterns and any(p.search(_digits(number)) for p in self._patterns):
            return MASKED
        return number

    def _is_secret(self, name: str, in_query: bool = False) -> bool:  # noqa: FBT001, FBT002
        if names_secret(name, in_query=in_query):
            return True
        return bool(self._names) and any(own in _joined(name) for own in self._names)

    # --- texts ----------------------------------------------------------------------

    def _text(self, text: str, depth: int) -> str:
        may_be_json = "{" in text or "[" in text  # which takes no time to tell
        if may_be_json and text[:_MAX_INDENT].lstrip()[:1] in ("{", "["):
            text = self._json(text, depth)
        return (self._short_text if len(text) <= _MAX_SHORT_CHARS else self._long_text)(text)

    def _long_text(self, text: str) -> str:
        more = len(text) - _MAX_TEXT_CHARS
        if more > 0 and not self._patterns and secret_text.is_plain(text):
            return text
        masked = text[:_MAX_TEXT_CHARS]
        if "://" in masked:
            masked = secret_text.mask_urls(masked)
        if secret_text.may_assign(masked):
            masked = secret_text.mask_assignments(masked, self._is_secret, names_count)
        masked = secret_text.mask_tokens(masked)
        for pattern in self._patterns:
            masked = pattern.sub(MARK, masked)
        return masked if more <= 0 else f"{masked} {MARK} [+{more:,} characters]"

    def _json(self, text: str, depth: int) -> str:
        """Mask a text: if it is JSON, by its keys; other texts are returned unchanged."""
        if depth > _MAX_DEPTH or len(text) > _MAX_TEXT_CHARS:
            return text
        try:
            content = json.loads(text)
            masked = self._value(content, depth + _JSON_DEPTH)
            if masked == content:
                return text
            return json.dumps(masked, ensure_ascii=False, default=str)
        except (ValueError, RecursionError):
            return text


def _digits(number: int) -> str:
    return str(number) if number.bit_length() < 3 * _MAX_DIGITS else ""


def _joined(name: str) -> str:
    """Return the words of *name* between spaces, to search it for the words of another name."""
    return f" {' '.join(words_of(name))} "


def _is_name(text: str) -> bool:
    return text.lstrip("-").replace("_", "").replace("-", "").replace(".", "").isalnum()


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return str(value)
    return value


def _distinct(items: Iterator[Any]) -> Any:
    """Return *items* as a set, or as a list if any of them cannot be hashed."""
    values = list(items)
    try:
        return set(values)
    except TypeError:
        return values


DEFAULT: Final = Redaction()


def mask(value: Any) -> Any:
    """Return *value* with every secret masked, by the built-in rules alone."""
    return DEFAULT.value(value)


def mask_text(text: str) -> str:
    """Return *text* with every secret masked, by the built-in rules alone."""
    return DEFAULT.text(text)
