"""The metrics that are served: their names, units and labels, and their values from a look.

An unknown value is an absent sample, never 0. Names follow Prometheus's conventions: base units,
``_total`` for counters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import msgspec

from tasktools.core import workload
from tasktools.core.models import Worker
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row, Severity
from tasktools.diagnosis.readings import subscribers_of, subscribers_to
from tasktools.diagnosis.worker_reports import why_no_task_events

MAX_LABEL_VALUES: Final = 1_000
"""Topics, and workers, that have samples of their own; of more the first by name."""

Labels = tuple[str, ...]
Samples = dict[str, list[tuple[Labels, float]]]
"""Label values and value of each sample, by name of the metric."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, kind, labels, and meaning."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: Labels
    meaning: str


FAMILIES: Final = (
    Family(
        "tasktools_up",
        "gauge",
        (),
        "1: the broker answered the last look; 0: it did not, or the look has not ended.",
    ),
    Family(
        "tasktools_info",
        "gauge",
        ("version", "layout", "demo"),
        "1; the labels say what serves this, and of what.",
    ),
    Family(
        "tasktools_look_timestamp_seconds",
        "gauge",
        (),
        "When the values were looked up, as seconds since the epoch.",
    ),
    Family("tasktools_look_duration_seconds", "gauge", (), "How long that took."),
    Family(
        "tasktools_source_up",
        "gauge",
        ("source",),
        "1: a source of the values answered; 0: it did not, and values of its own are absent.",
    ),
    Family(
        "tasktools_omitted",
        "gauge",
        ("label",),
        f"Topics and workers beyond {MAX_LABEL_VALUES}, which have no samples of their own.",
    ),
    Family(
        "tasktools_workers", "gauge", ("state",), "Workers by state; gone: within the last hour."
    ),
    Family("tasktools_running_tasks", "gauge", (), "Tasks that workers are executing."),
    Family("tasktools_capacity_tasks", "gauge", (), "Tasks that live workers can execute at once."),
    Family(
        "tasktools_utilisation_ratio",
        "gauge",
        (),
        "Running tasks by capacity, of the workers that report both.",
    ),
    Family(
        "tasktools_topic_head_wait_seconds",
        "gauge",
        ("topic",),
        "How long the next message of the queue has waited; at least, where it came before this "
        "was watched.",
    ),
    Family("tasktools_topic_queued_messages", "gauge", ("topic",), "Messages ready in the queue."),
    Family(
        "tasktools_topic_running_tasks", "gauge", ("topic",), "Tasks that workers are executing."
    ),
    Family(
        "tasktools_topic_capacity_tasks",
        "gauge",
        ("topic",),
        "Tasks that the live workers of the topic can execute at once; who has several topics "
        "counts in each.",
    ),
    Family(
        "tasktools_topic_utilisation_ratio",
        "gauge",
        ("topic",),
        "Running tasks (of all topics) by capacity, of the workers of the topic.",
    ),
    Family(
        "tasktools_topic_dead_letter_messages",
        "gauge",
        ("topic",),
        "Messages ready in the dead-letter queue.",
    ),
    Family(
        "tasktools_topic_succeeded_total",
        "counter",
        ("topic",),
        "Tries of tasks that succeeded, from workers' events.",
    ),
    Family(
        "tasktools_topic_failed_total",
        "counter",
        ("topic",),
        "Tries of tasks that failed, from workers' events, retried ones included.",
    ),
    Family(
        "tasktools_topic_dead_lettered_total",
        "counter",
        ("topic",),
        "Messages that workers reported as dead-lettered.",
    ),
    Family(
        "tasktools_topic_needed_workers",
        "gauge",
        ("topic",),
        "Workers that are needed by the recording, as tasktools capacity says; topics that share "
        "workers need them together.",
    ),
    Family(
        "tasktools_topic_needed_workers_low",
        "gauge",
        ("topic",),
        "Lower limit of the 90 % interval of the needed workers.",
    ),
    Family(
        "tasktools_topic_needed_workers_high",
        "gauge",
        ("topic",),
        "Upper limit of the 90 % interval of the needed workers.",
    ),
    Family(
        "tasktools_needed_timestamp_seconds",
        "gauge",
        (),
        "When the needed workers were computed, as seconds since the epoch.",
    ),
    Family("tasktools_worker_running_tasks", "gauge", ("worker",), "Tasks that it is executing."),
    Family(
        "tasktools_worker_capacity_tasks",
        "gauge",
        ("worker",),
        "Tasks that it can execute at once.",
    ),
    Family(
        "tasktools_findings",
        "gauge",
        ("check", "severity"),
        "What tasktools diagnose finds (suspect: suspects) by check; 0: ruled out, absent: it "
        "cannot tell.",
    ),
)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a look: its *facts*, the verdicts on them, and the head waits by topic.

    Waits, and the *duration* of the look, are seconds.
    """

    facts: Facts
    rows: tuple[Row, ...]
    head_waits: Mapping[str, float]
    duration: float

    @property
    def is_up(self) -> bool:
        """Whether the broker answered."""
        return "broker" not in self.facts.missing


def samples_of(reading: Reading) -> Samples:
    """Return the samples of a look."""
    facts = reading.facts
    topics = sorted(name for name, topic in facts.topics.items() if topic.is_topic)
    live = sorted(workload.live_workers(facts.state.workers), key=lambda each: each.worker_id)
    shown, workers = topics[:MAX_LABEL_VALUES], live[:MAX_LABEL_VALUES]
    return {
        "tasktools_look_timestamp_seconds": [((), facts.at)],
        "tasktools_look_duration_seconds": [((), reading.duration)],
        "tasktools_source_up": [((each.name,), float(each.ok)) for each in facts.sources],
        "tasktools_omitted": [
            (("topic",), len(topics) - len(shown)),
            (("worker",), len(live) - len(workers)),
        ],
        **_of_cluster(facts),
        **_of_topics(reading, shown),
        **_of_workers(workers if facts.state.events.ok else ()),
        "tasktools_findings": list(_findings(reading.rows)),
    }


def topics_with_task_events(facts: Facts) -> frozenset[str]:
    """Return the topics with task events: for them a missing count is 0."""
    topics = facts.topics.items()
    return frozenset(name for name, topic in topics if why_no_task_events(facts, topic) is None)


def samples_of_counts(counts: Mapping[str, Mapping[str, int]], topics: Iterable[str]) -> Samples:
    """Return the samples of *counts*, by name of the count and topic, of at most `MAX_LABEL_VALUES`
    topics.

    *topics* without a count had no events: their count is 0.
    """
    known = set(topics).union(*(by_topic.keys() for by_topic in counts.values()))
    shown = sorted(known)[:MAX_LABEL_VALUES]
    return {
        f"tasktools_topic_{count}_total": [((topic,), by_topic.get(topic, 0)) for topic in shown]
        for count, by_topic in counts.items()
    }


def _of_cluster(facts: Facts) -> Samples:
    state = facts.state
    if not state.events.ok or (facts.heard_since is None and not state.workers):
        return {}
    live = workload.live_workers(state.workers)
    states = Counter(worker.state for worker in state.workers)
    return {
        "tasktools_workers": [((name,), states[name]) for name in ("alive", "late", "gone")],
        "tasktools_running_tasks": _known((), workload.running_in_all(state)),
        "tasktools_capacity_tasks": _known((), workload.capacity_in_all(live)),
        "tasktools_utilisation_ratio": _known((), _utilisation(live) if state.settled else None),
    }


def _of_topics(reading: Reading, names: Sequence[str]) -> Samples:
    facts = reading.facts
    loads, subscribers = workload.TopicLoads(facts.state), subscribers_of(facts)
    values: dict[str, dict[str, float | None]] = {}
    for name in names:
        topic, live = facts.topics[name], subscribers_to(subscribers, name)
        load = loads.of(name, topic.dialect)
        is_heard = load.subscribers is not None
        values[name] = {
            "head_wait_seconds": reading.head_waits.get(name),
            "queued_messages": topic.queued,
            "running_tasks": load.running,
            "capacity_tasks": workload.capacity_in_all(live) if is_heard else None,
            "utilisation_ratio": _utilisation(live) if is_heard else None,
            "dead_letter_messages": topic.dead_letters,
        }
    metrics = next(iter(values.values()), {})
    return {
        f"tasktools_topic_{metric}": [
            sample for name, known in values.items() for sample in _known((name,), known[metric])
        ]
        for metric in metrics
    }


def _of_workers(live: Sequence[Worker]) -> Samples:
    return {
        "tasktools_worker_running_tasks": [
            sample for each in live for sample in _known((each.worker_id,), each.running)
        ],
        "tasktools_worker_capacity_tasks": [
            sample for each in live for sample in _known((each.worker_id,), each.capacity)
        ],
    }


def _utilisation(live: Iterable[Worker]) -> float | None:
    """Return the share of busy slots of *live* workers; `None` if no worker reports it."""
    busy = slots = 0
    for worker in live:
        if worker.running is not None and worker.capacity is not None:
            busy, slots = busy + worker.running, slots + worker.capacity
    return busy / slots if slots else None


def _findings(rows: Iterable[Row]) -> Iterator[tuple[Labels, float]]:
    """Yield the number of findings of each check, by severity; nothing for a check that cannot
    tell."""
    counted: Counter[tuple[str, Severity]] = Counter()
    checks, unknown = dict[str, None](), set[str]()
    for row in rows:
        checks[row.check] = None
        if row.verdict == "cannot tell":
            unknown.add(row.check)
        elif row.severity is not None:
            counted[row.check, row.severity] += 1
    for check in sorted(checks):
        for severity in get_args(Severity):
            if counted[check, severity] or check not in unknown:
                yield (check, severity), counted[check, severity]


def _known(labels: Labels, value: float | None) -> list[tuple[Labels, float]]:
    """Return a sample of *value*; none if it is not known."""
    return [] if value is None else [(labels, value)]
