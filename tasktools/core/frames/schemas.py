"""The schemas of frames; an empty frame has the columns and types of its schema, too.

Times are UTC, spans are timedeltas, counts may be missing; what a source cannot tell is
missing, never 0 or False. `sources` of a column: *events* (the workers' own), *broker* (AMQP),
*management* (the HTTP API), *look* (messages seen in a queue).
"""

from __future__ import annotations

from typing import Final

from tasktools.core.frames.schema import Alarm, Column, Schema

WORKERS: Final = Schema(
    "workers",
    "one worker process",
    (
        Column("worker_id", "id", "the worker's own name", "events"),
        Column("role", "name", "the role that it reports, mostly `worker`", "events"),
        Column("host", "name", "host name, as it reports", "events"),
        Column("pid", "count", "process id on that host", "events"),
        Column(
            "state",
            "name",
            "`alive`: an event within 10 s; `late`: silent for 10 to 30 s; `gone`: longer; "
            "`stopped`: said goodbye. The last two are shown for an hour",
            "events",
        ),
        Column("uncertain", "flag", "known only from another node's report", "events"),
        Column(
            "tasktools",
            "flag",
            "whether it is a worker of tasktools, which obeys commands; False: a peer",
            "events",
        ),
        Column("draining", "flag", "takes no new tasks; missing: peers do not report it", "events"),
        Column("running", "count", "tasks it is executing; 0 when gone or stopped", "events"),
        Column("capacity", "count", "tasks it can execute at once", "events"),
        Column("utilisation", "share", "running / capacity, 0 to 1", "events"),
        Column(
            "topics",
            "names",
            "list of topics it consumes, as it reports; missing: not reported yet",
            "events",
        ),
        Column("started_at", "time", "start of the process, by the worker's clock", "events"),
        Column("last_seen", "time", "arrival of its last own event, by our clock", "events"),
        Column("silence", "span", "time since then", "events"),
        Column(
            "clock_offset",
            "offset",
            "how far its clock is ahead of ours (negative: behind), to about half a second",
            "events",
        ),
        Column("succeeded", "count", "tasks that succeeded since it started", "events"),
        Column("failed", "count", "tasks that failed since it started", "events"),
    ),
    main=(
        *("worker_id", "state", "running", "capacity", "utilisation", "silence", "clock_offset"),
        *("succeeded", "failed", "draining", "topics"),
    ),
    alarms=(
        Alarm("state", "critical", ("gone",)),
        Alarm("state", "warning", ("late",)),
        Alarm("draining", "warning"),
    ),
)

TOPICS: Final = Schema(
    "topics",
    "one topic",
    (
        Column("topic", "name", "name of the topic and of its queue", "events, broker"),
        Column("queued", "count", "messages ready in the queue", "broker"),
        Column("unacked", "count", "messages delivered to workers, not settled", "management"),
        Column("running", "count", "tasks that workers are executing", "events"),
        Column("dead_letter", "count", "messages ready in the dead-letter queue", "broker"),
        Column("consumers", "count", "consumers of the queue, by the broker", "broker"),
        Column("subscribers", "count", "live workers that report that they consume it", "events"),
        Column("publish_rate", "rate", "messages published a second", "management"),
        Column("ack_rate", "rate", "messages acknowledged a second", "management"),
        Column(
            "concurrency_limit",
            "count",
            "limit of running tasks; missing: none. As stored by the broker, else by workers",
            "broker, events",
        ),
        Column("succeeded", "count", "tasks succeeded since the known workers started", "events"),
        Column("failed", "count", "tasks failed since the known workers started", "events"),
        Column("requeued", "count", "messages requeued since we listen", "events"),
        Column("dead_lettered", "count", "messages dead-lettered by workers since then", "events"),
        Column("queue_type", "name", "`classic`, `quorum` or `stream`", "broker, management"),
        Column(
            "dead_lettering",
            "flag",
            "whether rejected messages are kept: an argument or policy sets where they go, and "
            "exchange, binding and queue are there. False: what workers reject is lost; missing: "
            "not known, as without the management API, which alone lists bindings",
            "broker, management",
        ),
        Column("exists", "flag", "whether the queue exists", "broker"),
        Column(
            "dead_queue",
            "name",
            "the queue in which its dead letters lie; missing: none, or not known",
            "broker, management",
        ),
        Column(
            "dialect",
            "name",
            "the kind of worker that it is for: `fastpluggy`, `taskworker` (the document), "
            "`celery`, `dramatiq`, `plain` (any other program)",
            "broker, management",
        ),
    ),
    main=(
        *("topic", "queued", "unacked", "running", "dead_letter", "consumers", "subscribers"),
        *("publish_rate", "ack_rate", "concurrency_limit", "succeeded", "failed", "queue_type"),
        *("dead_lettering", "exists", "dialect"),
    ),
    alarms=(
        Alarm("exists", "critical", (False,)),
        Alarm("consumers", "critical", (0,), along="queued"),
        Alarm("consumers", "warning", (0,)),
        Alarm("dead_lettering", "critical", (False,)),
        Alarm("dead_letter", "warning"),
        Alarm("concurrency_limit", "warning", (0,)),
    ),
)

