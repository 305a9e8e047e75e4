"""The schemas of frames about capacity: when queues are empty, and how many workers it takes.
Sources: *samples* (lengths of queues), *events* (the workers' own), *ledger* (earlier forecasts).
"""

from __future__ import annotations

from typing import Final

from tasktools.core.frames.schemas import Column, Schema

DRAIN_FORECAST: Final = Schema(
    "drain_forecast",
    "one forecast of when the queue of a topic is down to a level",
    (
        Column("topic", "name", "the topic", "-"),
        Column("at", "time", "when it was made", "-"),
        Column("depth", "count", "messages in the queue then", "samples"),
        Column("level", "ratio", "messages at which the drain has ended", "-"),
        Column(
            "earliest",
            "time",
            "start of the band that holds the end with 80 %; missing: not within the horizon, or "
            "not known (then `not_within` is missing, too)",
            "samples, events",
        ),
        Column("expected", "time", "as likely earlier as later; missing likewise", "as above"),
        Column("latest", "time", "end of the band; missing likewise", "as above"),
        Column("not_within", "ratio", "probability of no end within the horizon", "as above"),
        Column("arrivals", "ratio", "tasks that come into the queue, per s", "samples, events"),
        Column("completions", "ratio", "tasks that end, per s", "events"),
        Column("net", "ratio", "growth of the queue, per s; below 0: it drains", "samples, events"),
        Column("slots", "ratio", "tasks of the topic that its workers can run at once", "events"),
        Column(
            "scored",
            "count",
            "earlier forecasts of the cluster whose end is known, up to 300",
            "ledger",
        ),
        Column("covered", "ratio", "share of them whose band held the end; 0.8 is meant", "ledger"),
        Column(
            "pinball",
            "ratio",
            "their mean pinball loss, in the log of the time to the end; lower is better",
            "ledger",
        ),
        Column("note", "name", "the forecast in words, or why there is none", "-"),
    ),
)

SCHEMAS: Final = (DRAIN_FORECAST,)
