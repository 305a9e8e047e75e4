"""Opening and closing of pika connections on a running event loop, within a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from typing import Any, Final

import pika

from tasktools.brokers.rabbitmq.connection import pika_border
from tasktools.brokers.rabbitmq.connection.channel import fail, resolve
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.raw_connection import RawConnection
from tasktools.core.errors import BrokerError

THREADS: Final = "tasktools-rabbitmq"
"""Prefix of the names of our threads."""
_NAME: Final = "tasktools"  # how the names of our connections begin
_CLOSE_SECONDS: Final = 2.0


def _is_not_ours(_record: logging.LogRecord) -> bool:
    return not threading.current_thread().name.startswith(THREADS)


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


async def open_connection(dsn: DSN, purpose: str, limit: float) -> RawConnection:
    """Return an open connection, called after its *purpose*, within *limit* seconds."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    raw = RawConnection(
        _parameters(dsn, purpose, limit),
        on_open_callback=lambda _: resolve(opened, None),
        on_open_error_callback=lambda _, error: fail(opened, pika_border.connect_error(error, dsn)),
        custom_ioloop=loop,
    )
    try:
        # Not cancelled with us: pika leaks its socket when an attempt is cut short.
        async with asyncio.timeout(limit):
            await asyncio.shield(opened)
    except TimeoutError:
        opened.cancel()
        if not (raw.is_closing or raw.is_closed):
            raw.close()
        raise pika_border.connect_error(TimeoutError(), dsn) from None
    except asyncio.CancelledError:
        with contextlib.suppress(BrokerError, TimeoutError):
            await asyncio.wait_for(opened, limit)
            await close_connection(raw)
        raise
    return raw


async def close_connection(raw: RawConnection, *, at_once: bool = False) -> None:
    """Close *raw* and wait until it is closed; *at_once* sends nothing to the broker, which may not
    answer."""
    if not raw.is_open:
        return
    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    raw.add_on_close_callback(lambda *_: resolve(closed, None))
    if at_once:
        raw.abort()
    else:
        raw.close()
    try:
        await asyncio.wait_for(closed, _CLOSE_SECONDS)
    except TimeoutError:
        if not raw.is_closed:
            raw.abort()


def is_resolving(task: asyncio.Task[Any]) -> bool:
    """Whether *task* is pika's lookup of a host's address. pika does not notice that a lookup was
    cancelled, and its attempt to connect would never end."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is asyncio.BaseEventLoop.getaddrinfo.__code__


def _parameters(dsn: DSN, purpose: str, limit: float) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        host=dsn.host,
        port=dsn.port,
        virtual_host=dsn.vhost,
        credentials=pika.PlainCredentials(dsn.user, dsn.password, erase_on_connect=True),
        ssl_options=pika.SSLOptions(dsn.tls_context(), dsn.host) if dsn.tls else None,
        heartbeat=dsn.heartbeat,
        channel_max=dsn.channel_max,
        frame_max=dsn.frame_max,
        socket_timeout=limit,
        stack_timeout=2 * limit,  # ours comes first: pika's own ends in an assertion
        client_properties={
            "product": "tasktools",
            "connection_name": f"{_NAME} {purpose} {_process()}",
        },
    )


def is_of_this_process(connection_name: str) -> bool:
    """Whether a connection with this name, given by its client, is of this process."""
    return connection_name.startswith(f"{_NAME} ") and connection_name.endswith(f" {_process()}")


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
