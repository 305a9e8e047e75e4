"""One thread owns one pika connection; everybody else hands it coroutines.

A `Session` is one live connection, used only on the thread's event loop. `Connection.run`
gives the caller's coroutine a session, connecting when there is none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import os
import random
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import pika

from tasktools.brokers.rabbitmq import translate
from tasktools.brokers.rabbitmq.channel import Channel, fail, resolve
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.frames import RawConnection
from tasktools.brokers.rabbitmq.publisher import Publisher
from tasktools.core.errors import BrokerError, BrokerTimeout, Closed, ConnectionLost, Unreachable

T = TypeVar("T")

_HEARTBEAT: Final = 20
_LOCKED: Final = 405  # RESOURCE_LOCKED: another connection's exclusive queue
_THREADS: Final = "tasktools-rabbitmq"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


def _whoami() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(_THREADS)


# pika warns of every refusal, which here is an answer ("there is no such queue") or becomes an
# error of ours; what it logs for others in this process is left alone.
for _name in (
    "channel",
    "connection",
    "adapters.base_connection",
    "adapters.utils.connection_workflow",
    "adapters.utils.io_services_utils",
):
    logging.getLogger(f"pika.{_name}").addFilter(_is_not_ours)


class Session:
    """One live connection. All methods belong to the loop of its thread."""

    def __init__(self, raw: RawConnection, dsn: DSN) -> None:
        self.blocked: str | None = None
        self._raw = raw
        self._dsn = dsn
        self._asking = asyncio.Lock()
        self._ask: Channel | None = None
        self._publishing = asyncio.Lock()
        self._publisher: Publisher | None = None
        self._names: set[str] = set()
        raw.add_on_connection_blocked_callback(self._on_blocked)
        raw.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return bool(self._raw.is_open)

    @property
    def server_version(self) -> str:
        """The server's version, such as ``4.3.6``."""
        properties: dict[str, Any] = self._raw.server_properties or {}
        version = properties.get("version", b"")
        return version.decode() if isinstance(version, bytes) else str(version)

    def _on_blocked(self, _raw: object, method: Any) -> None:
        reason = method.method.reason
        self.blocked = reason.decode() if isinstance(reason, bytes) else str(reason)

    def _on_unblocked(self, _raw: object, _method: object) -> None:
        self.blocked = None

    def translate(self, error: BaseException) -> BrokerError:
        """Return why a channel was closed, in our own terms."""
        return translate.channel_error(error, self._dsn)

    async def channel(self) -> Channel:
        """Open a channel of the caller's own."""
        if not self.is_open:
            raise self.translate(ConnectionError())
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        raw = self._raw.channel(on_open_callback=lambda _: resolve(opened, None))
        channel = Channel(raw, self.translate)
        channel.on_close = functools.partial(fail, opened)
        await opened
        channel.on_close = None
        return channel

    @contextlib.asynccontextmanager
    async def own_channel(self) -> AsyncIterator[Channel]:
        """Give a channel of its own for one piece of work, and close it afterwards."""
        channel = await self.channel()
        try:
            yield channel
        finally:
            await channel.close()

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Channel]:
        """Give the channel for questions, which a refusal may close; one user at a time."""
        async with self._asking:
            if self._ask is None or not self._ask.is_open:
                self._ask = await self.channel()
            yield self._ask

    async def publisher(self) -> Publisher:
        """Return the confirming publisher of this connection."""
        async with self._publishing:
            if self._publisher is None or not self._publisher.is_open:
                self._publisher = await Publisher.on(await self.channel())
            return self._publisher

    def has_name(self, name: str) -> bool:
        """Whether *name* was taken, by us and on this connection."""
        return name in self._names

    async def take_name(self, name: str) -> bool:
        """Take *name* as an exclusive queue; false when somebody has it, we ourselves included.

        It is ours until we free it, and free within milliseconds of our end. RabbitMQ logs each
        refusal as an error.
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
            if isinstance(error, translate.Refused) and error.code == _LOCKED:
                return False
            raise
        return True

    async def free_name(self, name: str) -> None:
        """Give *name* up, if it is ours."""
        if name in self._names and self.is_open:
            async with self.asking() as channel:
                await channel.call(channel.raw.queue_delete, name)
        self._names.discard(name)

    async def abort(self) -> None:
        """Cut the connection, whose broker no longer answers."""
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._raw.add_on_close_callback(lambda *_: resolve(closed, None))
        self._raw.abort()
        await closed

    async def close(self) -> None:
        """Close the connection, and wait until it is."""
        if not self.is_open:
            return
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._raw.add_on_close_callback(lambda *_: resolve(closed, None))
        self._raw.close()
        await asyncio.wait_for(closed, timeout=2)


class Connection:
    """A thread with an event loop and, on it, at most one session at a time.

    Both begin when they are first needed.
    """

    def __init__(self, dsn: DSN, *, purpose: str, timeout: float) -> None:
        self.timeout = timeout
        self._dsn = dsn
        self._purpose = purpose
        self._session: Session | None = None
        self._connecting: asyncio.Lock | None = None
        self._was_connected = False
        self._closed = False
        self._posted: deque[Callable[[], object]] = deque()
        self._posting = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._serve, name=f"{_THREADS}-{purpose}", daemon=True
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
        future = self.start(self._work(work, limit, again=again))
        try:
            return future.result(limit + 1)
        except concurrent.futures.CancelledError:
            raise Closed from None
        except TimeoutError:
            future.cancel()
            raise self.no_answer(limit) from None

    async def once(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run *work* with a session, without a time limit and never twice (for `start`)."""
        return await work(await self.session())

    @property
    def blocked(self) -> str | None:
        """Why the broker blocks publishers now (a memory or disk alarm), else `None`."""
        session = self._session
        return session.blocked if session is not None and session.is_open else None

    def check_open(self) -> None:
        """Raise `Closed` once it was closed."""
        if self._closed:
            raise Closed

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* run on the loop soon, in the order posted; does not wait."""
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
        self._connecting = self._connecting or asyncio.Lock()
        async with self._connecting:
            if self._session is None or not self._session.is_open:
                self._session = await self._connect_patiently()
                self._was_connected = True
            return self._session

    async def _connect_patiently(self) -> Session:
        """Connect; after a loss keep trying, since a broker that restarts needs seconds."""
        deadline = self._loop.time() + self.timeout * 0.9
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._connect(max(deadline - self._loop.time(), 0.1))
            except Unreachable:
                if not self._was_connected or self._loop.time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _connect(self, limit: float) -> Session:
        opened: asyncio.Future[None] = self._loop.create_future()
        raw = RawConnection(
            self._parameters(limit),
            on_open_callback=lambda _: resolve(opened, None),
            on_open_error_callback=lambda _, error: fail(
                opened, translate.connect_error(error, self._dsn)
            ),
            custom_ioloop=self._loop,
        )
        session = Session(raw, self._dsn)
        try:
            # Not cancelled with us: pika leaks its socket when an attempt is cut short.
            async with asyncio.timeout(limit):
                await asyncio.shield(opened)
        except TimeoutError:
            opened.cancel()
            if not (raw.is_closing or raw.is_closed):
                raw.close()
            raise translate.connect_error(TimeoutError(), self._dsn) from None
        except asyncio.CancelledError:
            with contextlib.suppress(BrokerError, TimeoutError):
                await asyncio.wait_for(opened, limit)
                await session.close()
            raise
        return session

    def _parameters(self, limit: float) -> pika.ConnectionParameters:
        dsn = self._dsn
        return pika.ConnectionParameters(
            host=dsn.host,
            port=dsn.port,
            virtual_host=dsn.vhost,
            credentials=pika.PlainCredentials(dsn.user, dsn.password, erase_on_connect=True),
            ssl_options=pika.SSLOptions(dsn.tls_context(), dsn.host) if dsn.tls else None,
            heartbeat=_HEARTBEAT,
            socket_timeout=limit,
            stack_timeout=2 * limit,  # ours comes first: pika's own ends in an assertion
            client_properties={
                "product": "tasktools",
                "connection_name": f"tasktools {self._purpose} {_whoami()}",
            },
        )

    async def _close(self) -> None:
        self._run_posted()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def no_answer(self, limit: float) -> BrokerTimeout:
        """Return the error for a call that was not answered within *limit* seconds."""
        because = f": it blocks publishers ({self.blocked})" if self.blocked else ""
        return BrokerTimeout(
            f"RabbitMQ at {self._dsn.place} did not answer within {limit:g} s{because}; "
            "the next call tries again."
        )
