"""Checks of tasks that run and do not end: hung workers, stuck tasks, deliveries that expire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tasktools.core.models import Worker
from tasktools.core.plurals import agreeing, counted
from tasktools.core.series import Series
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule, Severity
from tasktools.diagnosis.readings import (
    change_of,
    heard_for,
    judged_topics,
    needs_events,
    needs_server,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.running_tasks import (
    ENOUGH_ENDS,
    OverdueTask,
    ages_by_topic,
    count_without_age,
    overdue_after,
    overdue_tasks,
    places_of,
    speaking_workers,
)
from tasktools.diagnosis.scheduled_tasks import needs_scheduled, scheduled_of
from tasktools.diagnosis.service_times import UsualTime, usual_time
from tasktools.diagnosis.worker_reports import (
    after_death,
    dialect_of,
    how_to_look,
    needs_heartbeats,
)

_NO_END_SECONDS: Final = 20.0
"""Seconds for which a hung worker has ended no task."""
_HUNG_SHARE: Final = 0.75
"""Share of a worker's places that overdue tasks must take."""
_NO_ACK_SECONDS: Final = 30.0
"""Seconds for which consumers hold messages and acknowledge none."""
_SURE_NO_ACK_SECONDS: Final = 55.0
"""The same where the usual duration of tasks is not known: the whole time of the samples."""
_COVERED_SHARE: Final = 0.9
"""Share of a span that samples of 5 s must cover."""
_MAX_REDELIVERIES: Final = 10
"""Largest number of redeliveries in that time; more are a loop, which is another check."""
_BLOCKING_SECONDS: Final = 300.0
_BLOCKING_TIMES_P95: Final = 10.0
"""Least seconds, and least multiple of the usual p95, for which a task must run to block others."""
_BLOCKING_SHARE: Final = 0.5
"""Share of a topic's places that such tasks must take."""
_ACK_TIMEOUT_SECONDS: Final = 1800.0
"""RabbitMQ's default; an operator may have set another, which cannot be read."""
_LEAST_ACK_TIMEOUT_SECONDS: Final = 60.0
"""The shortest that RabbitMQ's manual advises for a queue."""
_ACK_TIMEOUT_NEAR: Final = 0.5
"""Share of the timeout from which on it is near."""
_MAX_NAMED: Final = 10  # workers


def _workers_hung(facts: Facts) -> Iterator[Judgement]:
    yield from _unknown_ages(facts, _NO_END_SECONDS)
    speaking = speaking_workers(facts)
    since = facts.at - _NO_END_SECONDS
    ended = {end.worker_id for end in facts.ends if end.at >= since}
    overdue: defaultdict[str, list[OverdueTask]] = defaultdict(list)
    for each in overdue_tasks(facts):
        if each.task.worker_id not in ended:
            overdue[each.task.worker_id].append(each)
    by_topic: defaultdict[str, set[str]] = defaultdict(set)
    for worker_id, tasks in overdue.items():
        for each in tasks:
            by_topic[each.task.topic or ""].add(worker_id)
    subscribers = subscribers_of(facts)
    for topic, hung in sorted(by_topic.items()):
        places = places_of([speaking[worker_id] for worker_id in hung])
        tasks = [each for worker_id in hung for each in overdue[worker_id]]
        if not topic or places is None or len(tasks) < _HUNG_SHARE * places:
            continue
        others = [
            worker
            for worker in subscribers_to(subscribers, topic)
            if worker.worker_id in speaking and worker.worker_id not in hung
        ]
        begun = facts.at - min(each.age for each in tasks)
        yield _hung(facts, topic, sorted(hung), tasks, places, others, begun)


