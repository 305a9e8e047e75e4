"""Rules about loops: messages that come again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tasktools.core.plurals import counted
from tasktools.core.series import total
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    STATISTICS_LAG,
    begin_rising,
    change_of,
    counter_of,
    heard_for,
    is_unsampled,
    judged_topics,
    needs_events,
    needs_server,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.worker_reports import needs_task_events, why_no_task_events

LOOP_SECONDS: Final = 20.0
"""Seconds over which a loop is judged."""
MIN_REDELIVERED: Final = 20
"""Least redeliveries of a loop in that time."""
REDELIVERED_PER_ACK: Final = 5
"""Least ratio of redeliveries to acknowledgements in a loop."""
REDELIVERED_PER_MESSAGE: Final = 5
"""Least redeliveries of each message in a loop; looks of tasktools cause fewer."""
MIN_REPUBLISHED: Final = 60
"""Least acknowledgements of a loop of publishing."""
REPUBLISHED_SHARE: Final = 0.8
"""Least share of acknowledged messages that a loop publishes again."""
MAX_ENDS_SHARE: Final = 0.5
"""Largest share of acknowledged messages that end as tasks in a loop of publishing; other tasks of
the topic go on."""
MAX_ENDS_BESIDE_OTHERS: Final = 0.1
"""The same where there are other consumers than workers, which send no events."""
_RETURNS_PER_PLACE: Final = 4.0
"""Messages that a peer republishes each second and place while they wait for a lock: 3.1 were
measured for one message. A payload that it cannot read comes back 43 times a second."""
_MAX_NAMED: Final = 5  # locks

NEAR_SECONDS: Final = 60.0
"""Seconds over which redeliveries of a quorum queue are counted."""
NEAR_PER_MESSAGE: Final = 3
"""Redeliveries of each message, from which on a delivery limit is near."""


def redelivery_loop(facts: Facts) -> Iterator[Judgement]:
    """Find messages that consumers give back at once, again and again."""
    is_unknown = False
    for topic in judged_topics(facts):
        if not (topic.consumers or (topic.consumer_series and topic.consumer_series.peak(20))):
            continue
        is_unknown |= is_unsampled(facts, topic)
        redelivered = change_of(topic, "redelivered", LOOP_SECONDS)
        acked = change_of(topic, "acked", LOOP_SECONDS)
        if redelivered is None or acked is None:
            continue
        peak = _peak(topic)
        if (
            redelivered >= MIN_REDELIVERED
            and redelivered > REDELIVERED_PER_ACK * acked
            and redelivered >= REDELIVERED_PER_MESSAGE * peak
        ):
            yield Finding(
                check="redelivery_loop",
                severity="critical",
                subject_kind="topic",
                subject=topic.topic,
                finding=(
                    f"Messages of {topic.topic} come back again and again: {redelivered:.0f} "
                    f"redeliveries in {LOOP_SECONDS:.0f} s of at most "
                    f"{counted(round(peak), 'message')}, and {acked:.0f} acknowledged."
                ),
                evidence={
                    "redelivered in 20 s": redelivered,
                    "acknowledged in 20 s": acked,
                    "messages": peak,
                    "consumers": topic.consumers,
                },
                against={"looks of ours": "would redeliver less, and without a consumer"},
                since=begin_rising(counter_of(topic, "redelivered")),
                remedy=(
                    "Find the message that comes back, and take it out with `plan_discard` (stop "
                    "the worker first: it holds the message most of the time); a policy with a "
                    "`delivery-limit` on a quorum queue ends such loops."
                ),
                call=f"cluster.peek({topic.topic!r}, limit=20)",
                needs=("management",),
            )
    if is_unknown:
        yield needs_server(facts, "samples", "redeliveries")


def _peak(topic: TopicFacts, seconds: float = LOOP_SECONDS) -> float:
    """Return the highest number of messages, ready or unacknowledged."""
    queue = topic.queue
    if queue is None or queue.ready_series is None or queue.unacked_series is None:
        return float((topic.queued or 0) + (topic.unacked or 0))
    lengths = total(queue.ready_series.window(seconds), queue.unacked_series.window(seconds))
    return max(lengths.values, default=0.0)


def republish_loop(facts: Facts) -> Iterator[Judgement]:
    """Find workers that acknowledge messages and publish them again, without running a task.

    A peer does this with a payload that it cannot read.
    """
    subscribers = subscribers_of(facts)
    is_unheard = is_unknown = False
    for topic in judged_topics(facts):
        is_unknown |= bool(topic.consumers) and is_unsampled(facts, topic)
        acked = change_of(topic, "acked", LOOP_SECONDS)
        published = change_of(topic, "published", LOOP_SECONDS)
        if acked is None or published is None:
            continue
        if acked < MIN_REPUBLISHED or published < REPUBLISHED_SHARE * acked:
            continue
        if heard_for(facts) < LOOP_SECONDS:
            is_unheard = True
            continue
        if why_no_task_events(facts, topic) is not None:
            yield from needs_task_events(facts, [topic], "which tasks end")
            continue
        ends = _ends(facts, topic.topic)
        workers = subscribers_to(subscribers, topic.topic)
        has_others = topic.consumers is None or topic.consumers > len(workers)
        if ends >= (MAX_ENDS_BESIDE_OTHERS if has_others else MAX_ENDS_SHARE) * acked:
            continue
        places = sum(worker.capacity or 0 for worker in workers)
        may_wait = acked <= _RETURNS_PER_PLACE * places * LOOP_SECONDS
        locks = _taken_locks(facts) if may_wait else []
        yield Finding(
            check="republish_loop",
            severity="critical" if workers and not locks else "suspect",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{topic.topic} goes round: {acked:.0f} messages acknowledged and "
                f"{published:.0f} published in {LOOP_SECONDS:.0f} s, but only "
                f"{counted(ends, 'task')} ended."
                f"{_waiting_for(locks)}"
            ),
            evidence={
                "acknowledged in 20 s": acked,
                "published in 20 s": published,
                "task ends in 28 s": ends,
                "queued": topic.queued,
            },
            against={
                "workers that report consuming it": len(workers),
                "a consumer that sends no events": "none" if workers else "not excluded",
                "locks that are taken": locks[:_MAX_NAMED],
            },
            since=begin_rising(counter_of(topic, "acked")),
            remedy=(
                "Keep what is published for a minute, and see which task_id repeats; then stop "
                "the worker that republishes it, and discard the message."
            ),
            call='cluster.tap(max_age="1min")',
            needs=("management", "events"),
        )
    if is_unknown:
        yield needs_server(facts, "samples", "how many messages are acknowledged and published")
    if is_unheard:
        yield needs_events(facts, f"which tasks end ({LOOP_SECONDS:.0f} s are needed)")


def _taken_locks(facts: Facts) -> list[str]:
    """Return the locks that are held, or that cannot be acquired: tasks may wait for them."""
    tokens = {name for name, (ready, _) in facts.locks_of_peers.items() if ready == 0}
    return sorted(tokens | {lock.lock for lock in facts.state.locks})


def _waiting_for(locks: list[str]) -> str:
    if not locks:
        return ""
    names = ", ".join(map(repr, locks[:_MAX_NAMED]))
    return f" They may wait for a lock that is taken ({names}): workers publish such tasks again."


def _ends(facts: Facts, topic: str) -> int:
    """Return how many tasks ended while the counters rose, including those of unknown topic."""
    begin = facts.at - LOOP_SECONDS - STATISTICS_LAG
    ends = (*facts.ends_by_topic.get(topic, ()), *facts.ends_by_topic.get(None, ()))
    return sum(end.at >= begin for end in ends)


def delivery_limit_near(facts: Facts) -> Iterator[Judgement]:
    """Find quorum queues whose messages come near their delivery limit, at which they are dropped
    or dead-lettered."""
    is_unknown = False
    for topic in judged_topics(facts):
        queue = topic.queue
        if queue is None or queue.redelivered is None:
            is_unknown |= bool(topic.consumers) and is_unsampled(facts, topic)
            continue
        limit = queue.facts.delivery_limit
        if queue.facts.queue_type != "quorum" or (limit is not None and limit <= 0):
            continue
        redelivered = change_of(topic, "redelivered", NEAR_SECONDS, at_least=LOOP_SECONDS)
        acked = change_of(topic, "acked", NEAR_SECONDS, at_least=LOOP_SECONDS)
        messages = _peak(topic, NEAR_SECONDS)
        if redelivered is None or acked is None or not messages:
            continue
        if redelivered < NEAR_PER_MESSAGE * messages or redelivered <= REDELIVERED_PER_ACK * acked:
            continue
        if limit is None:
            is_unknown = True
            continue
        fate = "dead-lettered" if queue.facts.dead_letter_exchange else "dropped"
        yield Finding(
            check="delivery_limit_near",
            severity="warning",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{counted(round(messages), 'message')} of {topic.topic} came back "
                f"{redelivered:.0f} times in {NEAR_SECONDS:.0f} s: at the delivery limit of "
                f"{limit} they are {fate}."
            ),
            evidence={
                "redelivered in 60 s": redelivered,
                "messages": messages,
                "delivery limit": limit,
            },
            against={"acknowledged in 60 s": acked},
            since=begin_rising(queue.redelivered),
            remedy=(
                "Stop the worker that gives them back and fix it; the header `x-delivery-count` "
                "of a message shows how near it is."
            ),
            call=f"cluster.peek({topic.topic!r}, limit=20)",
            needs=("management",),
        )
    if is_unknown:
        yield needs_server(facts, "samples", "redeliveries and delivery limits")


RULES: Final = (
    Rule("redelivery_loop", 3, redelivery_loop, "messages that are redelivered for ever"),
    Rule("republish_loop", 3, republish_loop, "messages that a worker publishes again for ever"),
    Rule("delivery_limit_near", 5, delivery_limit_near, "messages that come near a delivery limit"),
)
