"""A connection to RabbitMQ: one thread owns it; other threads pass coroutines to that thread.

A `Session` is one live connection, used only on the thread's event loop. `Connection.run`
gives the caller's coroutine a session, connecting when there is none.

Whatever is published goes over a second connection, which opens at the first publish. While a
memory or disk alarm is on, RabbitMQ reads nothing more from a connection that has published since:
no acknowledgements, no queries, and no request to close it. So no look uses the connection that is
published over.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from tasktools.brokers.rabbitmq.connection import pika_border as translate
from tasktools.brokers.rabbitmq.connection.alarms import Blocked
from tasktools.brokers.rabbitmq.connection.channel import Channel, open_channel
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.opening import (
    THREADS,
    close_connection,
    is_resolving,
    open_connection,
)
from tasktools.brokers.rabbitmq.connection.publisher import Publisher
from tasktools.brokers.rabbitmq.connection.publishing_connection import PublishingConnection
from tasktools.brokers.rabbitmq.connection.raw_connection import RawConnection
from tasktools.core.backoff import Backoff
from tasktools.core.errors import (
    BrokerError,
    BrokerTimeout,
    Closed,
    ConnectionLost,
    PermissionDenied,
    Unreachable,
)

T = TypeVar("T")

_RESOURCE_LOCKED: Final = 405  # another connection's exclusive queue
_NO_PROBE: Final = (
    "The user may not publish to the default exchange, so RabbitMQ does not notify it of alarms"
)
_RETRY_SECONDS: Final = (0.1, 5.0)  # the first pause after a failure, and the longest


class Session:
    """One live connection. All methods belong to the loop of its thread.

    *outgoing* returns the connection that is published over; *timeout* is the time limit of a call.
    """

    def __init__(
        self,
        raw: RawConnection,
        dsn: DSN,
        outgoing: Callable[[], Awaitable[PublishingConnection]],
        timeout: float,
    ) -> None:
        self.queue_timeout = timeout / 2
        """Seconds within which a single queue has to answer; shorter than a call, which may ask
        several."""
        self._raw = raw
        self._dsn = dsn
        self._outgoing = outgoing
        self._asking = asyncio.Lock()
        self._ask: Channel | None = None
        self._names: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether the session's connection is open."""
        return bool(self._raw.is_open)

    @property
    def user(self) -> str:
        """The user that is connected."""
        return self._dsn.user

    @property
    def server_version(self) -> str:
        """The server's version, such as ``4.3.6``."""
        properties: dict[str, Any] = self._raw.server_properties or {}
        version = properties.get("version", b"")
        return version.decode() if isinstance(version, bytes) else str(version)

    @property
    def cluster_name(self) -> str | None:
        """The name that the cluster gives itself; `None` when it gives none."""
        name = (self._raw.server_properties or {}).get("cluster_name")
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        return name if isinstance(name, str) and name else None

    def loss(self) -> BrokerError:
        """Return why the connection is closed, as an error of tasktools."""
        return self.translate(self._raw.loss)

    def translate(self, error: BaseException) -> BrokerError:
        """Return *error*, with which a channel was closed, as an error of tasktools."""
        return translate.channel_error(error, self._dsn)

    async def channel(self) -> Channel:
        """Open a new channel, which the caller closes."""
        return await open_channel(self._raw, self.translate)

    @contextlib.asynccontextmanager
    async def own_channel(self) -> AsyncIterator[Channel]:
        """Open a channel for one piece of work, and close it afterwards."""
        channel = await self.channel()
        try:
            yield channel
        except (TimeoutError, asyncio.CancelledError):
            channel.abandon()  # it may be busy for a minute with a queue that does not answer
            raise
        finally:
            await channel.close()

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Channel]:
        """Lend the shared channel for queries, to one caller at a time; a refused query closes the
        channel.

        A queue that does not answer keeps its channel busy for a minute: a caller that stops
        waiting abandons the channel, and the next query gets a new one.
        """
        async with self._asking:
            if self._ask is None or not self._ask.is_open:
                self._ask = await self.channel()
            channel = self._ask
            try:
                yield channel
            except (TimeoutError, asyncio.CancelledError):
                self._ask = None
                channel.abandon()
                raise

    async def check_answers(self) -> None:
        """Wait until the broker answers on a new channel, which no silent queue can keep busy."""
        async with self.own_channel():
            pass

    async def publisher(self) -> Publisher:
        """Return the confirming publisher. Raises `PublishingBlocked` while an alarm is on."""
        return await (await self._outgoing()).publisher()

    async def outgoing(self) -> PublishingConnection:
        """Return the connection that is published over."""
        return await self._outgoing()

    def has_name(self, name: str) -> bool:
        """Whether this connection has taken *name*."""
        return name in self._names

    async def take_name(self, name: str) -> bool:
        """Take *name* as an exclusive queue; false when any client, this one included, has it.

        This connection has the name until `free_name`, and RabbitMQ frees it within milliseconds of
        the connection's end. RabbitMQ logs each refusal as an error.
        """
        if name in self._names:
            return False
        self._names.add(name)
        try:
            async with self.asking() as channel:
                arguments = {"x-queue-type": "classic"}
                await channel.queue(name, exclusive=True, arguments=arguments)
        except BaseException as error:
            self._names.discard(name)
            if isinstance(error, translate.Refused) and error.code == _RESOURCE_LOCKED:
                return False
            raise
        return True

    async def free_name(self, name: str) -> None:
        """Give *name* up, if this connection has it."""
        try:
            if name in self._names and self.is_open:
                async with self.asking() as channel:
                    await channel.call(channel.raw.queue_delete, name)
        finally:
            self._names.discard(name)

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        await close_connection(self._raw)


