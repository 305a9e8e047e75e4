"""The session of one broker object at the server: deliveries, locks, events."""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Callable, Iterator
from typing import Literal

from tasktools.brokers.memory.deliveries import Deliveries
from tasktools.brokers.memory.event_subscription import Listener, Sent
from tasktools.brokers.memory.locks import LockEntry, LockRequest
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core import events
from tasktools.core.cluster_view import ClusterView
from tasktools.core.errors import Closed
from tasktools.core.events import (
    Event,
    LockEvent,
    Malformed,
    Question,
    Unknown,
)
from tasktools.core.models import ClusterState, Source
from tasktools.core.tasks.compose import FunctionNames


class Client:
    """A client of *server*, until it is closed or its *owner* is garbage-collected. Thread-safe."""

    def __init__(self, server: MemoryServer, owner: object, functions: FunctionNames) -> None:
        self.sender_id = f"tasktools-{secrets.token_hex(4)}"
        self.deliveries = Deliveries(server, functions)
        self._server = server
        self._view: ClusterView | None = None
        self._is_open = True
        self._owner = weakref.ref(owner, self._lose)
        server.attach(self)

    def _lose(self, _owner: object) -> None:
        """Note that the owner was garbage-collected without closing this client."""
        self._server.abandon(self)
        self.deliveries.ring()

    def close(self) -> None:
        """Requeue all deliveries and release all locks. Idempotent."""
        self._server.detach(self)
        self.deliveries.join()

    def let_go(self) -> None:
        """Requeue all deliveries and release all locks (the caller holds the server's lock)."""
        self._is_open = False
        self.deliveries.let_go()
        self._server.locks.free_all_of(self)
        self._server.worker_exchange.forget(self._view, self)

    def _check_open(self) -> None:
        if not self._is_open:  # closed by another thread just now
            raise Closed

    # --- worker events --------------------------------------------------------------

    def subscribe(self) -> bool:
        """Subscribe to events, and ask all workers to report; returns whether this was the first
        call."""
        with self._server.now() as now:
            if self._view is not None or not self._is_open:
                return False
            self._view = self._server.worker_exchange.subscribe()
            self._view.listen(now, alone=not self._server.is_anybody_but(self))
            for kind in ("who_is_alive", "config_request"):
                self._send(now, Question(kind=kind, sender_id=self.sender_id))
        self._server.worker_exchange.deliver()
        return True

    def state(self) -> ClusterState:
        """Return the state of the cluster from the events since `subscribe`."""
        with self._subscribed_view() as view:
            return view.state(self._server.clock.time(), _source(view))

    def topics(self) -> frozenset[str]:
        """Return the topics that events named since `subscribe`."""
        with self._subscribed_view() as view:
            return view.topics

    def may_learn_more(self) -> bool:
        """Whether another client may send events that complete the state."""
        with self._subscribed_view() as view:
            if view.is_settled:
                return False
        return self._server.is_anybody_but(self)

    @contextlib.contextmanager
    def _subscribed_view(self) -> Iterator[ClusterView]:
        with self._server.now():
            self._check_open()
            if self._view is None:
                raise Closed
            yield self._view

    def listen(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call *callback* with every event from now on; returns a function to stop."""

        def receive(sent: Sent) -> None:
            _body, event = sent
            if not isinstance(event, Unknown | Malformed):
                callback(event)

        with self._server.now():
            self._check_open()
            return self._server.add_listener(Listener(receive, owner=self))

    def _send(self, now: float, event: Event) -> None:
        self._server.worker_exchange.send(now, events.encode(event))

    # --- locks ----------------------------------------------------------------------

    def acquire(self, request: LockRequest) -> LockEntry | None:
        """Take a lock, unless somebody holds it."""
        with self._server.now() as now:
            self._check_open()
            held = self._server.locks.take(request, self)
            if held is not None:
                self._tell(now, "lock_acquired", request)
        self._server.worker_exchange.deliver()
        return held

    def free(self, held: LockEntry) -> bool:
        """Release a lock; returns whether it was still held."""
        with self._server.now() as now:
            was_held = held.is_held
            if was_held:
                self._server.locks.free(held)
                self._tell(now, "lock_released", held.request)
        self._server.worker_exchange.deliver()
        return was_held

    def free_by_force(self, name: str) -> bool:
        """Release the lock *name*, whoever holds it; returns whether it was held."""
        held = self._server.locks.get(name)
        return held is not None and self.free(held)

    def _tell(
        self, now: float, kind: Literal["lock_acquired", "lock_released"], request: LockRequest
    ) -> None:
        self._send(
            now,
            LockEvent(
                kind=kind,
                sender_id=self.sender_id,
                lock=request.name,
                task_id=request.task_id,
                locked_by=request.worker_id,
                acquired_at=now,
            ),
        )


def _source(view: ClusterView) -> Source:
    notes = []
    if view.forgotten:
        notes.append(f"{view.forgotten} things were forgotten: the cluster is too large")
    if view.malformed:
        notes.append(f"{view.malformed} events could not be read")
    return Source(name="events", ok=True, age=0.0, note="; ".join(notes) or None)
