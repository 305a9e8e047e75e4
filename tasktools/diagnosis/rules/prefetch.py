"""The check of tasks that wait at a busy worker while others have places free."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from tasktools.core.models import RunningTask, Worker
from tasktools.core.plurals import agreeing, counted
from tasktools.core.timespans import in_words
from tasktools.diagnosis.facts import Facts, TopicFacts
from tasktools.diagnosis.finding import CannotTell, Finding, Judgement, Rule
from tasktools.diagnosis.readings import (
    STATISTICS_LAG,
    heard_for,
    is_connection_of,
    judged_topics,
    limit_of,
    needs_events,
    needs_server,
    subscribers_of,
    subscribers_to,
)
from tasktools.diagnosis.running_tasks import speaking_workers
from tasktools.diagnosis.worker_reports import dialect_of

_HELD_SECONDS: Final = STATISTICS_LAG + 2.0
"""Seconds for which a worker has begun no task: its other messages have waited, even if the
broker's counters are late."""


class _BusyWorker(msgspec.Struct, frozen=True):
    """A worker with no free slot, and the tasks in its slots; the last one began *age* s ago, or
    earlier if its begin was not received."""

    worker: Worker
    tasks: Sequence[RunningTask]
    age: float

    @property
    def is_age_known(self) -> bool:
        """Whether the begin of each task is known from an event."""
        return all(task.started_at is not None for task in self.tasks)


def _prefetch_too_high(facts: Facts) -> Iterator[Judgement]:
    shared = [
        topic
        for topic in judged_topics(facts)
        if topic.unacked != 0 and (topic.consumers is None or topic.consumers > 1)
    ]
    if shared and (facts.heard_since is None or not facts.state.settled):
        yield needs_events(facts, "which tasks workers run")
        return
    free, busy = _free_places(facts), _busy_workers(facts)
    subscribers = subscribers_of(facts)
    for topic in shared:
        workers = subscribers_to(subscribers, topic.topic)
        idle = {each.worker_id: free[each.worker_id] for each in workers if each.worker_id in free}
        holding = [busy[each.worker_id] for each in workers if each.worker_id in busy]
        if idle and holding and not _is_limit_reached(facts, topic):
            yield from _judge(facts, topic, holding, idle)


def _judge(
    facts: Facts, topic: TopicFacts, busy: Sequence[_BusyWorker], idle: dict[str, int]
) -> Iterator[Judgement]:
    long = [each for each in busy if each.age >= _HELD_SECONDS or not each.is_age_known]
    asks_server = any(each.worker.is_tasktools for each in long)
    if asks_server and (unknown := _unknown(facts)) is not None:
        yield unknown
        return
    waiting = {}
    for each in long:
        surplus = _surplus(facts, topic.topic, each)
        if surplus > 0 and each.age >= _HELD_SECONDS:
            waiting[each.worker.worker_id] = surplus
        elif surplus > 0:
            yield needs_events(facts, "for how long tasks have run")
    if waiting:
        age = min(each.age for each in long if each.worker.worker_id in waiting)
        yield _waiting(facts, topic, waiting, idle, age)


def _unknown(facts: Facts) -> CannotTell | None:
    if facts.server is None or facts.server.consumers is None:
        return needs_server(facts, "consumers", "how many messages each consumer holds")
    if facts.server.connections is None:
        return needs_server(facts, "connections", "which consumer is of which worker")
    return None


def _free_places(facts: Facts) -> dict[str, int]:
    """Return how many more tasks each worker that can run these tasks could run now."""
    return {
        name: worker.capacity - worker.running
        for name, worker in speaking_workers(facts).items()
        if worker.capacity is not None
        and worker.running is not None
        and worker.capacity > worker.running
        and not worker.draining
    }