SETTINGS: Final = Schema(
    "settings",
    "one topic for which settings are kept",
    (
        Column("topic", "name", "name of the topic", "broker"),
        Column(
            "concurrency_limit",
            "count",
            "tasks that run at once in the whole cluster; missing: no limit; 0: paused",
            "broker",
        ),
        Column(
            "max_retries",
            "count",
            "tries after the first, for tasks that do not set it themselves; missing: not set",
            "broker",
        ),
        Column(
            "dead_letter_enabled",
            "flag",
            "False: workers of tasktools drop what failed for good; missing: not set",
            "broker",
        ),
        Column("retention", "span", "how long dead letters are kept; missing: for ever", "broker"),
    ),
    alarms=(Alarm("concurrency_limit", "warning", (0,)),),
)

ACTIVE_TASKS: Final = Schema(
    "active_tasks",
    "one task that runs or waits",
    (
        Column("key", "id", "names a queued message as it lies in its queue", "look"),
        Column("task_id", "id", "identity of the task", "events, look"),
        Column("task_name", "name", "name of the task", "events, look"),
        Column("topic", "name", "topic it belongs to", "events, look"),
        Column(
            "state",
            "name",
            "`running`; `prefetched`: its worker has fetched it and not begun it; `scheduled`: "
            "its worker waits for its `eta`; `queued`: its message waits in the queue. Only "
            "workers of Celery report which tasks are prefetched",
            "events, look",
        ),
        Column("worker_id", "id", "worker that is executing it, or has prefetched it", "events"),
        Column("attempts", "count", "earlier attempts; 0 at first", "look"),
        Column("published_at", "time", "publication, by the publisher's clock", "look"),
        Column("started_at", "time", "arrival of its start event, by our clock", "events"),
        Column("eta", "time", "when its worker may begin it, by the publisher's clock", "events"),
        Column("age", "span", "running: since started_at; queued: since published_at", "-"),
        Column(
            "args",
            "object",
            "positional arguments; of a running task if its message was seen before or its worker "
            "was asked; a text is Celery's own, a `repr` that may be cut",
            "look, events",
        ),
        Column("kwargs", "object", "keyword arguments; likewise", "look, events"),
        Column("headers", "object", "the task's headers; of a running task if seen before", "look"),
        Column("problem", "text", "why a queued message is no task, else missing", "look"),
    ),
    main=("state", "topic", "task_name", "age", "attempts", "worker_id", "task_id"),
    alarms=(Alarm("problem", "critical"),),
)

LOCKS: Final = Schema(
    "locks",
    "one lock that is held",
    (
        Column("lock", "name", "name of the lock", "events"),
        Column("task_id", "id", "task that holds it", "events"),
        Column("worker_id", "id", "worker that holds it", "events"),
        Column("acquired_at", "time", "arrival of the event, by our clock", "events"),
        Column("held_for", "span", "time since then", "events"),
        Column("orphaned", "flag", "whether its holder is gone; missing: not known", "events"),
    ),
    alarms=(Alarm("orphaned", "critical"),),
)

STATS: Final = Schema(
    "stats",
    "the cluster",
    (
        Column("workers", "count", "workers alive or late", "events"),
        Column("late", "count", "workers silent for 10 to 30 s", "events"),
        Column("gone", "count", "workers silent for longer, within the last hour", "events"),
        Column("capacity", "count", "tasks that live workers can execute at once", "events"),
        Column("running", "count", "tasks being executed", "events"),
        Column("utilisation", "share", "running / capacity, 0 to 1", "events"),
        Column("topics", "count", "topics known", "events, broker"),
        Column("queued", "count", "messages ready in all topics", "broker"),
        Column("dead_letter", "count", "messages ready in all dead-letter queues", "broker"),
        Column("locks", "count", "locks held", "events"),
    ),
    alarms=(
        Alarm("gone", "critical"),
        Alarm("late", "warning"),
        Alarm("dead_letter", "warning"),
    ),
)

