"""The schemas of frames over time. Sources: *samples* (the state of the cluster, every few
seconds), *events* (the workers' own), *messages* (copies of what was published, where kept: in a
recording, or in a tap).

With ``every``, a row is an interval: those of which nothing was recorded are missing, not 0.
"""

from __future__ import annotations

from typing import Final

from tasktools.core.frames.schema import Alarm, Column, Schema

_TOPIC: Final = Column("topic", "name", "name of the topic", "samples")
_AT: Final = Column("at", "time", "when it was sampled; with `every`, start of the interval", "-")
_START: Final = Column("at", "time", "start of the interval", "-")

QUEUE_DEPTH: Final = Schema(
    "queue_depth",
    "one topic at one moment, or over one interval",
    (
        _TOPIC,
        _AT,
        Column(
            "queued", "ratio", "messages ready in the queue; the mean of an interval", "samples"
        ),
        Column("most_queued", "count", "the most of them in the interval", "samples"),
        Column("unacked", "ratio", "messages delivered, not settled; the mean", "samples"),
        Column("running", "ratio", "tasks that workers are executing; the mean", "samples"),
        Column("dead_letter", "count", "messages in the dead-letter queue; the most", "samples"),
    ),
)

UTILISATION: Final = Schema(
    "utilisation",
    "one worker, one topic or the cluster, over one interval",
    (
        Column("name", "name", "the worker, the topic, or `cluster`", "samples"),
        _AT,
        Column("running", "ratio", "tasks being executed, the mean", "samples"),
        Column(
            "capacity",
            "ratio",
            "tasks that can be executed at once, the mean; of a topic: by all live workers that "
            "consume it, which they may consume others with",
            "samples",
        ),
        Column("utilisation", "share", "running / capacity, 0 to 1", "samples"),
    ),
)

THROUGHPUT: Final = Schema(
    "throughput",
    "one topic over one interval",
    (
        _TOPIC,
        _START,
        Column(
            "published",
            "count",
            "tasks published, each once: one that is tried again is published again, and not "
            "counted; missing: not recorded",
            "messages",
        ),
        Column("started", "count", "tasks that were begun", "events"),
        Column("succeeded", "count", "tasks that succeeded", "events"),
        Column(
            "failed", "count", "tasks that failed; one that is tried again counts each", "events"
        ),
        Column("rate", "rate", "tasks that ended, in a second that was recorded", "events"),
    ),
)

WAITING_TIME: Final = Schema(
    "waiting_time",
    "one topic over one interval",
    (
        _TOPIC,
        _START,
        Column("count", "count", "tasks that were begun, whose publication was seen", "messages"),
        Column(
            "mean",
            "span",
            "from publication to its start, both by our clock; like the next three, missing below "
            "2 s where workers do not report durations: those may send events half a second late",
            "messages",
        ),
        Column("p50", "span", "half of them waited less", "messages"),
        Column("p95", "span", "95 % of them waited less", "messages"),
        Column("longest", "span", "the longest of them", "messages"),
        Column(
            "estimate",
            "span",
            "by Little's law: messages queued, or fetched by workers and not begun, on "
            "average / tasks begun in a second that was recorded; missing where the management "
            "API does not report how many were fetched",
            "samples",
        ),
    ),
)

SERVICE_TIME: Final = Schema(
    "service_time",
    "one topic over one interval",
    (
        _TOPIC,
        _START,
        Column("count", "count", "tries that ended, failed ones included", "events"),
        Column(
            "mean",
            "span",
            "how long they took, as workers report it; without a report by our clock, from 2 s on",
            "events",
        ),
        Column("p50", "span", "half of them took less; not known from heartbeats", "events"),
        Column("p95", "span", "95 % of them took less; not known from heartbeats", "events"),
        Column("longest", "span", "the longest of them; not known from heartbeats", "events"),
        Column("p50_at_most", "span", "half took at most this: a bound of the workers'", "events"),
        Column("p95_at_most", "span", "95 % took at most this: a bound of the workers'", "events"),
    ),
)

