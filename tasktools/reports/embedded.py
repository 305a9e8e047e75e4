"""Frames within a page: the CSV of each, compressed, with its SHA-256."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import Final

import msgspec
import pandas as pd

from tasktools.core.frames import export

_COMPRESSION_LEVEL: Final = 6
"""The compression level of gzip. The highest makes a report 4 % smaller, and takes seven times as
long."""


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The CSV of a frame: how many *rows* and bytes (*size*), its SHA-256, and a data URL of it,
    compressed by gzip."""

    name: str
    rows: int
    size: int
    sha256: str
    url: str


def embedded(name: str, frame: pd.DataFrame) -> Embedded:
    """Return *frame* in its embedded form; the same frame always gives the same bytes."""
    contents = export.csv(frame).encode("utf-8", "backslashreplace")
    # no time and no name of a file in the header: they would differ from run to run
    compressed = gzip.compress(contents, _COMPRESSION_LEVEL, mtime=0)
    return Embedded(
        name=name,
        rows=len(frame),
        size=len(contents),
        sha256=hashlib.sha256(contents).hexdigest(),
        url=f"data:application/gzip;base64,{base64.b64encode(compressed).decode('ascii')}",
    )