class Connection:
    """A thread with an event loop and, on it, at most one session at a time.

    Both begin when they are first needed.
    """

    def __init__(self, dsn: DSN, *, purpose: str, timeout: float) -> None:
        self.timeout = timeout
        self.on_unblocked: Callable[[float], object] = lambda _seconds: None  # set before use
        self._dsn = dsn
        self._purpose = purpose
        self._session: Session | None = None
        self._outgoing: PublishingConnection | None = None
        self._connecting, self._connecting_outgoing = asyncio.Lock(), asyncio.Lock()
        self._was_connected = False
        self._closed = False
        self._posted: deque[Callable[[], object]] = deque()
        self._posting = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._serve, name=f"{THREADS}-{purpose}", daemon=True
        )
        self._starting = threading.Lock()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    # --- for every thread -----------------------------------------------------------

    def run(
        self,
        work: Callable[[Session], Awaitable[T]],
        *,
        timeout: float | None = None,
        again: bool = True,
    ) -> T:
        """Run *work* with a session and return its result.

        Raises `BrokerTimeout` after *timeout* seconds (default: the connection's). With *again*,
        work whose connection is lost is done once more on a new one; leave it off for work
        that must not happen twice.
        """
        limit = self.timeout if timeout is None else timeout
        return self.wait(self._work(work, limit, again=again), limit)

    def wait(self, coroutine: Coroutine[Any, Any, T], limit: float) -> T:
        """Return the result of *coroutine* on the loop, within about *limit* seconds.

        Raises `BrokerTimeout`, and `Closed`.
        """
        future = self.start(coroutine)
        try:
            return future.result(limit + 1)
        except concurrent.futures.CancelledError:
            raise Closed from None
        except BrokerTimeout:
            raise  # it says itself what did not answer, and for how long
        except TimeoutError:
            future.cancel()
            raise self.no_answer(limit) from None

    async def once(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run *work* with a session, without a time limit and never twice (for `start`)."""
        return await work(await self.session())

    @property
    def blocked(self) -> Blocked | None:
        """The reason why the broker blocks publishers now, if it notified this connection; else
        `None`."""
        outgoing = self._outgoing
        return outgoing.blocked if outgoing is not None and outgoing.is_open else None

    def probe(self) -> Blocked | None:
        """Find out whether publishers are blocked, by publishing a message that reaches no queue.

        Raises `BrokerError` where that shows nothing.
        """

        async def ping(session: Session) -> None:
            if (await session.publisher()).idle > self.timeout:
                raise PermissionDenied(_NO_PROBE)

        try:
            self.run(ping)
        except BrokerError:
            if self.blocked is None:
                raise
        return self.blocked

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, after which there is no reconnecting."""
        return self._closed

    def check_open(self) -> None:
        """Raise `Closed` once `close` was called."""
        if self._closed:
            raise Closed

    def post(self, call: Callable[[], object]) -> None:
        """Schedule *call* on the loop, in the order posted, without waiting for it."""
        self.check_open()
        self._posted.append(call)
        if not self._posting:  # one wake-up for all that is posted until the loop turns
            self._posting = True
            with contextlib.suppress(RuntimeError):  # the loop was closed just now
                self._loop.call_soon_threadsafe(self._run_posted)

    def _run_posted(self) -> None:
        self._posting = False  # before the first call: what is posted from now on wakes us again
        while self._posted:
            self._posted.popleft()()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run *coroutine* on the thread's loop; the future holds its result."""
        with self._starting:
            if self._closed:
                coroutine.close()
                raise Closed
            if self._thread.ident is None:
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Close the session, stop the thread and join it. Idempotent."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
            if self._thread.ident is None:
                self._loop.close()
                return
        with contextlib.suppress(TimeoutError):  # no answer: the thread ends all the same
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    # --- on the loop ----------------------------------------------------------------

    async def _work(
        self, work: Callable[[Session], Awaitable[T]], limit: float, *, again: bool
    ) -> T:
        async with asyncio.timeout(limit):
            session = await self.session()
            try:
                return await work(session)
            except ConnectionLost:
                if not again:
                    raise
            return await work(await self.session())

    async def session(self) -> Session:
        """Return the live session, connecting (again) if there is none."""
        async with self._connecting:
            if self._session is None or not self._session.is_open:
                raw = await self._connect_patiently(self._purpose)
                self._session = Session(raw, self._dsn, self.outgoing, self.timeout)
            return self._session

    async def outgoing(self) -> PublishingConnection:
        """Return the live connection that is published over, connecting (again) if need be."""
        async with self._connecting_outgoing:
            if self._outgoing is None or not self._outgoing.is_open:
                raw = await self._connect_patiently(f"{self._purpose} publishing")
                self._outgoing = PublishingConnection(raw, self._dsn, self.on_unblocked)
            return self._outgoing

    async def _connect_patiently(self, purpose: str) -> RawConnection:
        """Connect; after a loss keep trying, since a broker that restarts needs seconds."""
        deadline = self._loop.time() + self.timeout * 0.9
        backoff = Backoff(*_RETRY_SECONDS)
        while True:
            pause = backoff.pause()
            try:
                limit = max(deadline - self._loop.time(), 0.1)
                raw = await open_connection(self._dsn, purpose, limit)
            except Unreachable:
                if not self._was_connected or self._loop.time() + pause >= deadline:
                    raise
            else:
                self._was_connected = True
                return raw
            await asyncio.sleep(pause)

    async def _close(self) -> None:
        self._run_posted()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        others = [task for task in tasks if not is_resolving(task)]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._outgoing is not None:
            await self._outgoing.close()
        if self._session is not None:
            await self._session.close()

    def no_answer(self, limit: float) -> BrokerTimeout:
        """Return the error for a call that was not answered within *limit* seconds."""
        because = f"; {self.blocked}" if self.blocked else ""
        return BrokerTimeout(
            f"RabbitMQ at {self._dsn.place} did not answer within {limit:g} s{because}; "
            "the next call tries again."
        )
