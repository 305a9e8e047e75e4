"""The columns of a frame that a table shows; JSON has all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "workers": (
            "worker_id",
            "state",
            "running",
            "capacity",
            "utilisation",
            "silence",
            "clock_offset",
            "succeeded",
            "failed",
            "draining",
            "topics",
        ),
        "topics": (
            "topic",
            "queued",
            "unacked",
            "running",
            "dead_letter",
            "consumers",
            "subscribers",
            "publish_rate",
            "ack_rate",
            "concurrency_limit",
            "succeeded",
            "failed",
            "queue_type",
            "dead_lettering",
            "exists",
        ),
        "active_tasks": ("state", "topic", "task_name", "age", "attempts", "worker_id", "task_id"),
        "dead_letters": (
            "key",
            "task_name",
            "reason",
            "deaths",
            "replays",
            "last_death",
            "error_type",
            "error",
        ),
        "failures": (
            "failed_at",
            "topic",
            "task_name",
            "error_type",
            "error",
            "recovered",
            "worker_id",
            "task_id",
            "key",
        ),
        "published_messages": (
            "key",
            "published_at",
            "topic",
            "task_name",
            "task_id",
            "attempts",
            "size",
        ),
        "failure_groups": ("count", "share", "first", "last", "group"),
        "planned": ("key", "task_name", "to", "edit", "before", "after", "skipped"),
        "outcome": ("outcome", "key", "task_name", "to", "possible_duplicate", "why"),
        "timeline": ("at", "until", "kind", "severity", "sentence"),
        "runs": (
            "run",
            "started_at",
            "ended",
            "verb",
            "source",
            "to",
            "planned",
            "done",
            "possible_duplicates",
            "who",
            "reason",
            "note",
        ),
        "solutions": (
            *("topic", "load", "peak_load", "slots_now", "slots", "need_low", "need_high"),
            *("workers", "workers_low", "workers_high", "wait", "utilisation", "erlang_c"),
            *("determined", "fit"),
        ),
    }
)
"""The columns of a table."""

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
"""The columns that a narrow terminal does without, in this order."""
