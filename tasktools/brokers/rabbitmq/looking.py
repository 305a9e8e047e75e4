"""Messages on RabbitMQ as operators handle them: looks, taps, and queues to work through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tasktools.brokers.base import Look, Overhear, Receive, changes
from tasktools.brokers.rabbitmq import look, overhearing, tap, tap_reader, translate
from tasktools.brokers.rabbitmq.client import Client
from tasktools.brokers.rabbitmq.connection import Connection
from tasktools.brokers.rabbitmq.mover import RabbitMQMover
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.brokers.rabbitmq.seen import as_look
from tasktools.brokers.seen import Seen
from tasktools.brokers.tapping import ReceiveTapped
from tasktools.core import peek, taps
from tasktools.core.peek import Verdict

_GIVING_BACK: Final = 60.0  # seconds that it may take until all that a look held is ready again
_LONGEST_READ: Final = 86_400.0  # seconds; one that gets nothing more ends long before


class Looking(Client):
    """The part of the broker that shows messages, and moves those that were chosen."""

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        peek.check_limit(limit)
        return peek.judge(self._facts.of_queue(queue, self._version()))

    def peek(
        self,
        queue: str,
        limit: int | None = None,
        *,
        receive: Receive | None = None,
        force: bool = False,
    ) -> Look:
        verdict = self.look_verdict(queue, limit)
        peek.check(verdict, read_only=self._read_only, force=force)
        seen = Seen(self._functions, receive)

        def show(raw: RawProperties, body: bytes, redelivered: bool) -> bool:  # noqa: FBT001
            return seen.show(translate.properties_in(raw), body, redelivered=redelivered)

        taken = self._looking.run(
            lambda session: look.look(session, verdict, limit, show),
            timeout=look.TIMEOUT + _GIVING_BACK,
            again=False,
        )
        if taken.deliveries is not None:
            self._facts.saw_deliveries(queue, taken.deliveries)
        return as_look(verdict, taken, seen.messages)

    @changes
    def overhear(
        self, receive: Overhear, missed: Callable[[], object] = lambda: None
    ) -> Callable[[], None]:
        connection = Connection(self._dsn, purpose="overhearing", timeout=self._timeout)
        try:
            connection.run(overhearing.Overhearing(connection, self.layout, receive, missed).begin)
        except BaseException:
            connection.close()
            raise
        self._extra.append(connection)
        return connection.close

    @changes
    def tap(self, name: str, *, max_age: float, max_bytes: int) -> bool:
        arguments, layout = taps.arguments(name, max_age, max_bytes), self.layout
        return self._main.run(lambda session: tap.declare(session, layout, name, arguments))

    @changes
    def untap(self, name: str, *, delete: bool = False) -> bool:
        taps.check_name(name)
        layout = self.layout
        return self._main.run(
            lambda session: tap.remove(session, layout, name, delete=delete), again=False
        )

    def read_tap(
        self,
        name: str,
        receive: ReceiveTapped,
        *,
        since: float | None = None,
        until: float | None = None,
        offset: int = 0,
    ) -> None:
        taps.check_name(name)
        self._main.check_open()
        # What is read fills its connection, and others may read meanwhile.
        connection = Connection(self._dsn, purpose="tap", timeout=self._timeout)
        self._extra.append(connection)
        try:
            connection.run(
                lambda _session: tap_reader.read(
                    connection, name, receive, since=since, until=until, offset=offset
                ),
                timeout=_LONGEST_READ,
                again=False,
            )
        finally:
            self._extra.remove(connection)
            connection.close()

    @changes
    def mover(self, queue: str, *, force: bool = False) -> RabbitMQMover:
        def verdict() -> Verdict:
            found = self.look_verdict(queue, 1)
            peek.check(found, read_only=False, force=force)
            return found

        verdict()
        return RabbitMQMover(self._dsn, queue, verdict, timeout=self._timeout)
