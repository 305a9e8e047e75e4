"""The page that documents all frames, made from their schemas."""

from __future__ import annotations

from tasktools.core.frames import capacity_schemas, diagnosis_schemas, history_schemas, schemas
from tasktools.core.frames.schema import DTYPES


def as_markdown() -> str:
    """Return the page that documents all frames (`docs/frames.md`)."""
    lines = [
        "# Frames",
        "",
        "Made from `schemas.py` and the `*_schemas.py` beside it in `core/frames/` by `make docs`.",
        "Every frame has exactly these columns, also when it is empty; what a source cannot",
        "tell is missing. `attrs` holds `sources` (for each source its columns, `ok`, `age` in",
        "seconds, `note`), `notes` (what an operator should know), `cluster`, for the demo `demo`,",
        "for queues `looks`, for findings `window`, the time that was judged.",
        "",
        "A frame is a `DataFrame` in everything but its display, which what is made of it keeps: a",
        "caption with what is in `attrs`, times (UTC) and spans in words, ids as short as they",
        "differ (in a notebook: the exact one on hover), a dash for what is missing. Rows",
        "that are alarming come first and are marked, unless the order of rows says something, or",
        "somebody has sorted them; columns that are empty, or have no room, are named below. Their",
        "values and their order are not touched. `display.max_rows`, `display.width` and so on",
        "hold, and `pandas.DataFrame(frame)` is shown by pandas. In Arrow, Polars and Parquet,",
        "arguments and other columns of objects are JSON, but lists of names are lists.",
    ]
    modules = (schemas, history_schemas, diagnosis_schemas, capacity_schemas)
    for schema in (schema for module in modules for schema in module.SCHEMAS):
        lines += ["", f"## {schema.name}", "", f"One row: {schema.row}.", ""]
        lines += ["| column | dtype | meaning | source |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {c.name} | {DTYPES[c.kind]} | {c.meaning} | {c.source} |" for c in schema.columns
        ]
    return "\n".join(lines) + "\n"
