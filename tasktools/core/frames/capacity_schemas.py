"""The schemas of frames about capacity: arrivals and service times of tasks, when queues are empty,
and how many workers are needed. Sources: *messages* (copies of what was published), *samples* (the
state of the cluster, every few seconds), *events* (the workers' own), *ledger* (earlier forecasts),
*simulation* (of these).
"""

from __future__ import annotations

from typing import Final

from tasktools.core.frames.schema import Alarm, Column, Schema

_TOPIC: Final = Column("topic", "name", "name of the topic", "samples")

ARRIVALS: Final = Schema(
    "arrivals",
    "one topic in one hour of the week",
    (
        _TOPIC,
        Column("hour_of_week", "count", "0 to 167, in UTC: 0 is Monday from 00:00 to 01:00", "-"),
        Column(
            "rate",
            "rate",
            "tasks that arrive in a second, retries not counted; the hour's mean, shrunk towards "
            "that of weekdays or weekends at this hour of the day; missing: never recorded",
            "messages, samples",
        ),
        Column("low", "rate", "lower limit of its 90 % interval", "messages, samples"),
        Column("high", "rate", "upper limit of its 90 % interval", "messages, samples"),
        Column("weeks", "ratio", "weeks of which the hour was recorded; gaps left out", "samples"),
        Column("tasks", "count", "tasks that arrived in it", "messages, samples"),
    ),
)

SERVICES: Final = Schema(
    "services",
    "one topic (task_name missing), or one task of it",
    (
        _TOPIC,
        Column(
            "task_name",
            "name",
            "name of the task, where messages name it; missing: all tasks of the topic",
            "messages",
        ),
        Column("tries", "count", "tries that began, failed ones included", "events"),
        Column(
            "censored",
            "count",
            "those of them whose end is not known: they run, or were lost; they count as longer "
            "than they were seen to run",
            "events",
        ),
        Column("mean", "span", "for how long a try holds a slot", "events"),
        Column("p50", "span", "half of them take less; missing: not known", "events"),
        Column("p95", "span", "95 % of them take less; missing: not known", "events"),
        Column("p99", "span", "99 % of them take less; missing: not known", "events"),
        Column(
            "scv",
            "ratio",
            "squared coefficient of variation: variance / mean²; 0: all alike, 1: exponential",
            "events",
        ),
    ),
)

BURSTS: Final = Schema(
    "bursts",
    "one topic",
    (
        _TOPIC,
        Column("window", "span", "length of the windows in which arrivals are counted", "-"),
        Column(
            "dispersion",
            "ratio",
            "variance / mean of the counts, without the shape of the day and of the week: 1: "
            "independent arrivals; 8: as in batches of 8; missing: too little is recorded",
            "messages, samples",
        ),
    ),
)

QUALITY: Final = Schema(
    "quality",
    "one check of one topic",
    (
        _TOPIC,
        Column("check", "name", "what was checked", "-"),
        Column("value", "ratio", "what it is; missing: not known", "-"),
        Column("limit", "ratio", "what it should reach, or stay below", "-"),
        Column("ok", "flag", "whether it does; missing: not known", "-"),
        Column("note", "text", "in words, what it means for an answer; missing: nothing", "-"),
    ),
    alarms=(Alarm("ok", "warning", (False,)),),
)

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
        Column("not_within", "share", "probability of no end within the horizon", "as above"),
        Column("arrivals", "rate", "tasks that come into the queue, per s", "samples, events"),
        Column("completions", "rate", "tasks that end, per s", "events"),
        Column("net", "rate", "growth of the queue, per s; below 0: it drains", "samples, events"),
        Column("slots", "ratio", "tasks of the topic that its workers can run at once", "events"),
        Column(
            "scored",
            "count",
            "earlier forecasts of the cluster whose end is known, up to 300",
            "ledger",
        ),
        Column("covered", "share", "share of them whose band held the end; 0.8 is meant", "ledger"),
        Column(
            "pinball",
            "ratio",
            "their mean pinball loss, in the log of the time to the end; lower is better",
            "ledger",
        ),
        Column("note", "text", "the forecast in words, or why there is none", "-"),
    ),
)

