"""The schemas of frames that say why a cluster is as it is. Sources: *samples* (lengths of queues
over the last minutes), *events* (the workers' own).
"""

from __future__ import annotations

from typing import Final

from tasktools.core.frames.schema import Alarm, Column, Schema

PROBLEMS: Final = ("found", "suspected")
"""Verdicts of findings on what is wrong, or may be; the certain ones first."""

FINDINGS: Final = Schema(
    "findings",
    "one hypothesis that was looked at, the best explanation first",
    (
        Column(
            "verdict",
            "name",
            "`found`; `suspected`: it could be; `ruled out`: one row a check; `cannot tell`: a "
            "source is missing that could change the answer, one row a check",
            "-",
        ),
        Column(
            "severity",
            "name",
            "`critical`: messages are lost, nothing moves or a producer is blocked; `warning`: it "
            "will be so, or work is wasted; `suspect`; missing unless found or suspected",
            "-",
        ),
        Column("check", "name", "what was looked for", "-"),
        Column(
            "subject_kind",
            "name",
            "`topic`, `worker`, `task`, `lock`, `queue`, `node`, `vhost`, `publisher`, `cluster`",
            "-",
        ),
        Column("subject", "name", "its name; missing: the row is of the whole check", "-"),
        Column("finding", "text", "one sentence, with its numbers", "-"),
        Column("evidence", "object", "dict of what speaks for it", "-"),
        Column(
            "against",
            "object",
            "dict of what would have spoken against it and did not, or does",
            "-",
        ),
        Column(
            "because",
            "text",
            "`check:subject` of the row that explains this one; missing: none does",
            "-",
        ),
        Column("since", "time", "when it began; missing: before the samples begin", "-"),
        Column("effect", "span", "for how long a new task waits now", "-"),
        Column(
            "changed",
            "names",
            "list of what changed within 15 min before `since`; that need not be the cause",
            "-",
        ),
        Column("remedy", "text", "what helps, in a sentence", "-"),
        Column("call", "text", "the next call, as Python text", "-"),
        Column("needs", "names", "list of the sources that it rests on", "-"),
        Column("age", "span", "age of the oldest source that was used", "-"),
    ),
    alarms=(
        Alarm("severity", "critical", ("critical",)),
        Alarm("severity", "warning", ("warning",)),
    ),
    ordered=True,
    main=(
        *("severity", "check", "subject", "finding", "verdict", "because"),
        *("since", "effect", "remedy", "call"),
    ),
)

TOPIC_STATES: Final = Schema(
    "topic_states",
    "one topic",
    (
        Column("topic", "name", "name of the topic", "samples"),
        Column(
            "state",
            "name",
            "`stopped`: messages are queued, and no task begins or ends; `stalled`: tasks run and "
            "none ends; `falling behind`, `draining`: the queue surely grows, or shrinks; "
            "`steady`: neither; `clear`: it was empty within the window; `cannot tell`",
            "samples, events",
        ),
        Column("why", "text", "what the state rests on, in words", "-"),
        Column("since", "time", "when it began; missing: before the window", "samples, events"),
        Column("queued", "count", "messages ready in the queue", "samples"),
        Column("growth", "rate", "messages that the queue grows by a second", "samples"),
        Column("growth_low", "rate", "lower limit of its 95 % interval", "samples"),
        Column("growth_high", "rate", "upper limit of its 95 % interval", "samples"),
        Column("wait", "span", "of a new task, at the rate at which tasks end", "samples, events"),
        Column("empty_in", "span", "while draining: until the queue is empty", "samples"),
        Column("window", "span", "what was judged", "samples"),
        Column("samples", "count", "samples in it", "samples"),
    ),
    alarms=(
        Alarm("state", "critical", ("stopped", "stalled")),
        Alarm("state", "warning", ("falling behind",)),
    ),
)

TIMELINE: Final = Schema(
    "timeline",
    "what happened at a moment, or over a span of time",
    (
        Column("at", "time", "when it happened, or began; by our clock", "-"),
        Column("until", "time", "when it ended; missing: of a moment, or it lasts", "-"),
        Column("lasts", "flag", "whether it had not ended when the timeline ends", "-"),
        Column(
            "kind",
            "name",
            "`gap`: something was not recorded; `alarm`: the broker blocked publishers; `mark`: "
            "what an operator noted; `command` to a worker; `run` of a plan; `settings` of a "
            "topic; `worker`; `topic`: its state; `failures` of one fingerprint; `lock`",
            "-",
        ),
        Column(
            "subject_kind",
            "name",
            "`topic`, `worker`, `lock`, `queue`, `node`, `cluster`",
            "-",
        ),
        Column("subject", "name", "its name", "-"),
        Column(
            "event",
            "name",
            "of a worker `came`, `stopped`, `silent`, `gone`, `lost sight of`; of a topic its "
            "state; of a gap what is missing; of a run its verb; and so on",
            "-",
        ),
        Column("sentence", "text", "what happened, in words", "-"),
        Column(
            "severity",
            "name",
            "`critical`: nothing moved; `warning`: it would be so, or work was wasted; `suspect`; "
            "missing where it is neither good nor bad",
            "-",
        ),
        Column(
            "source",
            "name",
            "`events`, `samples`, `marks`, `ledger`; `recorder`: its own gaps",
            "-",
        ),
        Column("details", "object", "dict of what else is known of it", "-"),
    ),
    main=("at", "until", "kind", "severity", "sentence"),
    alarms=(
        Alarm("severity", "critical", ("critical",)),
        Alarm("severity", "warning", ("warning",)),
    ),
    ordered=True,
)

SCHEMAS: Final = (FINDINGS, TOPIC_STATES, TIMELINE)