PUBLISHED: Final = Schema(
    "published",
    "one task of a batch, in the order given",
    (
        Column("task_id", "id", "identity of the task", "-"),
        Column("message_id", "id", "id of its message", "-"),
        Column("topic", "name", "topic it was published to", "-"),
        Column("task_name", "name", "name of the task", "-"),
        Column(
            "outcome",
            "name",
            "`confirmed`; `unroutable`: no such queue; `refused`: queue full, or refused by the "
            "broker with an error; `in doubt`: the connection went before the answer came; "
            "`not sent`: it went before this one",
            "broker",
        ),
        Column("why", "text", "the broker's reason, in its own words", "broker"),
    ),
    alarms=(
        Alarm("outcome", "critical", ("unroutable", "refused")),
        Alarm("outcome", "warning", ("in doubt", "not sent")),
    ),
)

FOLLOWED: Final = Schema(
    "followed",
    "one task that is followed, in the order given",
    (
        Column("task_id", "id", "identity of the task", "-"),
        Column("topic", "name", "topic it belongs to; missing: not known", "events"),
        Column(
            "state",
            "name",
            "`queued`: published, and no worker has reported its begin; `running`; `succeeded`; "
            "`failed` (it may be tried again); `unknown`: no event of it arrived, its worker is "
            "gone, or its time to live is over",
            "events",
        ),
        Column("worker_id", "id", "worker that is executing it, or did last", "events"),
        Column("started_at", "time", "arrival of its last start event, by our clock", "events"),
        Column("duration", "span", "of its last try, once that has ended", "events"),
        Column("tries", "count", "how often workers reported its begin", "events"),
        Column("error_type", "name", "of its last failure; missing once it succeeded", "events"),
        Column("error", "text", "of its last failure; missing once it succeeded", "events"),
    ),
    alarms=(
        Alarm("state", "critical", ("failed",)),
        Alarm("state", "warning", ("unknown",)),
    ),
)

AFTERMATH: Final = Schema(
    "aftermath",
    "one task that was replayed, as `Outcome.follow` has followed it",
    (
        Column("task_id", "id", "identity of the task", "-"),
        Column("topic", "name", "topic it belongs to; missing: not known", "events"),
        Column(
            "state",
            "name",
            "`queued`: no worker has reported its begin; `running`; `succeeded`; `failed` again "
            "(it may be tried once more); `died` again: it lies among the dead letters; "
            "`unknown`: no later event of it arrived, or its workers send no events",
            "events, look",
        ),
        Column(
            "cause", "text", "fingerprint of its last failure; missing: none reported", "events"
        ),
        Column("worker_id", "id", "worker that is executing it, or did last", "events"),
        Column("duration", "span", "of its last try, once that has ended", "events"),
    ),
    alarms=(
        Alarm("state", "critical", ("died", "failed")),
        Alarm("state", "warning", ("unknown",)),
    ),
)

