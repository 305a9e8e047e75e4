"""The reports of workers by dialect: which events they send, and the fate of their tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from tasktools.core.dialects import fastpluggy, registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.models import Worker
from tasktools.core.plurals import agreeing, named
from tasktools.core.workload import live_workers
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell

_WhyNot = Callable[[Facts, TopicFacts], str | None]


def dialect_of(facts: Facts, spoken_by: TopicFacts | Worker | None) -> Dialect:
    """Return the dialect of a worker, or of the workers of a topic; that of the layout where it is
    not known."""
    name = None if spoken_by is None else spoken_by.dialect
    known = None if name is None else registry.find(name)
    return known or fastpluggy.of_layout(facts.layout)


def after_death(facts: Facts, topic: str | None) -> str:
    """Return the fate of the tasks of a worker of *topic* whose process ends, as a sentence."""
    dialect = dialect_of(facts, facts.topics.get(topic or ""))
    return f"When the process of a worker ends, {dialect.after_death}."


def how_to_look(facts: Facts, topic: str | None) -> str:
    """Return the command that shows what a task of *topic* does, as part of a sentence."""
    process = dialect_of(facts, facts.topics.get(topic or "")).processes
    return f"py-spy dump --pid PID on its host, with that of {process}"


def why_silent(facts: Facts, topic: TopicFacts) -> str | None:
    """Return why workers of *topic* send no events, as a part of a sentence; `None` if they do."""
    dialect = dialect_of(facts, topic)
    return None if dialect.has_heartbeats else f"{dialect.workers} send no events"


def why_no_task_events(facts: Facts, topic: TopicFacts) -> str | None:
    """Return why no events report begin and end of tasks of *topic*, as a part of a sentence;
    `None` if they do."""
    if (why := why_silent(facts, topic)) is not None:
        return why
    mute = sorted(
        worker.worker_id
        for worker in live_workers(facts.state.workers)
        if topic.topic in worker.topics and worker.sends_task_events is False
    )
    if not mute:
        return None
    dialect = dialect_of(facts, topic)
    if (why := facts.state.without_events.get(dialect.name)) is not None:
        return f"no events of {named(mute)} arrive: {why}"
    setting = dialect.events_setting
    advice = "" if setting is None else f" ({setting})"
    return f"{named(mute)} {agreeing(len(mute), 'send')} no events of tasks{advice}"


def needs_heartbeats(facts: Facts, topics: Iterable[TopicFacts], what: str) -> Iterator[CannotTell]:
    """Yield `CannotTell` for each of *topics* without heartbeats: *what* is unknown."""
    return _needed(facts, topics, what, why_silent)


def needs_task_events(
    facts: Facts, topics: Iterable[TopicFacts], what: str
) -> Iterator[CannotTell]:
    """Yield `CannotTell` for each of *topics* without task events: *what* is unknown."""
    return _needed(facts, topics, what, why_no_task_events)


def _needed(
    facts: Facts, topics: Iterable[TopicFacts], what: str, why_not: _WhyNot
) -> Iterator[CannotTell]:
    if facts.heard_since is None:
        return  # that is why nothing is known
    names: defaultdict[str, list[str]] = defaultdict(list)
    for topic in topics:
        why = why_not(facts, topic)
        if why is not None:
            names[why].append(topic.topic)
    for why, each in names.items():
        yield CannotTell(why=f"{what} of {named(each)}: {why}", needs=("events",))