TASK_EVENTS: Final = Schema(
    "task_events",
    "the start or the end of one try of a task, in the order of time",
    (
        Column("at", "time", "arrival of the event, by our clock", "events"),
        Column(
            "event",
            "name",
            "`started`, `succeeded`, `failed`; `lost`: its worker is gone, or does not run it any "
            "more, and no event has its end; `seen`: it was running, its start was not received",
            "events",
        ),
        Column("task_id", "id", "identity of the task", "events"),
        Column(
            "task_name",
            "name",
            "name of the task, where its message was recorded or a heartbeat named it. A heartbeat "
            "names only the tasks that are just running: of short tasks the few that took "
            "longest; do not judge by it how long tasks of a name take",
            "messages, events",
        ),
        Column("topic", "name", "topic it belongs to", "events"),
        Column("worker_id", "id", "worker that executes it", "events"),
        Column("duration", "span", "of a try that ended", "events"),
        Column("error_type", "name", "class of the error", "events"),
        Column("error", "text", "text of the error", "events"),
    ),
    alarms=(
        Alarm("event", "critical", ("lost",)),
        Alarm("event", "warning", ("failed",)),
    ),
    ordered=True,
)

TASKS: Final = Schema(
    "tasks",
    "one task, as its last try in the time asked for shows it; the latest first",
    (
        Column("task_id", "id", "identity of the task", "events"),
        Column(
            "task_name",
            "name",
            "name of the task; not by heartbeats, which name only tasks that take long",
            "messages",
        ),
        Column("topic", "name", "topic it belongs to", "events"),
        Column(
            "outcome",
            "name",
            "how the try ended: `succeeded`, `failed` (it may be tried again later), `lost` (its "
            "worker is gone, or does not run it any more); `running`: it has not ended",
            "events",
        ),
        Column("tries", "count", "how often it was begun, as far as it is recorded", "events"),
        Column(
            "first_wait",
            "span",
            "from its first publication to its first start, both by our clock; missing below 2 s "
            "where workers do not report durations: those may send events late",
            "messages",
        ),
        Column("duration", "span", "how long the try took", "events"),
        Column(
            "durations",
            "object",
            "list of the seconds that each of its recorded tries took, the first one first; None "
            "in it: not known",
            "events",
        ),
        Column("worker_id", "id", "worker that executed it", "events"),
        Column("host", "name", "host of that worker, as it reports", "events"),
        Column(
            "version",
            "name",
            "version of tasktools of that worker; peers do not report it",
            "events",
        ),
        Column("published_at", "time", "publication, by the publisher's clock", "messages"),
        Column("started_at", "time", "arrival of the event, by our clock", "events"),
        Column("ended_at", "time", "arrival of the event, by our clock", "events"),
        Column("error_type", "name", "class of the error; missing: not reported", "events"),
        Column("error", "text", "text of the error; missing: not reported", "events"),
        Column("fingerprint", "text", "the error without what varies; what to group by", "events"),
        Column(
            "args",
            "object",
            "positional arguments; a text is a worker's own, a `repr` that may be cut",
            "messages, events",
        ),
        Column("kwargs", "object", "keyword arguments; likewise", "messages, events"),
        Column("size", "bytes", "bytes of its message's body", "messages"),
    ),
    alarms=(
        Alarm("outcome", "critical", ("lost",)),
        Alarm("outcome", "warning", ("failed",)),
    ),
    ordered=True,
)

CLUSTER_EVENTS: Final = Schema(
    "cluster_events",
    "one event that is not about a task: workers, locks, settings, commands",
    (
        Column("at", "time", "arrival of the event, by our clock", "events"),
        Column("event", "name", "its name, as on the wire", "events"),
        Column("sender_id", "id", "the node that sent it", "events"),
        Column("worker_id", "id", "worker that it is of, or for", "events"),
        Column("topic", "name", "topic that it is about", "events"),
        Column("task_id", "id", "task that it is about", "events"),
        Column("detail", "object", "dict of all that it contains", "events"),
    ),
)