DEAD_LETTERS: Final = Schema(
    "dead_letters",
    "one message as it lies in a queue, from the head",
    (
        Column("key", "id", "names the message as it lies in this queue", "look"),
        Column("queue", "name", "the queue it lies in", "look"),
        Column("position", "count", "its place in the queue; 0 at the head", "look"),
        Column("task_id", "id", "identity of the task", "look"),
        Column("task_name", "name", "name of the task", "look"),
        Column("topic", "name", "topic it belongs to", "look"),
        Column(
            "reason",
            "name",
            "why it died last. The broker: `rejected`, `expired`, `maxlen`, `delivery_limit`; a "
            "worker of tasktools: `failed`, `timed out`, `invalid`, `unknown task`, `poison`",
            "look",
        ),
        Column("deaths", "count", "how often it died, as far as its headers still show", "look"),
        Column("first_death", "time", "its first death; by the broker's or worker's clock", "look"),
        Column(
            "last_death",
            "time",
            "its last death. RabbitMQ keeps the first one of each queue and reason, so this can be "
            "too early for a message that died of the same more than once",
            "look",
        ),
        Column("published_at", "time", "publication, by the publisher's clock", "look"),
        Column("attempts", "count", "earlier attempts; 0 at first", "look"),
        Column("replays", "count", "how often tasktools replayed it; 0: never", "look"),
        Column("error_type", "name", "class of the error; missing: not reported", "look, events"),
        Column("error", "text", "text of the error; missing: not reported", "look, events"),
        Column(
            "error_kind",
            "text",
            "type of the error, and where in the task's own code it was raised, if a traceback "
            "shows it: coarser than the fingerprint",
            "look, events",
        ),
        Column("fingerprint", "text", "the error without what varies; what to group by", "look"),
        Column("fingerprint_why", "text", "what both of them are made of", "look"),
        Column("args", "object", "positional arguments", "look"),
        Column("kwargs", "object", "keyword arguments", "look"),
        Column("headers", "object", "the task's headers", "look"),
        Column("size", "bytes", "bytes of its body", "look"),
        Column(
            "dialect",
            "name",
            "the kind of worker that it is written for: `fastpluggy`, `taskworker` (the "
            "document), `celery`, `dramatiq`, `plain` (any other program); missing: none",
            "look",
        ),
        Column("problem", "text", "why its body is no task, else missing", "look"),
        Column(
            "unreadable",
            "text",
            "why workers of its queue cannot read it: those of fastpluggy would take it again for "
            "ever; missing: they can",
            "look",
        ),
        Column(
            "ttl",
            "span",
            "time to live that it had before it died, which a replay does not set again; missing: "
            "none",
            "look",
        ),
        Column("expires_at", "time", "when a worker of Celery drops it; missing: never", "look"),
    ),
    main=("key", "task_name", "reason", "deaths", "replays", "last_death", "error_type", "error"),
    alarms=(
        Alarm("problem", "critical"),
        Alarm("unreadable", "critical"),
    ),
)

FAILURE_GROUPS: Final = Schema(
    "failure_groups",
    "one group of failures, the largest first",
    (
        Column("group", "text", "what its failures have in common; missing: not known", "-"),
        Column("count", "count", "failures in it", "-"),
        Column("share", "share", "of all failures, 0 to 1", "-"),
        Column(
            "first",
            "time",
            "when the first of them happened: its last death, else its first one, else publication",
            "-",
        ),
        Column("last", "time", "when the last of them happened, likewise", "-"),
        Column("tasks", "count", "different task names in it", "-"),
        Column("topics", "names", "list of topics that it concerns", "-"),
        Column("example", "id", "key of its last failure", "-"),
        Column("example_error", "text", "text of that one's error", "-"),
        Column("error_kind", "text", "kind of that one's error", "-"),
        Column("fingerprint_why", "text", "what that one's fingerprint is made of", "-"),
    ),
    main=("count", "share", "first", "last", "group"),
    ordered=True,
)

EXPLANATIONS: Final = Schema(
    "explanations",
    "one value of a field, or a pair of values, that is too frequent among failed tasks; causes "
    "with their copies first, then what they explain",
    (
        Column("field", "name", "column, or path in it, as `kwargs.to`", "-"),
        Column("value", "text", "value there; `(missing)`: the tasks that have none", "-"),
        Column("and_field", "name", "of a pair the second field; missing: no pair", "-"),
        Column("and_value", "text", "of a pair the value there", "-"),
        Column("failed", "count", "failed tasks with it", "-"),
        Column("rows", "count", "all tasks with it", "-"),
        Column("share_failed", "share", "of the failed tasks, those with it, 0 to 1", "-"),
        Column("share_succeeded", "share", "of the other tasks, those with it, 0 to 1", "-"),
        Column(
            "risk_ratio",
            "ratio",
            "how many times as often tasks with it fail as tasks without it, each cell of the "
            "table + ½. Where the other tasks are a sample, only the odds ratio holds",
            "-",
        ),
        Column("low", "ratio", "the risk ratio is at least this, at 95 %", "-"),
        Column("high", "ratio", "the risk ratio is at most this, at 95 %", "-"),
        Column("risk_difference", "ratio", "share that fails with it, less that without it", "-"),
        Column("difference_low", "ratio", "the difference is at least this, at 95 %", "-"),
        Column("difference_high", "ratio", "the difference is at most this, at 95 %", "-"),
        Column("odds_ratio", "ratio", "the ratio of odds, each cell of the table + ½", "-"),
        Column(
            "p",
            "ratio",
            "chance of so many failures if it had nothing to do with failing, corrected for all "
            "that was tried",
            "-",
        ),
        Column(
            "explained_by",
            "text",
            "among tasks alike in this row above it is not too frequent; missing: a cause of its "
            "own, as far as the fields show",
            "-",
        ),
        Column(
            "same_as", "text", "the row above with (98 % of) the same tasks; missing: none", "-"
        ),
    ),
    ordered=True,
)

