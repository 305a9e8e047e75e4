"""The parts of the widget that are HTML. What comes from messages is text in it, always."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import pandas as pd

from tasktools.core.redaction import mask_text
from tasktools.widgets.publishing.fates import worth_showing
from tasktools.widgets.publishing.figure import COLOURS
from tasktools.widgets.words import quiet

STYLE: Final = """<style>
.tasktools-publish { color: var(--jp-ui-font-color1); max-width: 960px; }
.tasktools-publish .tt-head { font-size: 15px; font-weight: 600; }
.tasktools-publish .tt-demo { background: #b3261e; color: white; border-radius: 3px;
  font-size: 11px; letter-spacing: .06em; padding: 1px 6px; margin-left: 8px; }
.tasktools-publish .tt-quiet { color: var(--jp-ui-font-color2); font-weight: 400; }
.tasktools-publish .tt-json textarea { font-family: var(--jp-code-font-family); }
.tasktools-publish .tt-note { line-height: 1.5; }
.tasktools-publish .tt-note ul { margin: 0; padding-left: 20px; }
.tasktools-publish .tt-error { border-left: 3px solid var(--jp-error-color1);
  line-height: 1.5; padding: 2px 10px; overflow-wrap: anywhere; }
.tasktools-publish table.tt-tasks { border-collapse: collapse; width: 100%; font-size: 12px; }
.tasktools-publish .tt-tasks th { text-align: left; font-weight: 600; padding: 4px 10px 4px 0;
  border-bottom: 1px solid var(--jp-border-color1); white-space: nowrap; }
.tasktools-publish .tt-tasks td { padding: 4px 10px 4px 0; vertical-align: top;
  border-bottom: 1px solid var(--jp-border-color2); overflow-wrap: anywhere; line-height: 1.4; }
.tasktools-publish .tt-fate::before { content: "●"; margin-right: 5px; color: var(--tt-fate); }
.tasktools-publish .tt-fate { white-space: nowrap; }
</style>"""

_MOST_ROWS: Final = 12
_HEADINGS: Final = ("Task", "Topic", "Outcome", "Now", "Worker", "Took", "Error")


def head(address: str, *, demo: bool) -> str:
    """Return the heading, with where the tasks go."""
    badge = '<span class="tt-demo">DEMO</span>' if demo else ""
    where = f'<span class="tt-quiet">to {escape(address)}</span>'
    return f'<div class="tt-head">Publish {where}{badge}</div>'


def table(joined: pd.DataFrame) -> str:
    """Return the rows of `fates` that are worth showing."""
    if joined.empty:
        return ""
    shown = worth_showing(joined, _MOST_ROWS)
    rows = "".join(_row(record) for record in shown.to_dict("records"))
    heads = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    made = f'<table class="tt-tasks"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    left = len(joined) - len(shown)
    return made + quiet(
        f"{left:,} more; those in trouble are shown first, then those that run." if left else ""
    )


def _row(record: Mapping[Any, Any]) -> str:
    fate = str(record["fate"])
    marked = f'<span class="tt-fate" style="--tt-fate: {COLOURS[fate]}">{escape(fate)}</span>'
    error = ": ".join(filter(None, map(_text, (record["error_type"], record["error"]))))
    cells = [
        _cell(record["task_name"], title=record["task_id"]),
        _cell(record["topic"]),
        _cell(record["outcome"]),
        f"<td>{marked}</td>",
        _cell(record["worker_id"]),
        _cell(_took(record["duration"])),
        _cell(mask_text(error)),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: Any, *, title: Any = None) -> str:
    told = _text(title)
    hint = f' title="{escape(told)}"' if told else ""
    return f"<td{hint}>{escape(_text(value))}</td>"


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _took(duration: Any) -> str:
    return "" if pd.isna(duration) else f"{duration.total_seconds():,.2f} s"
