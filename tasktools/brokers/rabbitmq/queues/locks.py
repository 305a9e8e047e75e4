"""Locks: exclusive queues, which RabbitMQ deletes with their holder's connection.

A lock is the exclusive queue `tasktools.lock.<name>`. On layout `fp` we hold the peers' token of
the same name as well (`lock_tokens`), so that they are excluded, and respect those who have it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final, Literal, Self

from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.queues import lock_tokens
from tasktools.brokers.rabbitmq.queues.lock_tokens import LockToken
from tasktools.brokers.rabbitmq.queues.shared_value import SharedValue
from tasktools.core.clock import Clock
from tasktools.core.errors import BrokerError, BrokerTimeout, ConnectionLost
from tasktools.core.events import Command, Event, LockEvent
from tasktools.core.layout import LOCKS, Layout

_MAX_NAME_BYTES: Final = 200  # a queue's name may have 255
_HOLDER_DEAD_SECONDS: Final = 330.0
"""Seconds for which a token must be missing, without an event of the lock, until the peer that has
it counts as dead: a live peer returns the token within 310 s."""
_POLL_SECONDS: Final = 0.25

LockEventKind = Literal["lock_acquired", "lock_released"]


class RabbitMQLock:
    """A lock that this client holds."""

    def __init__(
        self, name: str, session: Session, release: Callable[[RabbitMQLock], object]
    ) -> None:
        self.name = name
        self.fence = 0
        self.token: LockToken | None = None
        self.session = session
        self.task_id: str | None = None
        self.worker_id: str | None = None
        self._release = release
        self._lost = False

    def __repr__(self) -> str:
        return f"<Lock {self.name!r} fence={self.fence}{'' if self.is_held else ', not held'}>"

    @property
    def is_held(self) -> bool:
        """Whether this client still holds the lock."""
        return not self._lost and self.session.is_open

    def lose(self) -> None:
        """Mark the lock as lost."""
        self._lost = True

    def release(self) -> None:
        """Release the lock."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.release()


class Locks:
    """The locks of one client.

    *seconds_since_event* returns how long ago the last event of a lock came, if any did.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        sender_id: str,
        broadcast: Callable[[Event], object],
        seconds_since_event: Callable[[str], float | None],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._sender_id = sender_id
        self._broadcast = broadcast
        self._seconds_since_event = seconds_since_event
        self._clock = clock
        self._held: dict[str, RabbitMQLock] = {}
        self._missing_since: dict[str, float] = {}

    # --- from any thread ------------------------------------------------------------

    def acquire(
        self, layout: Layout, name: str, task_id: str | None, worker_id: str | None
    ) -> RabbitMQLock | None:
        """Take the lock *name*, or return `None` when somebody has it."""
        _check(name)
        lock = self._connection.run(
            lambda session: self._acquire(session, layout, name), again=False
        )
        if lock is not None:
            lock.task_id, lock.worker_id = task_id, worker_id
            self._tell("lock_acquired", lock)
        return lock

    def release(self, lock: RabbitMQLock) -> None:
        """Release *lock*, if it is still held."""
        if lock.is_held:
            with contextlib.suppress(ConnectionLost):  # then it is free already
                self._connection.run(lambda _session: self._free(lock), again=False)
            self._tell("lock_released", lock)

    def force_release(self, layout: Layout, name: str) -> bool:
        """Take the lock *name* away from its holder; returns whether there was one."""
        _check(name)
        mine = self._held.get(name)
        if mine is not None and mine.is_held:
            mine.release()
            return True
        had = self._take_from_holder(name)
        try:
            if layout.has_lock_tokens and self._connection.run(
                lambda session: lock_tokens.is_missing(session, name)
            ):
                self._connection.run(lambda session: lock_tokens.put(session, name), again=False)
                had = True
        finally:
            self._connection.run(lambda session: session.free_name(_queue(name)), again=False)
        if had:
            self._broadcast(LockEvent(kind="lock_released", sender_id=self._sender_id, lock=name))
        return had

    def _take_from_holder(self, name: str) -> bool:
        """Take the lock's queue, after a command to its holder; returns whether there was one."""

        def take() -> bool:
            return self._connection.run(lambda session: session.take_name(_queue(name)))

        if take():
            return False
        self._broadcast(
            Command(
                kind="tasktools_command",
                sender_id=self._sender_id,
                target=None,
                action="release_lock",
                params={"lock": name},
            )
        )
        deadline = time.monotonic() + self._connection.timeout
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            if take():
                return True
        raise BrokerTimeout(
            f"The holder of lock {name!r} did not release it within "
            f"{self._connection.timeout:g} s; it keeps the lock. It is free at once when that "
            "process ends or its connection is closed."
        )

    def handle_command(self, event: Event) -> None:
        """Release a lock by an operator's command (a listener, which does not wait)."""
        match event:
            case Command(action="release_lock", params={"lock": str(name)}):
                lock = self._held.get(name)
                if lock is not None and lock.is_held:
                    self._connection.start(self._free(lock))

    def _tell(self, kind: LockEventKind, lock: RabbitMQLock) -> None:
        event = LockEvent(
            kind=kind,
            sender_id=self._sender_id,
            lock=lock.name,
            task_id=lock.task_id,
            locked_by=lock.worker_id,
            acquired_at=self._clock.time(),
        )
        with contextlib.suppress(BrokerError):  # the lock does not depend on being spoken of
            self._broadcast(event)

    # --- on the loop of the connection ----------------------------------------------

    async def _acquire(self, session: Session, layout: Layout, name: str) -> RabbitMQLock | None:
        await session.publisher()  # before anything is made: an alarm would leave it half made
        if not await session.take_name(_queue(name)):
            return None
        lock = RabbitMQLock(name, session, self.release)
        try:
            if layout.has_lock_tokens:
                lock.token = await self._token(session, lock)
                if lock.token is None:
                    await session.free_name(_queue(name))
                    return None
            lock.fence = await SharedValue(f"fence.{layout.name}").change(
                session, lambda value: value
            )
        except BaseException:
            with contextlib.suppress(BrokerError):
                await self._free(lock)
            raise
        self._held[name] = lock
        return lock

    async def _token(self, session: Session, lock: RabbitMQLock) -> LockToken | None:
        now = self._clock.monotonic()  # a clock that is set must not take locks away
        since = self._missing_since.get(lock.name, now)
        silence = self._seconds_since_event(lock.name)
        if silence is not None:
            since = max(since, now - silence)
        abandoned = now - since >= _HOLDER_DEAD_SECONDS

        def lost() -> None:
            if lock.is_held:
                self._connection.start(self._free(lock))

        token = await LockToken.take(session, lock.name, make=abandoned, lost=lost)
        if token is None:
            self._missing_since.setdefault(lock.name, now)
        else:
            self._missing_since.pop(lock.name, None)
        return token

    async def _free(self, lock: RabbitMQLock) -> None:
        lock.lose()
        if self._held.get(lock.name) is lock:
            del self._held[lock.name]
        if lock.token is not None:
            await lock.token.give_back()
        await lock.session.free_name(_queue(lock.name))


def _queue(name: str) -> str:
    return f"{LOCKS}{name}"


def _check(name: str) -> None:
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        raise ValueError(
            f"{name!r} cannot be the name of a lock: it has 1 to {_MAX_NAME_BYTES} bytes."
        )
