"""Bodies whose properties say that they are compressed or encoded; their size is bounded."""

from __future__ import annotations

import base64
import binascii
import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final

from tasktools.core import untrusted
from tasktools.core.models import Properties

_MAX_PLAIN: Final = 4 * 1024 * 1024  # bytes; a few kB may stand for gigabytes
_MAX_MEMORY: Final = 64 * 1024 * 1024  # bytes, of the decompressor of LZMA
_EITHER: Final = zlib.MAX_WBITS | 32  # gzip or zlib: Celery calls both application/x-gzip


def plain(body: bytes, properties: Properties) -> bytes:
    """Return *body* as it was before it was compressed; the same bytes if it was not compressed.

    The content encoding, or the header `compression` that Celery sets, names the method. Raises
    `ValueError`, in words.
    """
    names = (properties.content_encoding, untrusted.text(properties.headers.get("compression")))
    for name in names:
        decode = None if name is None else _DECODERS.get(name.strip().lower())
        if name is not None and decode is not None:
            body = _decoded(body, name, decode)
    return body


def _decoded(body: bytes, name: str, decode: Callable[[bytes], bytes]) -> bytes:
    try:
        decoded = decode(body)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, binascii.Error, ValueError):
        raise ValueError(f"the body is not {name}, as its properties say") from None
    if len(decoded) > _MAX_PLAIN:
        raise ValueError(f"the body has more than {_MAX_PLAIN:,} bytes once {name} is undone")
    return decoded


def _inflated(body: bytes) -> bytes:
    return zlib.decompressobj(_EITHER).decompress(body, _MAX_PLAIN + 1)


def _raw_inflated(body: bytes) -> bytes:
    """Return a body that HTTP calls deflate: with the header of zlib, or without."""
    try:
        return _inflated(body)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, _MAX_PLAIN + 1)


def _bunzipped(body: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(body, _MAX_PLAIN + 1)


def _unpacked(body: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=_MAX_MEMORY).decompress(body, _MAX_PLAIN + 1)


def _from_base64(body: bytes) -> bytes:
    return base64.b64decode(body, validate=True)


_DECODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    **dict.fromkeys(("gzip", "x-gzip", "zlib", "application/x-gzip"), _inflated),
    "deflate": _raw_inflated,
    **dict.fromkeys(("bzip2", "bz2", "x-bzip2", "application/x-bz2"), _bunzipped),
    **dict.fromkeys(("lzma", "xz", "application/x-lzma"), _unpacked),
    "base64": _from_base64,
}