def _hung(
    facts: Facts,
    topic: str,
    hung: list[str],
    tasks: list[OverdueTask],
    places: int,
    others: list[Worker],
    since: float,
) -> Finding:
    oldest = max(tasks, key=lambda each: each.age)
    youngest = min(each.age for each in tasks)
    is_known = all(each.is_known for each in tasks)
    severity: Severity = "suspect"
    if is_known:
        severity = "warning" if others else "critical"
    return Finding(
        check="workers_hung",
        severity=severity,
        subject_kind="topic",
        subject=topic,
        finding=(
            f"{counted(len(hung), 'worker')} of {topic!r} {agreeing(len(hung), 'have')} ended "
            f"nothing for {_NO_END_SECONDS:g} s: {len(tasks)} of {counted(places, 'place')} "
            f"{agreeing(len(tasks), 'are')} taken by tasks that have run for up to "
            f"{in_words(oldest.age)}; {_usually(oldest.usual)}."
        ),
        evidence={
            "tasks": len(tasks),
            "places": places,
            "oldest": round(oldest.age, 1),
            "youngest": round(youngest, 1),
            "usual p95": oldest.usual.p95,
            "workers": hung[:_MAX_NAMED],
        },
        against={"other workers that take tasks": len(others)},
        remedy=(
            f"See what these tasks wait for ({how_to_look(facts, topic)}); if it does not come "
            f"back, restart the workers. {after_death(facts, topic)}"
        ),
        call=f"cluster.active_tasks({topic!r}, queued=False)",
        since=since,
        needs=("events",),
        needs_second_look=True,
        topics=(topic,),
        workers=tuple(hung),
    )


def _usually(usual: UsualTime) -> str:
    if usual.count < ENOUGH_ENDS or usual.p95 is None:
        return "how long they usually take is not known"
    return f"95 % of them take at most {in_words(usual.p95)}"


def _unknown_ages(facts: Facts, seconds: float) -> Iterator[CannotTell]:
    """Yield why the age of running tasks is not known, if that could change the answer."""
    held = [topic for topic in judged_topics(facts) if topic.unacked is None or topic.unacked]
    if facts.heard_since is None:
        if held:
            yield needs_events(facts, "which tasks workers run")
        return
    unknown = count_without_age(facts)
    if unknown and heard_for(facts) < seconds:
        yield needs_events(facts, f"since when {counted(unknown, 'task', 'run')}")
    elif held and not facts.state.settled:
        yield needs_events(facts, "which tasks workers run")
    yield from needs_heartbeats(facts, held, "which tasks workers run")


def _nothing_acknowledged(facts: Facts) -> Iterator[Judgement]:
    for topic in judged_topics(facts):
        acked = topic.queue.acked if topic.queue else None
        unacked = topic.queue.unacked_series if topic.queue else None
        scheduled = scheduled_of(facts, topic)
        if unacked and scheduled is None:
            if _held_for(unacked, 0) >= _COVERED_SHARE * _NO_ACK_SECONDS:
                yield needs_scheduled(facts, topic)
            continue
        if not acked or not unacked:
            if topic.consumers != 0 and topic.unacked != 0 and _may_hold(facts, topic):
                yield needs_server(facts, "samples", "acknowledgements")
            continue
        span = min(_level_for(acked), _held_for(unacked, scheduled or 0))
        if span < _COVERED_SHARE * _NO_ACK_SECONDS:
            continue
        usual = usual_time(facts, topic.topic)
        least = max(_NO_ACK_SECONDS, overdue_after(usual) if usual.count >= ENOUGH_ENDS else 0.0)
        redelivered = change_of(topic, "redelivered", span, at_least=0.0) or 0.0
        if span >= _COVERED_SHARE * least and redelivered < _MAX_REDELIVERIES:
            yield _unacknowledged(facts, topic, span, usual)


def _may_hold(facts: Facts, topic: TopicFacts) -> bool:
    """Whether consumers may hold messages: some wait, or where it is not counted, some run."""
    if topic.queued != 0 or topic.unacked is not None:
        return topic.queued != 0
    return facts.heard_since is None or topic.topic in facts.running_by_topic


def _level_for(counter: Series) -> float:
    """Return for how many seconds *counter* has not risen, by its samples."""
    since = counter.times[-1]
    for at, value in zip(reversed(counter.times), reversed(counter.values), strict=True):
        if value < counter.values[-1]:
            break
        since = at
    return counter.times[-1] - since


