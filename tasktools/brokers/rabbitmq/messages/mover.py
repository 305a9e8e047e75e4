"""The mover of RabbitMQ (`brokers.mover`): take, publish, confirm, acknowledge; pipelined.

AMQP cannot skip: to reach a message one must hold all those before it (`held_messages`).
"""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Self, TypeVar

from tasktools.brokers.mover import Moved, Sending, Transfer
from tasktools.brokers.rabbitmq.connection.connection import Connection, Session
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.messages.held_messages import HeldMessages
from tasktools.brokers.rabbitmq.messages.queue_pass import QueuePass
from tasktools.brokers.rabbitmq.queues import topology
from tasktools.core.errors import Closed, QueueInUse, QueueNotFound
from tasktools.core.peek_verdict import Verdict

T = TypeVar("T")


class RabbitMQMover:
    """A queue that this run has locked against other users of tasktools.

    The mover has a connection of its own.

    *verdict* says what holding messages of the queue costs.
    """

    def __init__(
        self, dsn: DSN, queue: str, verdict: Callable[[], Verdict], *, timeout: float
    ) -> None:
        self.queue = queue
        self.user = dsn.user
        self._verdict = verdict
        self._connection = Connection(dsn, purpose="moving", timeout=timeout)
        try:
            self._connection.run(self._take_queue)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the queue."""
        self._connection.close()

    @property
    def obstacle(self) -> str | None:
        """The reason why nothing can be sent now: an alarm of the broker; else `None`."""
        blocked = self._connection.blocked
        return None if blocked is None else str(blocked)

    def work(self, transfer: Transfer, *, largest: int = 0) -> Moved:
        """Pass through the queue once."""
        verdict = self._verdict()

        async def work(session: Session) -> Moved:
            ok = await topology.queue_ok(session, self.queue)
            if ok is None:
                raise QueueNotFound(f"There is no queue {self.queue!r}; nothing was changed.")
            holding = HeldMessages(session, verdict, ready=ok.ready, largest=largest)
            return await QueuePass(session, transfer).through(holding, ok.ready)

        return self._run(work)

    def put(self, transfer: Transfer, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*, whose original messages are in no queue."""
        self._run(lambda session: QueuePass(session, transfer).of(sendings))

    def _run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        async def alone(session: Session) -> T:
            await self._take_queue(session)
            return await work(session)

        try:
            return self._connection.start(self._connection.once(alone)).result()
        except concurrent.futures.CancelledError:
            raise Closed from None

    async def _take_queue(self, session: Session) -> None:
        digest = hashlib.blake2b(self.queue.encode(), digest_size=8).hexdigest()
        name = f"tasktools.run.{digest}"  # a queue's own name may be as long as a name can be
        if not session.has_name(name) and not await session.take_name(name):
            raise QueueInUse(
                f"Another run of tasktools is working on {self.queue!r}; nothing was changed. Wait "
                "until it has ended, or end that process: its connection holds the queue."
            )