def _busy_workers(facts: Facts) -> dict[str, _BusyWorker]:
    """Return the workers with no free slot whose held messages are known: workers that report them,
    and workers of tasktools that are alone in their process, since connections are named after the
    process."""
    tasks: defaultdict[str, list[RunningTask]] = defaultdict(list)
    for task in facts.state.running:
        tasks[task.worker_id].append(task)
    processes = Counter((worker.host, worker.pid) for worker in facts.state.workers)
    return {
        name: _BusyWorker(worker, tasks[name], min(_age(facts, task) for task in tasks[name]))
        for name, worker in speaking_workers(facts).items()
        if worker.capacity
        and len(tasks[name]) >= worker.capacity
        and (
            processes[worker.host, worker.pid] == 1
            if worker.is_tasktools
            else dialect_of(facts, worker).tells_prefetched
        )
    }


def _age(facts: Facts, task: RunningTask) -> float:
    if task.started_at is None:
        return heard_for(facts)
    return facts.at - task.started_at.timestamp()


def _is_limit_reached(facts: Facts, topic: TopicFacts) -> bool:
    limit = limit_of(topic)
    return limit is not None and len(facts.running_by_topic.get(topic.topic, ())) >= limit


def _surplus(facts: Facts, topic: str, busy: _BusyWorker) -> int:
    """Return how many messages of *topic* a worker without a free place holds and has not begun,
    without tasks that are scheduled for later."""
    if busy.worker.is_tasktools:
        running = sum(task.topic == topic for task in busy.tasks)
        return _held_of(facts, topic, busy.worker) - running
    return sum(
        task.topic == topic and (task.eta is None or task.eta <= facts.state.at)
        for task in facts.state.prefetched
        if task.worker_id == busy.worker.worker_id
    )


def _held_of(facts: Facts, topic: str, worker: Worker) -> int:
    """Return how many messages of *topic* the broker has handed to *worker*."""
    server = facts.server
    if server is None:
        return 0
    names = {each.name for each in server.connections or () if is_connection_of(each, worker)}
    held = {
        (each.connection, each.channel): each.held or 0
        for each in server.consumers or ()
        if each.queue == topic and each.connection in names
    }
    return sum(held.values())


def _waiting(
    facts: Facts, topic: TopicFacts, waiting: dict[str, int], idle: dict[str, int], age: float
) -> Finding:
    count, free = sum(waiting.values()), sum(idle.values())
    most = max(waiting, key=lambda name: (waiting[name], name))
    names = repr(most) if len(waiting) == 1 else counted(len(waiting), "worker")
    workers = {worker.worker_id: worker for worker in facts.state.workers}
    is_tasktools = workers[most].is_tasktools
    setting = dialect_of(facts, topic).prefetch_setting
    return Finding(
        check="prefetch_too_high",
        severity="warning",
        subject_kind="topic",
        subject=topic.topic,
        finding=(
            f"{counted(count, 'message')} of {topic.topic!r} {agreeing(count, 'wait')} at {names}, "
            f"where no place became free for {in_words(age)}, while {counted(free, 'place')} on "
            f"its other workers {agreeing(free, 'are')} free."
        ),
        evidence={"waiting": count, "free places": free, "no place free for": round(age, 1)},
        against={"queued": topic.queued},
        remedy=(
            "Take the topic away from that worker, which gives the messages back to the others, "
            "and let it join again. A worker holds so many messages of each of its topics as its "
            "prefetch: lower that (cluster.update_prefetch), or give long tasks a topic and "
            "workers of their own; tasktools.capacity.solve() says what sharing costs."
            if is_tasktools
            else f"Restart that worker with a lower {setting}: what it has not begun goes back to "
            "the others. Or give long tasks a queue and workers of their own; "
            "tasktools.capacity.solve() says what sharing costs."
        ),
        call=(
            f"cluster.leave_topic({most!r}, {topic.topic!r})"
            if is_tasktools
            else f"cluster.active_tasks({topic.topic!r})"
        ),
        needs=("events", "management"),
        needs_second_look=True,
        topics=(topic.topic,),
        workers=(*waiting, *idle),
    )


RULES: Final = (
    Rule(
        "prefetch_too_high",
        6,
        _prefetch_too_high,
        "messages that wait at a busy worker beside idle ones",
    ),
)
"""The check of what workers hold and do not run."""
