"""Messages that workers hold for tasks scheduled for later, which is no fault."""

from __future__ import annotations

from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell
from tasktools.diagnosis.readings import needs_events
from tasktools.diagnosis.worker_reports import dialect_of


def scheduled_of(facts: Facts, topic: TopicFacts) -> int | None:
    """Return how many messages of *topic* workers may hold since their time has not come; `None`:
    not known."""
    if not dialect_of(facts, topic).holds_scheduled:
        return 0
    if facts.is_recorded or facts.heard_since is None or not facts.state.settled:
        return None
    return sum(
        task.eta is not None and task.eta > facts.state.at and task.topic in (None, topic.topic)
        for task in facts.state.prefetched
    )


def needs_scheduled(facts: Facts, topic: TopicFacts) -> CannotTell:
    """Return `CannotTell`: the number of scheduled messages of *topic* at workers is not known."""
    what = f"whether consumers of {topic.topic} hold tasks of later"
    if facts.is_recorded:
        return CannotTell(why=f"{what}: a recording does not hold it", needs=("events",))
    return needs_events(facts, what)