FAILURES: Final = Schema(
    "failures",
    "one failed try of a task, the latest first",
    (
        Column("key", "id", "names its message in the recording; missing: not kept", "messages"),
        Column("queue", "name", "the recording, from which it can be replayed", "-"),
        Column("task_id", "id", "identity of the task", "events"),
        Column("task_name", "name", "name of the task", "messages, events"),
        Column("topic", "name", "topic it belongs to", "events"),
        Column("worker_id", "id", "worker that executed it", "events"),
        Column("failed_at", "time", "arrival of the event, by our clock", "events"),
        Column("duration", "span", "how long it took", "events"),
        Column("recovered", "flag", "whether a later try of it succeeded", "events"),
        Column("error_type", "name", "class of the error; missing: not reported", "events"),
        Column("error", "text", "text of the error; missing: not reported", "events"),
        Column(
            "error_kind",
            "text",
            "type of the error, and where in the task's own code it was raised, if its text or its "
            "traceback shows it: coarser than the fingerprint",
            "events",
        ),
        Column("fingerprint", "text", "the error without what varies; what to group by", "events"),
        Column("fingerprint_why", "text", "what both of them are made of", "events"),
        Column("traceback", "text", "the whole traceback; missing: not reported", "events"),
        Column("published_at", "time", "publication, by the publisher's clock", "messages"),
        Column("attempts", "count", "earlier attempts, by the message", "messages"),
        Column(
            "args",
            "object",
            "positional arguments; a text is a worker's own, a `repr` that may be cut",
            "messages, events",
        ),
        Column("kwargs", "object", "keyword arguments; likewise", "messages, events"),
        Column("headers", "object", "the task's headers", "messages"),
        Column("size", "bytes", "bytes of its body", "messages"),
        Column("dialect", "name", "the kind of worker that it is written for", "messages"),
        Column("problem", "text", "why its body is no task, else missing", "messages"),
        Column(
            "unreadable",
            "text",
            "why workers of its queue cannot read it: those of fastpluggy would take it again for "
            "ever; missing: they can",
            "messages",
        ),
    ),
    main=(
        *("failed_at", "topic", "task_name", "error_type", "error", "recovered", "worker_id"),
        *("task_id", "key"),
    ),
)

PUBLISHED_MESSAGES: Final = Schema(
    "published_messages",
    "one message that was published to the task exchange, in their order",
    (
        Column(
            "key", "id", "names it in its tap or recording; missing: its body was not kept", "-"
        ),
        Column("queue", "name", "the tap or the recording, from which it can be replayed", "-"),
        Column("position", "count", "its place there; grows, with gaps", "-"),
        Column("topic", "name", "topic it was published to", "messages"),
        Column("task_id", "id", "identity of the task", "messages"),
        Column("task_name", "name", "name of the task", "messages"),
        Column("published_at", "time", "publication, by the publisher's clock", "messages"),
        Column(
            "attempts",
            "count",
            "earlier attempts; a task that is tried again after a delay is published again",
            "messages",
        ),
        Column("priority", "count", "its priority; missing: none", "messages"),
        Column("args", "object", "positional arguments", "messages"),
        Column("kwargs", "object", "keyword arguments", "messages"),
        Column("headers", "object", "the task's headers", "messages"),
        Column("size", "bytes", "bytes of its body", "messages"),
        Column("dialect", "name", "the kind of worker that it is written for", "messages"),
        Column("problem", "text", "why its body is no task, else missing", "messages"),
        Column(
            "unreadable",
            "text",
            "why workers of its queue cannot read it: those of fastpluggy would take it again for "
            "ever; missing: they can",
            "messages",
        ),
    ),
    main=("key", "published_at", "topic", "task_name", "task_id", "attempts", "size"),
)

MARKS: Final = Schema(
    "marks",
    "one mark: what an operator noted with `Cluster.mark` or `tasktools mark`",
    (
        Column("at", "time", "when it was noted; of another process: its arrival", "events"),
        Column("text", "text", "what happened, in the operator's words", "events"),
        Column("who", "name", "user, host and process, as its event has them", "events"),
    ),
)

GAPS: Final = Schema(
    "gaps",
    "one span of time of which something is missing",
    (
        Column("since", "time", "its beginning", "-"),
        Column("until", "time", "its end", "-"),
        Column(
            "what",
            "name",
            "`all`: nothing was recorded; `samples`: the events were, samples were not; `topics`: "
            "the broker could not be asked; `events`: events of workers could not be "
            "received, or not all be kept; `messages`: not all published messages were received",
            "-",
        ),
        Column("why", "text", "in words", "-"),
    ),
)

SCHEMAS: Final = (
    QUEUE_DEPTH,
    UTILISATION,
    THROUGHPUT,
    WAITING_TIME,
    SERVICE_TIME,
    TASK_EVENTS,
    TASKS,
    CLUSTER_EVENTS,
    FAILURES,
    PUBLISHED_MESSAGES,
    MARKS,
    GAPS,
)
