"""Checks of leftovers: a second layout, topics that nobody consumes any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tasktools.core.layout import LAYOUTS
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.readings import is_forgotten, judged_topics, needs_server

_SECONDS: Final = 60.0
"""Seconds over which publishes to the exchanges of both layouts are counted."""


def _two_layouts(facts: Facts) -> Iterator[Judgement]:
    server = facts.server
    if server is None or server.exchanges is None:
        yield needs_server(facts, "routes", "which exchanges there are")
        return
    exchanges = [layout.task_exchange for layout in LAYOUTS.values()]
    if not set(exchanges) <= set(server.exchanges):
        return
    published = {
        name: series.change(_SECONDS, at_least=0.0)
        for name, series in (server.published_to or {}).items()
        if name in exchanges
    }
    used = [name for name in exchanges if published.get(name)]
    others = [name for name in exchanges if name != facts.layout.task_exchange]
    yield Finding(
        check="two_layouts",
        severity="warning" if len(used) == len(exchanges) else "suspect",
        subject_kind="vhost",
        subject=" and ".join(exchanges),
        finding=(
            f"The vhost has the exchanges of two layouts, {' and '.join(exchanges)}; "
            + (
                "both were published to in the last minute."
                if len(used) == len(exchanges)
                else f"this connection uses {facts.layout.task_exchange}."
            )
        ),
        evidence={f"published to {name} in 60 s": published.get(name) for name in exchanges},
        remedy=(
            f"See who publishes to {', '.join(others)}: its workers and these do not see each "
            "other's tasks. Delete the exchange that is not used."
        ),
        call="cluster.topics()",
        needs=("management",),
    )


def _forgotten_topic(facts: Facts) -> Iterator[Judgement]:
    for topic in judged_topics(facts):
        span = facts.unconsumed_for.get(topic.topic)
        if not topic.queued or topic.consumers != 0 or span is None:
            continue
        if not is_forgotten(facts, topic):
            why = f"whether {topic.topic!r} was consumed in the last 24 h: that much is not "
            yield CannotTell(why=why + f"recorded, only {in_words(span)}", needs=("recording",))
            continue
        yield Finding(
            check="forgotten_topic",
            severity="suspect",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{counted(topic.queued, 'message', 'lie')} in {topic.topic!r}, which nobody has "
                f"consumed for {in_words(span)} at least."
            ),
            evidence={"queued": topic.queued, "without a consumer for": span},
            remedy="Send its messages to the topic that took its place, or archive them.",
            call=f"cluster.peek({topic.topic!r}, limit=10)",
            needs=("broker", "recording"),
            topics=(topic.topic,),
        )


RULES: Final = (
    Rule("two_layouts", 8, _two_layouts, "two layouts in one vhost"),
    Rule("forgotten_topic", 7, _forgotten_topic, "topics that nobody has consumed for a day"),
)
"""Checks of what was left behind."""