PLANNED: Final = Schema(
    "planned",
    "one message of a plan, or one edit of it if there are several",
    (
        Column("key", "id", "names the message as it lies in its queue", "-"),
        Column("task_id", "id", "identity of the task", "-"),
        Column("task_name", "name", "name of the task", "-"),
        Column("to", "name", "queue that it goes to; missing: none, or it is skipped", "-"),
        Column("size", "bytes", "bytes of its body", "-"),
        Column("edit", "name", "what is changed, as a path; missing: nothing", "-"),
        Column("before", "text", "the value there, secrets masked", "-"),
        Column("after", "text", "the new value, secrets masked", "-"),
        Column("skipped", "text", "why it stays where it is; missing: it does not", "-"),
    ),
    main=("key", "task_name", "to", "edit", "before", "after", "skipped"),
    alarms=(Alarm("skipped", "warning"),),
)

OUTCOME: Final = Schema(
    "outcome",
    "one message of a run, in the order of the plan",
    (
        Column("key", "id", "names the message as it lay in its queue", "-"),
        Column("task_id", "id", "identity of the task", "-"),
        Column("task_name", "name", "name of the task", "-"),
        Column("to", "name", "queue that it was to go to; missing: none", "-"),
        Column(
            "outcome",
            "name",
            "`replayed`, `discarded`, `restored`; it stayed: `returned` (no such queue), `refused` "
            "(the queue is full, or the broker answered with an error), `skipped`; `gone`: it was "
            "not there any more; `in doubt`: it is not there, and whether it was sent is not "
            "known; `not sent`: the run ended before",
            "broker",
        ),
        Column(
            "possible_duplicate",
            "flag",
            "it was sent a second time, since it is not known whether the first one arrived",
            "broker",
        ),
        Column("why", "text", "more about it, in words", "-"),
    ),
    main=("outcome", "key", "task_name", "to", "possible_duplicate", "why"),
    alarms=(
        Alarm("outcome", "critical", ("returned", "refused", "in doubt")),
        Alarm("outcome", "warning", ("skipped", "gone", "not sent")),
        Alarm("possible_duplicate", "warning"),
    ),
)

RUNS: Final = Schema(
    "runs",
    "one run of a plan, the latest first",
    (
        Column("run", "count", "its number in this ledger", "-"),
        Column("started_at", "time", "when it was begun, by our clock", "-"),
        Column(
            "ended_at", "time", "when it ended; missing: it still runs, or its process died", "-"
        ),
        Column("ended", "name", "`finished`, `cancelled`, `stopped` (a ramp) or `failed`", "-"),
        Column("who", "name", "user, host and process", "-"),
        Column("reason", "text", "why, in the operator's words", "-"),
        Column("verb", "name", "`replay`, `discard` or `restore`", "-"),
        Column("cluster", "name", "the cluster", "-"),
        Column("source", "name", "the queue, or the archive, that messages were taken from", "-"),
        Column("to", "name", "queues that messages went to", "-"),
        Column("planned", "count", "messages planned", "-"),
        Column("done", "count", "messages replayed, discarded or restored", "-"),
        Column("possible_duplicates", "count", "messages that may have arrived twice", "-"),
        Column("outcomes", "object", "dict of outcomes and their counts; they add up", "-"),
        Column("plan", "id", "hash of the plan", "-"),
        Column("note", "text", "more about its end, in words", "-"),
    ),
    main=(
        *("run", "started_at", "ended", "verb", "source", "to", "planned", "done"),
        *("possible_duplicates", "who", "reason", "note"),
    ),
    alarms=(
        Alarm("ended", "critical", ("failed",)),
        Alarm("ended", "warning", ("stopped", "cancelled")),
        Alarm("possible_duplicates", "warning"),
    ),
    ordered=True,
)

SCHEMAS: Final = (
    WORKERS,
    TOPICS,
    SETTINGS,
    ACTIVE_TASKS,
    LOCKS,
    STATS,
    PUBLISHED,
    FOLLOWED,
    AFTERMATH,
    DEAD_LETTERS,
    FAILURE_GROUPS,
    EXPLANATIONS,
    PLANNED,
    OUTCOME,
    RUNS,
)
