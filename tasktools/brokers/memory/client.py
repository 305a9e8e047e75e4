"""What one broker object is to the server: its claims, its locks, what it hears."""

from __future__ import annotations

import contextlib
import secrets
import weakref
from collections.abc import Callable, Iterator
from typing import Literal

from tasktools.brokers.memory.claims import Claims
from tasktools.brokers.memory.fanout import Listener
from tasktools.brokers.memory.locks import HeldBy, LockRequest
from tasktools.brokers.memory.server import MemoryServer
from tasktools.core import events
from tasktools.core.cluster_view import ClusterView
from tasktools.core.compose import FunctionNames
from tasktools.core.errors import Closed
from tasktools.core.events import (
    Event,
    LockEvent,
    Malformed,
    Question,
    SettingsUpdate,
    Unknown,
)
from tasktools.core.layout import Layout
from tasktools.core.models import ClusterState, Source, TopicSettings


class Client:
    """A client of *server*, until it is closed or *owner* is dropped. Thread-safe."""

    def __init__(self, server: MemoryServer, owner: object, functions: FunctionNames) -> None:
        self.sender_id = f"tasktools-{secrets.token_hex(4)}"
        self.claims = Claims(server, functions)
        self._server = server
        self._view: ClusterView | None = None
        self._is_open = True
        self._owner = weakref.ref(owner, lambda _owner: self.claims.ring())
        server.attach(self)

    @property
    def is_abandoned(self) -> bool:
        """Whether the owner was dropped without closing this."""
        return self._owner() is None

    def close(self) -> None:
        """Give back everything. Idempotent."""
        self._server.detach(self)
        self.claims.join()

    def let_go(self) -> None:
        """Give back everything (under the server's lock)."""
        self._is_open = False
        self.claims.let_go()
        self._server.locks.free_all_of(self)
        self._server.fanout.forget(self._view, self)

    def _check_open(self) -> None:
        if not self._is_open:  # closed by another thread just now
            raise Closed

    # --- worker events --------------------------------------------------------------

    def subscribe(self) -> bool:
        """Hear events from now on, and ask for them; says whether it did not before."""
        with self._server.now() as now:
            if self._view is not None or not self._is_open:
                return False
            self._view = self._server.fanout.subscribe()
            for kind in ("who_is_alive", "config_request"):
                self._send(now, Question(kind=kind, sender_id=self.sender_id))
        self._server.fanout.deliver()
        return True

    def state(self) -> ClusterState:
        """Return what was heard since `subscribe`, as a picture of the cluster."""
        with self._heard() as view:
            return view.state(self._server.clock.time(), _source(view))

    def topics(self) -> frozenset[str]:
        """Return the topics that anybody spoke of since `subscribe`."""
        with self._heard() as view:
            return view.topics

    def may_learn_more(self) -> bool:
        """Whether somebody is there of whom something may be heard that completes the picture."""
        with self._heard() as view:
            if view.is_settled:
                return False
        return self._server.is_anybody_but(self)

    @contextlib.contextmanager
    def _heard(self) -> Iterator[ClusterView]:
        with self._server.now():
            self._check_open()
            if self._view is None:
                raise Closed
            yield self._view

    def listen(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call *callback* with every event from now on; returns what ends it."""

        def hear(body: bytes) -> None:
            event = events.parse(body)
            if not isinstance(event, Unknown | Malformed):
                callback(event)

        with self._server.now():
            self._check_open()
            return self._server.add_listener(Listener(hear, owner=self))

    def _send(self, now: float, event: Event) -> None:
        self._server.fanout.send(now, events.encode(event))

    def broadcast(self, *said: Event) -> None:
        """Send events to everybody, in order."""
        self._server.broadcast(*map(events.encode, said))

    def configure(self, layout: Layout, topic: str, settings: TopicSettings) -> None:
        """Keep the settings of a topic, as peers would read them, and tell everybody."""
        kept = events.settings_from(events.settings_json(settings))
        with self._server.now() as now:
            self._server.settings[layout.name][topic] = kept
            self._send(now, self._update(topic, settings))
        self._server.fanout.deliver()

    def tell_settings(self, topic: str, settings: TopicSettings) -> None:
        """Tell everybody of the settings of a topic."""
        self.broadcast(self._update(topic, settings))

    def _update(self, topic: str, settings: TopicSettings) -> SettingsUpdate:
        return SettingsUpdate(sender_id=self.sender_id, topic=topic, settings=settings)

    # --- locks ----------------------------------------------------------------------

    def acquire(self, request: LockRequest) -> HeldBy | None:
        """Take a lock, unless somebody has it."""
        with self._server.now() as now:
            self._check_open()
            held = self._server.locks.take(request, self)
            if held is not None:
                self._tell(now, "lock_acquired", request)
        self._server.fanout.deliver()
        return held

    def free(self, held: HeldBy) -> bool:
        """Let others have a lock; says whether it was held still."""
        with self._server.now() as now:
            was_held = held.is_held
            if was_held:
                self._server.locks.free(held)
                self._tell(now, "lock_released", held.request)
        self._server.fanout.deliver()
        return was_held

    def free_by_force(self, name: str) -> bool:
        """Let others have the lock *name*, whoever has it; says whether anybody had."""
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
