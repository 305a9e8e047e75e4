"""Checks of failures: dead letters, failures without dead letters, retries, dead letters that are
lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tasktools.core.fingerprints import fingerprint
from tasktools.core.plurals import agreeing, counted
from tasktools.core.series import Series
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TaskEnd, TopicFacts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule, Severity
from tasktools.diagnosis.readings import (
    begin_growing,
    change_of,
    dead_arrivals_of,
    dead_ready_of,
    growth_of,
    heard_for,
    judged_topics,
    may_move,
    needs_events,
    needs_server,
)
from tasktools.diagnosis.worker_reports import dialect_of, needs_task_events, why_no_task_events

_SECONDS: Final = 60.0
"""Seconds over which dead letters and failures are counted."""
_GROWN: Final = 10
_GROWN_MUCH: Final = 60
"""Dead letters in that time from which on they are critical."""
_DEAD_SHARE: Final = 0.1
"""Share of dead letters among ended tasks from which on they are a finding; fewer are usual in many
clusters."""
_FAILED: Final = 10
_FAILED_SHARE: Final = 0.2
"""Least number of tasks that failed in that time, and least share of them among ended tasks."""
_MAX_GROUPED: Final = 500
"""Errors of which the fingerprints are compared: they take 20 µs each."""
_RETRY_SECONDS: Final = 600.0
"""Seconds over which starts are counted."""
_RETRY_STARTS: Final = 20
_RETRY_SHARE: Final = 0.5
"""Least number of starts in that time, and least share of retries among them."""
_RETRY_ARRIVALS: Final = 1.25
"""Largest factor by which new tasks may have increased since the time before; with more, all
numbers have."""
_FULL_SHARE: Final = 0.9
"""Share of its maximum length from which on a dead-letter queue is nearly full."""
_AGED_SHARE: Final = 0.8
"""Share of the retention from which on the oldest dead letters will soon be lost."""


def _recent(facts: Facts, topic: TopicFacts) -> list[TaskEnd]:
    since = facts.at - _SECONDS
    return [end for end in facts.ends_by_topic.get(topic.topic, ()) if end.at > since]


def _frequent_error(ends: Sequence[TaskEnd]) -> tuple[str | None, float | None]:
    """Return the most frequent error of failed tasks, and its share of the failures."""
    failed = [end for end in ends if not end.succeeded][-_MAX_GROUPED:]
    names = Counter(
        name
        for end in failed
        for name in [fingerprint(end.error_type, end.error) or end.error_type]
        if name is not None
    )
    if not names:
        return None, None
    ((name, count),) = names.most_common(1)
    return name, count / len(failed)


def _in_words(
    facts: Facts, topic: TopicFacts, error: str | None, share: float | None, *, is_dead: bool
) -> str:
    if error is not None and share is not None:
        return f"{share:.0%} of the failures are {error!r}"
    if (why := why_no_task_events(facts, topic)) is not None:
        return f"its failures are not known, as {why}"
    if facts.heard_since is None:
        return "its failures are not known, as no events are received"
    if is_dead and heard_for(facts) < _SECONDS:
        return f"no worker reported an error in the {in_words(heard_for(facts))} since we listen"
    if is_dead:
        return (
            "no worker reported an error, so they expired, were rejected by a consumer that sends "
            "no events, or reached a limit of the queue"
        )
    return "workers reported no text of the errors"


def _dead_growing(facts: Facts) -> Iterator[Judgement]:
    for topic in judged_topics(facts):
        series = dead_arrivals_of(facts, topic)
        growth = growth_of(series, _SECONDS)
        if growth is None:
            if topic.dead_lettering is False and topic.dead_queue is None:
                continue  # there are none
            if may_move(facts, topic) and topic.dead_letters != 0 and topic.exists:
                yield needs_server(facts, "samples", "how the dead letters grew")
            continue
        if growth < _GROWN or series is None:
            continue
        ends = _recent(facts, topic)
        failed = sum(not end.succeeded for end in ends)
        error, share = _frequent_error(ends)
        is_told = facts.heard_since is not None and why_no_task_events(facts, topic) is None
        span = series.window(_SECONDS).span
        others = _done(facts, topic, ends)
        dead_share = None if others is None else growth / (growth + others)
        severity: Severity = "critical" if growth >= _GROWN_MUCH else "warning"
        yield Finding(
            check="dead_growing",
            severity="suspect" if (dead_share or 1.0) < _DEAD_SHARE else severity,
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"The dead letters of {topic.topic!r} grew by {growth:.0f} in {in_words(span)}; "
                f"{_in_words(facts, topic, error, share, is_dead=True)}."
            ),
            evidence={
                "grew": growth,
                "seconds": span,
                "dead letters": topic.dead_letters,
                "failed": failed if is_told else None,
                "error": error,
                "share": share,
            },
            against={"succeeded or acknowledged": others},
            since=begin_growing(series),
            remedy="See what the failures have in common, and fix the cause before a replay.",
            call=f"tt.failure_groups(cluster.dead_letters({topic.topic!r}))",
            needs=("management", "broker"),
            topics=(topic.topic,),
        )


def _done(facts: Facts, topic: TopicFacts, ends: Sequence[TaskEnd]) -> float | None:
    """Return how many tasks succeeded in the same time, else how many were acknowledged, if either
    is known."""
    if heard_for(facts) >= _SECONDS and ends:
        return sum(end.succeeded for end in ends)
    return change_of(topic, "acked", _SECONDS, at_least=_SECONDS / 2)


def _failing(facts: Facts) -> Iterator[Judgement]:
    moving = [topic for topic in judged_topics(facts) if may_move(facts, topic)]
    if moving and heard_for(facts) < _SECONDS:
        yield needs_events(facts, "how many tasks failed")
    else:
        yield from needs_task_events(facts, moving, "how many tasks failed")
    for topic in judged_topics(facts):
        ends = _recent(facts, topic)
        failed = [end for end in ends if not end.succeeded]
        growth = growth_of(dead_arrivals_of(facts, topic), _SECONDS) or 0.0
        enough = len(failed) >= _FAILED and len(failed) > _FAILED_SHARE * len(ends)
        if not enough or growth >= _GROWN:
            continue
        error, share = _frequent_error(ends)
        yield Finding(
            check="failing",
            severity="warning",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{len(failed)} of {counted(len(ends), 'attempt')} of {topic.topic!r} failed in "
                f"{_SECONDS:g} s; {_in_words(facts, topic, error, share, is_dead=False)}. The dead "
                "letters are hardly more than before: the tasks are tried again or acknowledged, "
                "or dead letters were taken out meanwhile."
            ),
            evidence={
                "failed": len(failed),
                "ended": len(ends),
                "error": error,
                "share": share,
                "dead letters grew": growth,
            },
            against={"succeeded": len(ends) - len(failed)},
            since=failed[0].at,
            remedy="See what the failures have in common"
            + (
                "; a recording has their messages."
                if dialect_of(facts, topic).has_task_exchange
                else "."
            ),
            call=f"tt.failure_groups(cluster.failures({topic.topic!r}, since='10min'))",
            needs=("events",),
            topics=(topic.topic,),
        )


def _retry_storm(facts: Facts) -> Iterator[Judgement]:
    moving = [topic for topic in judged_topics(facts) if may_move(facts, topic)]
    if heard_for(facts) < _SECONDS:
        if moving:
            yield needs_events(facts, "how many starts are retries")
        return
    yield from needs_task_events(facts, moving, "how many starts are retries")
    since = max(facts.at - _RETRY_SECONDS, facts.heard_since or 0.0)
    middle = (since + facts.at) / 2
    begun: set[tuple[str | None, str]] = set()
    retries: Counter[str | None] = Counter()
    new: Counter[tuple[str | None, bool]] = Counter()
    for begin in facts.begins:
        key = (begin.topic, begin.task_id)
        if begin.at > since and key in begun:
            retries[begin.topic] += 1
        elif begin.at > since:
            new[begin.topic, begin.at > middle] += 1
        begun.add(key)
    for topic in judged_topics(facts):
        name = topic.topic
        earlier, later = new[name, False], new[name, True]
        starts = retries[name] + earlier + later
        if starts < _RETRY_STARTS or retries[name] < _RETRY_SHARE * starts:
            continue
        if later < _RETRY_ARRIVALS * max(earlier, 1):
            yield _storm(facts, name, retries[name], starts, (earlier, later), since)


def _storm(
    facts: Facts, topic: str, retries: int, starts: int, new: tuple[int, int], since: float
) -> Finding:
    replays = [run.run for run in facts.runs if (run.ended_at or facts.at) > since]
    return Finding(
        check="retry_storm",
        severity="suspect" if replays else "warning",
        subject_kind="topic",
        subject=topic,
        finding=(
            f"{retries} of {counted(starts, 'start')} of {topic!r} in {in_words(facts.at - since)} "
            f"{agreeing(retries, 'are')} of tasks that were begun before, while no more new ones "
            f"arrive ({new[0]}, then {new[1]})."
        ),
        evidence={"retries": retries, "starts": starts, "new before": new[0], "new": new[1]},
        against={"runs of this user's ledger in that time": replays},
        remedy=(
            "See why they fail; raise the delay of retries or lower their number until the cause "
            "is fixed."
        ),
        call=f"tt.failure_groups(cluster.failures({topic!r}, since='10min'))",
        needs=("events",),
        topics=(topic,),
    )


def _dead_letters_expiring(facts: Facts) -> Iterator[Judgement]:
    for topic in judged_topics(facts):
        count = topic.dead_letters
        queue = topic.dead_queue
        if not count:
            continue
        if queue is None or queue.facts.arguments is None or queue.facts.policy is None:
            yield needs_server(facts, "queues", "for how long dead letters are kept")
            continue
        room, lifetime = queue.facts.max_length, queue.facts.message_ttl
        if room and count >= _FULL_SHARE * room:
            text = f"{counted(count, 'dead letter')} of {topic.topic!r} {agreeing(count, 'are')} "
            text += f"near the most that are kept, {room:,}: of more, some are lost."
            yield _expiring(topic, text, {"dead letters": count, "max-length": room})
        elif lifetime:
            yield from _ageing(topic, lifetime)


def _ageing(topic: TopicFacts, lifetime: float) -> Iterator[Judgement]:
    at_least, at_most = _age_of_oldest(dead_ready_of(topic))
    if at_least >= _AGED_SHARE * lifetime:
        text = f"The oldest dead letters of {topic.topic!r} are lost in less than "
        text += f"{in_words((1 - _AGED_SHARE) * lifetime)}: they are kept for {in_words(lifetime)}."
        yield _expiring(topic, text, {"at least old": at_least, "kept for": lifetime})
    elif at_most is None or at_most >= _AGED_SHARE * lifetime:
        why = f"only a look shows how old the oldest dead letters of {topic.topic!r} are"
        yield CannotTell(why=why, needs=("look",))


def _age_of_oldest(series: Series | None) -> tuple[float, float | None]:
    """Return the least and (if known) the greatest age of a queue's first message: it is older than
    the start of the growth, and younger than the last time the queue was empty."""
    if not series:
        return 0.0, None
    now = series.times[-1]
    samples = list(zip(series.times, series.values, strict=True))
    empty = max((at for at, value in samples if value <= 0), default=None)
    shrunk = [at for (_, earlier), (at, later) in pairwise(samples) if later < earlier]
    began = max([*shrunk, empty if empty is not None else series.times[0]])
    return (0.0 if empty == began else now - began), None if empty is None else now - empty


def _expiring(topic: TopicFacts, text: str, evidence: dict[str, float]) -> Finding:
    return Finding(
        check="dead_letters_expiring",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=text,
        evidence=evidence,
        remedy="Replay or archive them before that.",
        call=f"cluster.dead_letters({topic.topic!r})",
        needs=("management",),
        topics=(topic.topic,),
    )


RULES: Final = (
    Rule("dead_growing", 7, _dead_growing, "dead letters that grow in number"),
    Rule("failing", 7, _failing, "tasks that fail without a dead letter"),
    Rule("retry_storm", 7, _retry_storm, "retries that take the place of new tasks"),
    Rule("dead_letters_expiring", 7, _dead_letters_expiring, "dead letters about to be lost"),
)
"""Checks of what fails."""