SOLUTIONS: Final = Schema(
    "solutions",
    "one topic; topics that share workers have the same `slots` and `workers`",
    (
        Column("topic", "name", "name of the topic", "-"),
        Column("tasks", "count", "tasks that arrived, without retries", "messages"),
        Column(
            "load", "ratio", "mean offered load in erlang: busy slots, retries included", "events"
        ),
        Column(
            "peak_load", "ratio", "the same in the busiest hour of the week, in erlang", "events"
        ),
        Column("slots_now", "count", "tasks that its workers can run at once", "events"),
        Column("slots", "count", "slots that are needed for all that was asked", "simulation"),
        Column(
            "need",
            "ratio",
            "slots that are needed for the wait alone, between whole ones; missing: no wait was "
            "asked, or nothing is known of the topic",
            "simulation",
        ),
        Column("need_low", "ratio", "lower limit of its 90 % interval", "simulation"),
        Column("need_high", "ratio", "upper limit of its 90 % interval", "simulation"),
        Column("capacity", "count", "slots of one worker, as most of them have", "events"),
        Column("workers", "count", "workers that are needed: `slots` / `capacity`", "simulation"),
        Column("workers_low", "count", "the same by `need_low`, of all its topics", "simulation"),
        Column("workers_high", "count", "the same by `need_high`, of all its topics", "simulation"),
        Column("wait", "span", "the quantile of the wait, with `slots`", "simulation"),
        Column("wait_low", "span", "lower limit of its 90 % interval", "simulation"),
        Column("wait_high", "span", "upper limit of its 90 % interval", "simulation"),
        Column("utilisation", "share", "mean share of `slots` that is busy, 0 to 1", "simulation"),
        Column(
            "erlang_c",
            "count",
            "slots by Erlang's formula, hour by hour: right without bursts, too few with them",
            "-",
        ),
        Column(
            "method",
            "name",
            "`trace`: the recorded tasks before so many slots; `events`: also prefetch, limits and "
            "shared workers were simulated",
            "-",
        ),
        Column(
            "fit",
            "ratio",
            "simulated wait with `slots_now` / recorded wait, both 2 s at least; missing: no wait "
            "was recorded",
            "simulation, messages",
        ),
        Column(
            "determined",
            "flag",
            "whether `need` is known to ±1: its interval is 2 at most, from 2 days or more, with "
            "200 tries that ended, in a span of 6 of them",
            "-",
        ),
        Column("note", "text", "what to know of this row, in words; missing: nothing", "-"),
    ),
    main=(
        *("topic", "load", "peak_load", "slots_now", "slots", "need_low", "need_high", "workers"),
        *("workers_low", "workers_high", "wait", "utilisation", "erlang_c", "determined", "fit"),
    ),
)

CURVES: Final = Schema(
    "curves",
    "one topic with one number of slots",
    (
        Column("topic", "name", "name of the topic", "-"),
        Column("slots", "count", "slots of all workers that consume it", "-"),
        Column("late", "share", "share of tasks that wait longer, 0 to 1", "simulation"),
        Column("late_low", "share", "lower limit of its 90 % interval", "simulation"),
        Column("late_high", "share", "upper limit of its 90 % interval", "simulation"),
        Column("wait", "span", "the quantile of the wait; missing: it has no end", "simulation"),
        Column("utilisation", "share", "mean share of the slots that is busy; 1: overload", "-"),
    ),
)

HOURS: Final = Schema(
    "hours",
    "one topic in one hour of the week, with so many slots",
    (
        Column("topic", "name", "name of the topic", "-"),
        Column("hour_of_week", "count", "0 to 167, in UTC: 0 is Monday from 00:00 to 01:00", "-"),
        Column("slots", "count", "slots of all workers that consume it", "-"),
        Column("tasks", "count", "tasks that were simulated in it", "simulation"),
        Column(
            "wait",
            "span",
            "the quantile of the wait; missing: of fewer than 20 tasks, or it has no end",
            "simulation",
        ),
        Column("late", "share", "share of tasks that wait longer, 0 to 1", "simulation"),
        Column(
            "utilisation", "share", "share of the slots that all topics use; 1: overload", "events"
        ),
    ),
)

REPLAY_IMPACT: Final = Schema(
    "replay_impact",
    "one replay",
    (
        Column("topic", "name", "topic that it goes to", "-"),
        Column("messages", "count", "messages that are sent", "-"),
        Column("rate", "rate", "messages a second", "-"),
        Column("lasts", "span", "messages / rate", "-"),
        Column(
            "wait_without", "span", "p95 of the waits of live tasks at this hour, without it", "-"
        ),
        Column("wait", "span", "the same while it lasts, and what it left is begun", "-"),
        Column("low", "span", "lower limit of its 80 % band", "-"),
        Column("high", "span", "upper limit of its 80 % band", "-"),
        Column(
            "late",
            "share",
            "share of live tasks that wait longer than `wait_below`, 0 to 1; missing: not asked",
            "-",
        ),
        Column("days", "count", "days of which an hour like this one was recorded", "samples"),
        Column("note", "text", "what makes it unsure; missing: nothing that is known", "-"),
    ),
)

SCHEMAS: Final = (
    *(ARRIVALS, SERVICES, BURSTS, QUALITY, DRAIN_FORECAST),
    *(SOLUTIONS, CURVES, HOURS, REPLAY_IMPACT),
)