def _held_for(unacked: Series, scheduled: int) -> float:
    """Return for how many seconds consumers have held more messages than are *scheduled*, without a
    break."""
    began = unacked.times[-1]
    for at, value in zip(reversed(unacked.times), reversed(unacked.values), strict=True):
        if value <= scheduled:
            break
        began = at
    return unacked.times[-1] - began


def _unacknowledged(facts: Facts, topic: TopicFacts, span: float, usual: UsualTime) -> Finding:
    severity: Severity
    if usual.count >= ENOUGH_ENDS:
        severity = "critical" if topic.queued else "warning"
    else:
        severity = "warning" if topic.queued and span >= _SURE_NO_ACK_SECONDS else "suspect"
    ended = sum(end.at >= facts.at - span for end in facts.ends_by_topic.get(topic.topic, ()))
    return Finding(
        check="nothing_acknowledged",
        severity=severity,
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"Nothing of {topic.topic!r} was acknowledged for {in_words(span)}, though consumers "
            f"hold {counted(topic.unacked or 0, 'message')} and "
            f"{counted(topic.queued or 0, 'message', 'wait')}; {_usually(usual)}."
        ),
        evidence={
            "unacked": topic.unacked,
            "queued": topic.queued,
            "seconds without an acknowledgement": round(span, 1),
            "consumers": topic.consumers,
            "usual p95": usual.p95,
        },
        against={"ends received in that time": ended},
        since=facts.at - span,
        remedy=(
            f"See what the workers do ({how_to_look(facts, topic.topic)}); if these make no "
            f"progress, restart them. {after_death(facts, topic.topic)}"
        ),
        call=(
            f"cluster.active_tasks({topic.topic!r}, queued=False)"
            if dialect_of(facts, topic).has_heartbeats
            else "cluster.topics()"
        ),
        needs=("management",),
        topics=(topic.topic,),
        workers=tuple(
            worker.worker_id for worker in subscribers_to(subscribers_of(facts), topic.topic)
        ),
    )


def _task_stuck(facts: Facts) -> Iterator[Judgement]:
    yield from _unknown_ages(facts, _NO_END_SECONDS)
    by_topic: defaultdict[str, list[OverdueTask]] = defaultdict(list)
    for each in overdue_tasks(facts):
        if each.task.topic is not None:
            by_topic[each.task.topic].append(each)
    for topic, overdue in sorted(by_topic.items()):
        oldest = max(overdue, key=lambda each: (each.is_known, each.age))
        task = oldest.task
        named = f" ({task.task_name})" if task.task_name else ""
        yield Finding(
            check="task_stuck",
            severity="warning" if oldest.is_known else "suspect",
            subject_kind="topic",
            subject=topic,
            finding=(
                f"Task {task.task_id!r}{named} of {topic!r} has run for {in_words(oldest.age)} on "
                f"{task.worker_id!r}; {_usually(oldest.usual)}."
            ),
            evidence={
                "task": task.task_id,
                "task name": task.task_name,
                "age": round(oldest.age, 1),
                "limit": round(oldest.limit, 1),
                "usual p95": oldest.usual.p95,
                "longest": oldest.usual.longest,
                "ended before": oldest.usual.count,
                "overdue tasks": len(overdue),
            },
            since=facts.at - oldest.age,
            remedy=(
                f"See what it waits for ({how_to_look(facts, topic)}); if it does not come back, "
                f"restart that worker. {after_death(facts, topic)}"
            ),
            call=f"cluster.active_tasks({topic!r}, queued=False)",
            needs=("events",),
            needs_second_look=True,
            topics=(topic,),
            workers=(task.worker_id,),
        )


