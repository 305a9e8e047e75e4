"""What each part of the RabbitMQ broker uses: connections, the layout, what workers say."""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Final, Literal, Self

from tasktools.brokers.base import Capabilities, changes
from tasktools.brokers.document import DocumentNames
from tasktools.brokers.rabbitmq import feed, topology
from tasktools.brokers.rabbitmq.claims import Claims
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.facts import Facts
from tasktools.brokers.rabbitmq.feed import Feed
from tasktools.brokers.rabbitmq.locks import Locks
from tasktools.brokers.rabbitmq.management import Management
from tasktools.core import events
from tasktools.core import layout as layouts
from tasktools.core.clock import Clock, SystemClock
from tasktools.core.compose import Composer, FunctionNames
from tasktools.core.errors import Closed, ConnectionLost
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState

_BOTH_LAYOUTS: Final = "both layouts, fp and taskworker, exist on this broker; fp is shown"


class Client(DocumentNames):
    """A client of a task-worker cluster: what it is connected to, and what it hears."""

    capabilities = Capabilities(
        quorum_queues=True, survives_restart=True, foreign_peers=True, streams=True
    )
    demo = False

    def __init__(
        self,
        dsn: str,
        *,
        read_only: bool = False,
        layout: str | None = None,
        management_url: str | Literal[False] | None = None,
        timeout: float = 5.0,
        clock: Clock | None = None,
        functions: FunctionNames | None = None,
    ) -> None:
        self._dsn = DSN.parse(dsn)
        self._read_only = read_only
        self._layout = None if layout is None else layouts.named(layout)
        self._timeout = timeout
        self._clock = clock or SystemClock()
        management = Management(self._dsn, management_url, timeout)
        self._main = Connection(self._dsn, purpose="main", timeout=timeout)
        self._listening = Connection(self._dsn, purpose="events", timeout=timeout)
        # A long look has all answers on its connection wait behind what it is shown.
        self._looking = Connection(self._dsn, purpose="looks", timeout=timeout)
        self._feed = Feed(self._listening, self._clock, declare=not read_only)
        self._facts = Facts(self._main, management, may_probe=not read_only)
        self._functions = functions or FunctionNames()
        self._composer: Composer | None = None
        self._composing = threading.Lock()
        self._claims = Claims(self._main, self._functions)
        self._locks = Locks(
            self._main,
            sender_id=self._feed.sender_id,
            broadcast=self.broadcast,
            heard=self._feed.lock_heard,
            clock=self._clock,
        )
        self._feed.listen(self._locks.obey)
        self._server_version: str | None = None
        self._note: str | None = None
        self._ensured: set[str] = set()
        self._turn = 0
        # A broker that is simply dropped (a notebook cell run again) leaves no thread behind.
        self._extra: list[Connection] = []
        connections = (self._looking, self._listening, self._main)
        self._let_go = weakref.finalize(self, _let_go, connections, self._extra, management)

    def __repr__(self) -> str:
        return f"<RabbitMQBroker {self._dsn}{' read_only' if self._read_only else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        return self._read_only

    @property
    def address(self) -> str:
        return str(self._dsn)

    @property
    def server_version(self) -> str | None:
        return self._server_version

    @property
    def note(self) -> str | None:
        return self._note

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            self.connect()
        if self._layout is None:
            raise ConnectionLost
        return self._layout

    # --- lifecycle ------------------------------------------------------------------

    def connect(self) -> None:
        self._main.run(self._find_out)
        self._listening.start(self._feed.follow(self.layout))

    async def _find_out(self, session: Session) -> None:
        self._server_version = session.server_version
        if self._layout is None:
            present = await topology.find_layouts(session)
            self._note = _BOTH_LAYOUTS if len(present) > 1 else None
            self._layout = layouts.choose(present)

    @changes
    def setup(self) -> None:
        layout = self.layout
        self._main.run(lambda session: topology.declare_exchanges(session, layout))

    def close(self) -> None:
        self._let_go()

    # --- messages, as they are made --------------------------------------------------

    @property
    def composer(self) -> Composer:
        layout = self.layout
        with self._composing:
            if self._composer is None:
                self._composer = Composer(layout, self._clock, self._functions)
            return self._composer

    # --- workers --------------------------------------------------------------------

    @changes
    def broadcast(self, *event: Event) -> None:
        exchange = self.layout.worker_exchange
        messages = [(feed.routing_key(one), events.encode(one)) for one in event]

        async def work(session: Session) -> None:
            await topology.declare_worker_exchange(session, exchange)
            async with session.asking() as channel:
                for key, body in messages:
                    channel.raw.basic_publish(exchange, key, body)

        self._listening.run(work, again=False)

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        self._follow()
        stop = self._feed.listen(callback, tasks=tasks)
        self._listening.run(lambda _session: self._feed.tune())
        return stop

    def _follow(self) -> None:
        """Return once the worker events are followed, or cannot be for now."""
        self._listening.start(self._feed.subscribed(self.layout, self._timeout)).result()

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        layout, limit = self.layout, self._timeout
        future = self._listening.start(self._feed.state(layout, settle, limit))
        try:
            return future.result(settle + 3 * limit)
        except concurrent.futures.CancelledError:
            raise Closed from None
        except TimeoutError:
            future.cancel()
            raise self._listening.no_answer(settle + 3 * limit) from None

    def _version(self) -> str:
        if self._server_version is None:
            self.connect()
        return self._server_version or ""


def _let_go(
    connections: Iterable[Connection], extra: Iterable[Connection], management: Management
) -> None:
    for connection in (*extra, *connections):
        connection.close()
    management.close()
