"""Builders of facts with healthy defaults: a topic `emails` with a message a second, one worker.

Whatever differs is an argument; `amqp_only`, `deaf` and `cold` take a source away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace as with_fields
from datetime import UTC, datetime
from typing import Any, get_args

from msgspec.structs import replace

from tasktools.core.layout import FP
from tasktools.core.models import ClusterState, RunningTask, Source, Worker
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.routes import Binding, Exchange, Routes
from tasktools.core.series import Series
from tasktools.core.server_facts import (
    ServerConnection,
    ServerConsumer,
    ServerFacts,
    ServerNode,
    ServerPart,
    ServerQueue,
)
from tasktools.core.workload import is_live
from tasktools.diagnosis.facts import Facts, Presence, TaskBegin, TaskEnd, TopicFacts

NOW = 1_800_000_000.0
"""The moment of the facts, in seconds since the epoch."""
STEP = 5.0
"""Seconds between two samples of the management API."""
NO_TAG = "the user has none of the tags that the management API needs (management, monitoring)"


def moment(seconds_ago: float = 0.0) -> datetime:
    """Return the time so many seconds before the facts."""
    return datetime.fromtimestamp(NOW - seconds_ago, UTC)


def samples(*values: float, step: float = STEP, until: float = NOW) -> Series:
    """Return *values* as a series that ends at *until*."""
    times = [until - step * (len(values) - 1 - place) for place in range(len(values))]
    return Series(tuple(times), tuple(float(value) for value in values))


def level(value: float = 0.0, *, seconds: float = 60.0, step: float = STEP) -> Series:
    """Return a quantity that stayed at *value*."""
    return growing(0.0, start=value, seconds=seconds, step=step)


def growing(
    per_second: float, *, start: float = 0.0, seconds: float = 60.0, step: float = STEP
) -> Series:
    """Return a quantity (or a counter) that grew by *per_second* from *start*."""
    count = round(seconds / step) + 1
    return samples(*(start + per_second * step * place for place in range(count)), step=step)


def queue(name: str = "emails", *, facts: QueueFacts | None = None, **fields: Any) -> ServerQueue:
    """Return a classic queue with dead-lettering, through which a message a second passes."""
    healthy: dict[str, Any] = {
        "node": "rabbit@one",
        "ready": 0,
        "unacked": 0,
        "consumers": 1,
        "ready_series": level(),
        "unacked_series": level(),
        "published": growing(1.0, start=1000),
        "acked": growing(1.0, start=1000),
        "delivered": growing(1.0, start=1000),
        "delivered_no_ack": level(),
        "redelivered": level(),
    }
    return ServerQueue(facts=facts or queue_facts(name), **(healthy | fields))


def queue_facts(name: str = "emails", **fields: Any) -> QueueFacts:
    """Return the facts of a classic queue that dead-letters as `fp` does."""
    healthy: dict[str, Any] = {
        "server": (3, 10),
        "queue_type": "classic",
        "arguments": dict(FP.queue_arguments(name)),
        "policy": {},
    }
    return QueueFacts(queue=name, **(healthy | fields))


def dead_queue(topic: str = "emails", *, ready: int = 0, **fields: Any) -> ServerQueue:
    """Return the dead-letter queue of *topic*, which nobody consumes."""
    name = f"{topic}.dead"
    idle: dict[str, Any] = {
        "ready": ready,
        "consumers": 0,
        "ready_series": level(ready),
        "published": level(),
        "acked": level(),
        "delivered": level(),
    }
    return queue(name, facts=queue_facts(name, arguments={}), **(idle | fields))


def topic(name: str = "emails", **fields: Any) -> TopicFacts:
    """Return a healthy topic; its queue is that of `queue`, with the numbers of *fields*."""
    healthy: dict[str, Any] = {
        "exists": True,
        "queued": 0,
        "unacked": 0,
        "dead_letters": 0,
        "consumers": 1,
        "dead_lettering": True,
        "ready": level(fields.get("queued") or 0),
        "dead_ready": level(fields.get("dead_letters") or 0),
        "consumer_series": level(fields.get("consumers", 1) or 0),
        "running": level(),
        "began": growing(1.0),
        "ended": growing(1.0),
        "had_consumer": True,
    }
    values = healthy | fields
    if "queue" not in values:
        values["queue"] = queue(
            name,
            ready=values["queued"],
            unacked=values["unacked"],
            consumers=values["consumers"],
            ready_series=values["ready"],
            unacked_series=level(values["unacked"] or 0),
        )
    if "dead_queue" not in values:
        values["dead_queue"] = dead_queue(name, ready=values["dead_letters"] or 0)
    return TopicFacts(topic=name, **values)


def worker(worker_id: str = "worker-1", *, silence: float = 1.0, **fields: Any) -> Worker:
    """Return a worker of `emails` that started an hour ago; *silence* decides on its state."""
    state = "alive" if silence < 10 else "late" if silence <= 30 else "gone"
    healthy: dict[str, Any] = {
        "state": state,
        "uncertain": False,
        "role": "worker",
        "host": "host-1",
        "pid": 4711,
        "running": 0,
        "capacity": 4,
        "topics": ("emails",),
        "started_at": moment(3600),
        "last_seen": moment(silence),
        "clock_offset": 0.0,
        "succeeded": 1000,
        "failed": 0,
        "draining": None,
    }
    return Worker(worker_id=worker_id, silence=silence, **(healthy | fields))


def running(
    task_id: str, *, worker_id: str = "worker-1", topic: str = "emails", age: float | None = 1.0
) -> RunningTask:
    """Return a task that has been running for *age* seconds."""
    return RunningTask(
        task_id=task_id,
        worker_id=worker_id,
        topic=topic,
        task_name="send",
        started_at=None if age is None else moment(age),
    )


def ends(
    count: int,
    *,
    topic: str = "emails",
    every: float = 1.0,
    failed: int = 0,
    duration: float | None = 0.1,
    worker_id: str = "worker-1",
    until: float = NOW,
    **fields: Any,
) -> tuple[TaskEnd, ...]:
    """Return the ends of *count* tasks, *every* so many seconds, of which the last *failed*."""
    return tuple(
        TaskEnd(
            at=until - every * (count - 1 - place),
            task_id=f"{topic}-{place}",
            topic=topic,
            worker_id=worker_id,
            succeeded=place < count - failed,
            duration=duration,
            **({"task_name": "send"} | fields),
        )
        for place in range(count)
    )


def begins(each: Iterable[TaskEnd], *, before: float = 0.1) -> tuple[TaskBegin, ...]:
    """Return the begins of the attempts that ended as *each* says."""
    return tuple(
        TaskBegin(at=end.at - before, task_id=end.task_id, topic=end.topic, worker_id=end.worker_id)
        for end in each
    )


def presence_of(each: Worker, **fields: Any) -> Presence:
    """Return the presence of a worker within the window."""
    seen: dict[str, Any] = {
        "host": each.host,
        "role": each.role,
        "topics": each.topics,
        "started_at": None if each.started_at is None else each.started_at.timestamp(),
        "first_beat": NOW - 600,
        "last_beat": NOW - (each.silence or 0.0),
    }
    return Presence(worker_id=each.worker_id, **(seen | fields))


def routes(*names: str, bindings: Iterable[Binding] = (), unbound: Iterable[str] = ()) -> Routes:
    """Return the exchanges of `fp` with the bindings of topics; *unbound* lose dead letters."""
    usual = [Binding(source=FP.task_exchange, destination=name, key=name) for name in names]
    usual += [
        Binding(
            source=FP.dead_letter_exchange, destination=FP.dead_queue(name), key=FP.dead_key(name)
        )
        for name in names
        if name not in set(unbound)
    ]
    exchanges = [
        Exchange(name=FP.task_exchange, type="direct"),
        Exchange(name=FP.dead_letter_exchange, type="direct"),
        Exchange(name=FP.worker_exchange, type="fanout"),
    ]
    return Routes(exchanges, [*usual, *bindings])


def node(**fields: Any) -> ServerNode:
    """Return a node that runs, without alarms."""
    healthy: dict[str, Any] = {
        "name": "rabbit@one",
        "running": True,
        "memory_alarm": False,
        "disk_alarm": False,
        "memory_used": 200_000_000,
        "memory_limit": 3_200_000_000,
        "disk_free": 50_000_000_000,
        "disk_limit": 50_000_000,
        "descriptors_used": 40,
        "descriptors_limit": 1_000,
        "partitions": (),
    }
    return ServerNode(**(healthy | fields))


def connection(name: str = "10.0.0.1:40000 -> 10.0.0.9:5672", **fields: Any) -> ServerConnection:
    """Return a connection of a worker."""
    healthy: dict[str, Any] = {"state": "running", "unroutable": level()}
    return ServerConnection(name=name, **(healthy | fields))


def server(topics: Iterable[TopicFacts], **fields: Any) -> ServerFacts:
    """Return what a server tells that has the queues of *topics*."""
    topics = list(topics)
    queues = [each.queue for each in topics if each.queue is not None]
    queues += [each.dead_queue for each in topics if each.dead_queue is not None]
    consumers = [
        ServerConsumer(
            queue=each.topic,
            connection=connection().name,
            channel=f"{connection().name} ({number})",
            prefetch=32,
            held=(each.unacked or 0) if number == 0 else 0,
        )
        for each in topics
        for number in range(each.consumers or 0)
    ]
    healthy: dict[str, Any] = {
        "at": NOW,
        "server_at": NOW - 3,
        "queues": {each.facts.queue: each for each in queues},
        "consumers": tuple(consumers),
        "connections": (connection(),),
        "nodes": (node(),),
        "alarms": (),
        "routes": routes(*(each.topic for each in topics)),
        "exchanges": (FP.task_exchange, FP.dead_letter_exchange, FP.worker_exchange),
        "published_to": {FP.task_exchange: growing(1.0)},
        "unroutable": level(),
    }
    return ServerFacts(**(healthy | fields))


def facts(
    *topics: TopicFacts,
    workers: Iterable[Worker] | None = None,
    running: Iterable[RunningTask] = (),
    state: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Facts:
    """Return the facts of a healthy cluster with *topics* (by default `emails`) and *workers*."""
    each_topic = topics or (topic(),)
    each_worker = (worker(),) if workers is None else tuple(workers)
    known_state: dict[str, Any] = {
        "at": moment(),
        "events": Source(name="events", ok=True, age=0.0),
        "listening_since": moment(900),
        "workers": each_worker,
        "running": tuple(running),
        "topics": frozenset(each.topic for each in each_topic),
    }
    values: dict[str, Any] = {
        "heard_since": NOW - 900,
        "state": ClusterState(**(known_state | dict(state or {}))),
        "layout": FP,
        "topics": {each.topic: each for each in each_topic},
        "presence": tuple(presence_of(each) for each in each_worker if is_live(each)),
        "sources": (
            Source(name="events", ok=True, age=0.0),
            Source(name="broker", ok=True, age=0.0),
            Source(name="management", ok=True, age=3.0),
        ),
    }
    values |= fields
    if "server" not in values:
        values["server"] = server(each_topic)
    return Facts(at=NOW, **values)


def amqp_only(each: Facts) -> Facts:
    """Return the same facts without the management API."""
    topics = {
        name: replace(fact, queue=None, dead_queue=None, unacked=None, dead_lettering=None)
        for name, fact in each.topics.items()
    }
    parts: tuple[ServerPart, ...] = get_args(ServerPart)
    without = ServerFacts(at=each.at, missing=dict.fromkeys(parts, NO_TAG))
    return replace(
        each,
        topics=topics,
        server=without,
        sources=tuple(source for source in each.sources if source.name != "management"),
        missing={"management": NO_TAG},
        permits={},
        locks_of_peers={},
    )


def without_part(each: Facts, *parts: str) -> Facts:
    """Return the same facts with a user who may not see *parts* of what the server tells."""
    assert each.server is not None
    gone: dict[str, Any] = {part: None for part in parts if part != "samples"}
    topics = each.topics
    if "samples" in parts:
        series = dict.fromkeys(
            ["published", "acked", "delivered", "delivered_no_ack", "redelivered"]
        )
        lengths = dict.fromkeys(["ready_series", "unacked_series"])
        topics = {
            name: replace(fact, queue=fact.queue and replace(fact.queue, **series, **lengths))
            for name, fact in topics.items()
        }
    if "connections" in parts:
        gone["unroutable"] = None
    lacking = replace(each.server, **gone, missing=dict.fromkeys(parts, "needs the tag monitoring"))
    return replace(each, server=lacking, topics=topics)


def cold(each: Facts) -> Facts:
    """Return the same facts as a process sees them that has just connected."""
    return replace(
        each,
        heard_since=each.at,
        state=replace(each.state, listening_since=moment()),
        begins=(),
        ends=(),
        presence=(),
        orphans=(),
        durations={},
        topics={
            name: replace(fact, began=None, ended=None, running=None, durations=())
            for name, fact in each.topics.items()
        },
    )


def deaf(each: Facts) -> Facts:
    """Return the same facts as a process sees them that gets no events."""
    nothing = cold(each)
    source = Source(name="events", ok=False, note="the exchange of events cannot be bound")
    return replace(
        nothing,
        heard_since=None,
        state=replace(nothing.state, events=source, workers=(), running=(), listening_since=None),
        sources=tuple(source if old.name == "events" else old for old in nothing.sources),
        missing=dict(each.missing) | {"events": "the exchange of events cannot be bound"},
    )


def with_arguments(each: ServerQueue, **arguments: Any) -> ServerQueue:
    """Return a queue that has more arguments (`max_length=10` sets ``x-max-length``)."""
    more = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    changed = with_fields(each.facts, arguments={**(each.facts.arguments or {}), **more})
    return replace(each, facts=changed)
