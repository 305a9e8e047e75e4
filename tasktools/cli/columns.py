"""The columns of a table that a narrow terminal does without; JSON has all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DISPENSABLE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "workers": (
            "succeeded",
            "failed",
            "utilisation",
            "clock_offset",
            "draining",
            "topics",
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
            "failed",
            "unacked",
            "dead_lettering",
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
"""They go in this order."""
