"""Facts of the memory server itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tasktools.brokers.memory import peek
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core.layout import Layout
from tasktools.core.series import Series
from tasktools.core.server_facts import ServerConsumer, ServerFacts, ServerQueue


def server_facts(server: MemoryServer, layout: Layout, topics: Collection[str]) -> ServerFacts:
    """Return the queues of *topics* and all that get tasks. The server has no connections, and so
    no nodes, alarms or permits."""
    with server.now() as now:
        routes = server.exchanges.routes()
        names = {*topics, *routes.fed_by(layout.task_exchange)}
        names |= {layout.dead_queue(topic) for topic in names}
        queues = {name: _queue(server, name) for name in sorted(names) if server.has_queue(name)}
        samples = [each.ready_series for each in queues.values() if each.ready_series]
        return ServerFacts(
            at=now,
            server_at=max((series.times[-1] for series in samples), default=None),
            queues=queues,
            consumers=tuple(each for name in queues for each in _consumers(server, name)),
            connections=(),
            nodes=(),
            alarms=(),
            routes=routes,
            exchanges=tuple(each.name for each in routes.exchanges),
            unroutable=_series(server.exchanges.unroutable_samples),
        )


def _queue(server: MemoryServer, name: str) -> ServerQueue:
    queue = server.exchanges.queue(name)
    samples = queue.samples
    return ServerQueue(
        facts=peek.facts(server, name),
        ready=len(queue),
        unacked=queue.held,
        consumers=len(queue.consumers) + queue.others,
        ready_series=_series((each.at, each.ready) for each in samples),
        unacked_series=_series((each.at, each.held) for each in samples),
        published=_series((each.at, each.published) for each in samples),
        acked=_series((each.at, each.acknowledged) for each in samples),
        delivered=_series((each.at, each.delivered) for each in samples),
        delivered_no_ack=_series((each.at, 0) for each in samples),
        redelivered=_series((each.at, each.redelivered) for each in samples),
    )


def _consumers(server: MemoryServer, name: str) -> Iterator[ServerConsumer]:
    """Return the consumers of a queue; simulated ones without any details."""
    for consumer in server.consumers_of(name):
        yield ServerConsumer(queue=name, prefetch=consumer.prefetch, held=consumer.unsettled)
    for _ in range(server.exchanges.queue(name).others):
        yield ServerConsumer(queue=name)


def _series(points: Iterable[tuple[float, int]]) -> Series | None:
    values = dict(points)
    return Series(tuple(values), tuple(map(float, values.values()))) if values else None
