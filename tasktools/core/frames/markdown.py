"""The page that documents all frames, made from their schemas."""

from __future__ import annotations

from tasktools.core.frames import diagnosis_schemas, history_schemas, schemas


def as_markdown() -> str:
    """Return the page that documents all frames (`docs/frames.md`)."""
    lines = [
        "# Frames",
        "",
        "Made from `schemas.py`, `history_schemas.py` and `diagnosis_schemas.py` in `core/frames/`",
        "by `make docs`. Every frame has exactly these columns, also when it is empty; what a",
        "source cannot tell is missing. `attrs` holds `sources` (for each source its columns,",
        "`ok`, `age` in seconds, `note`), `notes` (what an operator should know), `cluster`, for",
        "the demo `demo`, for queues `looks`, for findings `window`, the time that was judged.",
    ]
    for schema in (*schemas.SCHEMAS, *history_schemas.SCHEMAS, *diagnosis_schemas.SCHEMAS):
        lines += ["", f"## {schema.name}", "", f"One row: {schema.row}.", ""]
        lines += ["| column | dtype | meaning | source |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {c.name} | {schemas.DTYPES[c.kind]} | {c.meaning} | {c.source} |"
            for c in schema.columns
        ]
    return "\n".join(lines) + "\n"
