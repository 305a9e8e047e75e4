"""The connections of one client: three over AMQP, more for single jobs, and the HTTP API."""

from __future__ import annotations

import contextlib
from typing import Literal

from tasktools.brokers.rabbitmq.connection.connection import Connection
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.management import Management


class Connections:
    """All connections to *dsn*, of which each opens when it is first used.

    `main` is for publishing, deliveries and queries, `events` for worker events. `looks` is for
    looks at queues: all other answers on it would wait behind the messages of a long look.
    `management` is the HTTP API. *timeout*: seconds of a call for which no other limit is set.
    """

    def __init__(
        self, dsn: DSN, management_url: str | Literal[False] | None, *, timeout: float
    ) -> None:
        self._dsn = dsn
        self._timeout = timeout
        self.management = Management(dsn, management_url, timeout)  # first, since it checks its URL
        self.main = self._new("main")
        self.events = self._new("events")
        self.looks = self._new("looks")
        self._extra: list[Connection] = []

    def _new(self, purpose: str) -> Connection:
        return Connection(self._dsn, purpose=purpose, timeout=self._timeout)

    def another(self, purpose: str) -> Connection:
        """Return one more connection, for one job; `release` closes it."""
        connection = self._new(purpose)
        self._extra.append(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Close a connection from `another`. Idempotent."""
        with contextlib.suppress(ValueError):  # closed before
            self._extra.remove(connection)
        connection.close()

    def close(self) -> None:
        """Close all connections. Idempotent."""
        for connection in (*self._extra, self.looks, self.events, self.main):
            connection.close()
        self.management.close()
