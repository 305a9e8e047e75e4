"""What is shown can be shared: secrets become `Masked` before anybody sees them."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

_SECRET_KEY: Final = re.compile(
    r"passw|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|authori[sz]ation"
    r"|passphrase|\bpass\b|\bjwt\b|bearer|credential|cookie|session[-_]?id|\bauth\b|dsn",
    re.IGNORECASE,
)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s:/@]*):([^\s@]+)@")
_MAX_DEPTH: Final = 50


class Masked:
    """Stands for a secret that is not shown; it can never be written back into a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "•••"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Masked)

    def __hash__(self) -> int:
        return hash(Masked)


MASKED: Final = Masked()


def mask(value: Any, depth: int = 0) -> Any:
    """Return *value* with every secret masked: values under keys that name one (password,
    token, api_key, authorization, cookie, dsn …) and passwords inside URLs."""
    if isinstance(value, str):
        return mask_text(value)
    if depth > _MAX_DEPTH:
        return MASKED
    if isinstance(value, dict):
        return {
            key: MASKED if _names_secret(key, item) else mask(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(item, depth + 1) for item in value]
    return value


def mask_text(text: str) -> str:
    """Return *text* with the passwords of URLs in it masked."""
    return _URL_PASSWORD.sub(r"\1:•••@", text) if "://" in text else text


def _names_secret(key: object, item: object) -> bool:
    return isinstance(key, str) and _is_secret(key) and not (item is None or isinstance(item, bool))


@functools.lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    return _SECRET_KEY.search(name) is not None
