"""Frames within a page: the CSV of each, compressed, with its SHA-256."""

from __future__ import annotations

import base64
import gzip
import hashlib

import msgspec
import pandas as pd

from tasktools.core.frames import export


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The CSV of a frame: how many *rows* and bytes (*size*), its SHA-256, and a data URL of it,
    compressed by gzip."""

    name: str
    rows: int
    size: int
    sha256: str
    url: str


def embedded(name: str, frame: pd.DataFrame) -> Embedded:
    """Return *frame* as it is embedded: the same frame always gives the same bytes."""
    contents = export.csv(frame).encode("utf-8", "backslashreplace")
    # no time and no name of a file in the header: they would differ from run to run
    compressed = base64.b64encode(gzip.compress(contents, mtime=0)).decode("ascii")
    return Embedded(
        name=name,
        rows=len(frame),
        size=len(contents),
        sha256=hashlib.sha256(contents).hexdigest(),
        url=f"data:application/gzip;base64,{compressed}",
    )
