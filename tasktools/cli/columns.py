"""The columns of a table that a narrow terminal does without; JSON has all of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Union

from tasktools.core.frames.export import is_missing
from tasktools.core.frames.schema import Alarm, Schema
from tasktools.core.frames.table import Table

if TYPE_CHECKING:
    import pandas as pd

Answer = Union["pd.DataFrame", Table]
"""An answer of the cluster; most commands take a table, which needs no pandas."""

DISPENSABLE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "workers": (
            "succeeded",
            "utilisation",
            "clock_offset",
            "draining",
            "topics",
            "failed",
            "silence",
        ),
        "topics": (
            "exists",
            "queue_type",
            "subscribers",
            "succeeded",
            "ack_rate",
            "publish_rate",
            "concurrency_limit",
            "dead_lettering",
            "dialect",
            "unacked",
            "failed",
        ),
        "active_tasks": ("attempts", "task_id", "worker_id"),
        "dead_letters": ("replays", "error_type", "deaths", "last_death", "reason", "task_name"),
        "failures": ("worker_id", "key", "task_id", "error_type", "recovered"),
        "published_messages": ("size", "attempts", "task_id", "key"),
        "failure_groups": ("first", "share", "last"),
        "planned": ("to", "task_name"),
        "outcome": ("task_name", "to"),
        "solutions": ("fit", "peak_load", "utilisation", "erlang_c", "load", "slots_now"),
        "timeline": ("until", "kind"),
        "runs": ("possible_duplicates", "who", "to", "note"),
    }
)
"""They go in this order, but for what `in_order` says."""


def in_order(frame: Answer, schema: Schema) -> list[str]:
    """Return the columns of *frame* that a narrow terminal does without, in the order in which they
    go: those in which nothing is known, then the others, and those with an alarm last."""
    names = [name for name in DISPENSABLE.get(schema.name, ()) if name in schema.names]
    alarming = {alarm.column for alarm in schema.alarms if _is_raised(alarm, frame)}

    def rank(name: str) -> int:
        return 2 if name in alarming else int(not all(map(is_missing, frame[name])))

    return sorted(names, key=rank)


def _is_raised(alarm: Alarm, frame: Answer) -> bool:
    """Whether a row of *frame* has a value that *alarm* is about."""
    along = frame[alarm.along] if alarm.along else repeat(1)
    return any(
        not is_missing(value)
        and not is_missing(other)
        and other > 0
        and (value in alarm.among if alarm.among else bool(value))
        for value, other in zip(frame[alarm.column], along, strict=False)
    )