def _head_of_line(facts: Facts) -> Iterator[Judgement]:
    if any(topic.queued for topic in judged_topics(facts)):
        yield from _unknown_ages(facts, _BLOCKING_SECONDS)
    ages = ages_by_topic(facts)
    subscribers = subscribers_of(facts)
    for topic in judged_topics(facts):
        if not topic.queued or max(ages.get(topic.topic, ()), default=0.0) <= _BLOCKING_SECONDS:
            continue
        usual = usual_time(facts, topic.topic)
        limit = max(_BLOCKING_SECONDS, _BLOCKING_TIMES_P95 * (usual.p95 or 0.0))
        blocking = [age for age in ages[topic.topic] if age > limit]
        places = places_of(subscribers_to(subscribers, topic.topic))
        if not places or len(blocking) < _BLOCKING_SHARE * places:
            continue
        yield Finding(
            check="head_of_line",
            severity="warning" if usual.count >= ENOUGH_ENDS else "suspect",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"{len(blocking)} of {counted(places, 'place')} of {topic.topic!r} "
                f"{agreeing(len(blocking), 'are')} taken by tasks that have run for more than "
                f"{in_words(limit)}, and {counted(topic.queued, 'message', 'wait')} behind them; "
                f"{_usually(usual)}."
            ),
            evidence={
                "tasks": len(blocking),
                "places": places,
                "oldest": round(max(blocking), 1),
                "queued": topic.queued,
                "usual p95": usual.p95,
            },
            since=facts.at - min(blocking) + limit,
            remedy="Give long tasks a topic and workers of their own.",
            call=f"cluster.active_tasks({topic.topic!r}, queued=False)",
            needs=("events", "broker"),
            needs_second_look=True,
            topics=(topic.topic,),
        )


def _ack_timeout(facts: Facts) -> Iterator[Judgement]:
    yield from _unknown_ages(facts, _ACK_TIMEOUT_NEAR * _ACK_TIMEOUT_SECONDS)
    ages = ages_by_topic(facts)
    for topic in judged_topics(facts):
        timeout, is_known = _ack_timeout_of(topic)
        oldest = max(ages.get(topic.topic, ()), default=0.0)
        if timeout is None or oldest < _ACK_TIMEOUT_NEAR * timeout:
            if not is_known and oldest >= _ACK_TIMEOUT_NEAR * _LEAST_ACK_TIMEOUT_SECONDS:
                yield needs_server(facts, "queues", f"the consumer timeout of {topic.topic!r}")
            continue
        is_over = is_known and oldest >= timeout
        yield Finding(
            check="ack_timeout",
            severity="warning" if is_over else "suspect",
            subject_kind="topic",
            subject=topic.topic,
            finding=(
                f"A task of {topic.topic!r} has run for {in_words(oldest)}; after "
                f"{in_words(timeout)} without an acknowledgement RabbitMQ closes the worker's "
                "channel and delivers all that it holds again, unless another timeout is set."
            ),
            evidence={"oldest": round(oldest, 1), "consumer timeout": timeout},
            since=facts.at - oldest + timeout if is_over else None,
            remedy="Raise consumer_timeout in rabbitmq.conf, or split the task.",
            call=f"cluster.active_tasks({topic.topic!r}, queued=False)",
            needs=("events", "management"),
            needs_second_look=True,
            topics=(topic.topic,),
        )


def _ack_timeout_of(topic: TopicFacts) -> tuple[float | None, bool]:
    """Return the timeout of deliveries (`None`: there is none), and whether the timeout is
    known."""
    queue = topic.queue.facts if topic.queue else None
    if queue is None:
        return _ACK_TIMEOUT_SECONDS, False
    if queue.server >= (4, 3) and queue.queue_type == "classic":
        return None, True
    return queue.consumer_timeout or _ACK_TIMEOUT_SECONDS, True


RULES: Final = (
    Rule("workers_hung", 6, _workers_hung, "workers that run tasks and end none"),
    Rule("nothing_acknowledged", 6, _nothing_acknowledged, "messages held, none acknowledged"),
    Rule("task_stuck", 6, _task_stuck, "a task that runs far longer than usual"),
    Rule("head_of_line", 6, _head_of_line, "long tasks that others wait behind"),
    Rule("ack_timeout", 6, _ack_timeout, "deliveries that RabbitMQ takes back soon"),
)
"""Checks of tasks that run and do not end."""
