"""Working through a queue: take, publish, confirm, acknowledge; pipelined (`brokers.moving`).

AMQP cannot skip: to reach a message one must hold all those before it (`holding`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Self, TypeVar

import pika

from tasktools.brokers.moving import (
    LONGEST_HOLD,
    WINDOW,
    Ending,
    Moved,
    RawMessage,
    Sending,
    Transfer,
)
from tasktools.brokers.rabbitmq import topology
from tasktools.brokers.rabbitmq.connection import Connection, Session
from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.holding import HeldChannel, Holding
from tasktools.brokers.rabbitmq.publisher import Outcome, Publisher
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core.errors import QueueInUse, QueueNotFound
from tasktools.core.peek import Verdict

_BATCH: Final = 500  # messages that are worth a write to the ledger
_AT_ONCE: Final = 200  # messages written between two looks at the socket
_TICK: Final = 0.01  # seconds after which fewer are
_IDLE: Final = 1.0  # seconds without a delivery after which the queue is asked for more

_SILENCE: Final = 30.0  # seconds for which answers are waited for
_LAST_ANSWERS: Final = 30.0  # seconds for which the last confirms are waited for

T = TypeVar("T")
R = TypeVar("R")
Place = tuple[HeldChannel, int]
Answer = tuple[Sending, Place | None, Outcome]


class RabbitMQMover:
    """A queue that is ours among users of tasktools; it has a connection of its own.

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
        """Give the queue up."""
        self._connection.close()

    def work(self, transfer: Transfer, *, largest: int = 0) -> Moved:
        """Pass through the queue once."""
        verdict = self._verdict()

        async def work(session: Session) -> Moved:
            ok = await topology.queue_ok(session, self.queue)
            if ok is None:
                raise QueueNotFound(f"There is no queue {self.queue!r}; nothing was changed.")
            holding = Holding(session, verdict, ready=ok.ready, largest=largest)
            return await _Pass(session, transfer).through(holding, ok.ready)

        return self._run(work)

    def put(self, transfer: Transfer, sendings: Iterable[Sending]) -> None:
        """Publish what comes from elsewhere."""
        self._run(lambda session: _Pass(session, transfer).of(sendings))

    def _run(self, work: Callable[[Session], Awaitable[T]]) -> T:
        async def alone(session: Session) -> T:
            await self._take_queue(session)
            return await work(session)

        return self._connection.start(self._connection.once(alone)).result()

    async def _take_queue(self, session: Session) -> None:
        digest = hashlib.blake2b(self.queue.encode(), digest_size=8).hexdigest()
        name = f"tasktools.run.{digest}"  # a queue's own name may be as long as a name can be
        if not session.has_name(name) and not await session.take_name(name):
            raise QueueInUse(
                f"Another run of tasktools is working on {self.queue!r}; nothing was changed. Wait "
                "until it has ended, or end that process: its connection holds the queue."
            )


class _Pass:
    """One pass with a transfer, on the connection's loop."""

    def __init__(self, session: Session, transfer: Transfer) -> None:
        self._session = session
        self._transfer = transfer
        self._holding: Holding | None = None
        self._publisher: Publisher | None = None
        self._taken: deque[tuple[Sending, Place | None]] = deque()
        self._answers: list[Answer] = []
        self._in_flight = 0
        self._heard = 0.0  # when the last answer came, or something was sent after all were there
        self._expected = 0
        self._seen = 0
        self._is_taking = True
        self._error: Exception | None = None
        self._news = asyncio.Event()

    async def through(self, holding: Holding, expected: int) -> Moved:
        """Work through the first *expected* messages of a queue."""
        self._holding, self._expected = holding, expected
        deadline = _now() + LONGEST_HOLD
        ending: Ending = "done"
        try:
            await holding.consume(self._receive)
            ending = await self._take_all(holding, deadline)
            self._is_taking = False
            await holding.stop()
            while self._taken and not self._is_over:
                await self._turn()
                if _now() > deadline:
                    ending = "held too long"
                    break
        finally:
            await self._end()
            self._call(self._transfer.settled, await holding.give_back())
        if self._error is not None:
            raise self._error
        return Moved(ending=ending, seen=self._seen, note=holding.note)

    async def _take_all(self, holding: Holding, deadline: float) -> Ending:
        """Return when the transfer wants no more, or gets no more."""
        heard, before = _now(), 0
        while not (self._transfer.is_done or self._is_over):
            if self._seen >= self._expected:
                return "end of queue"
            await self._turn()
            now = _now()
            if self._seen != before or self._taken or self._in_flight:
                heard, before = now, self._seen
            if now - heard > _IDLE:  # a broker that has much to do may be slow
                if not await holding.has_more():
                    return "end of queue"
                heard = now
            if now > deadline:
                return "held too long"
            if holding.is_full:
                await holding.consume(self._receive)
        return "done"

    async def of(self, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*."""
        try:
            coming = iter(sendings)
            while not self._is_over:
                room = _BATCH - len(self._taken)
                self._taken += ((sending, None) for sending in itertools.islice(coming, room))
                if not self._taken and not self._in_flight:
                    break
                await self._turn()
        finally:
            await self._end()
        if self._error is not None:
            raise self._error

    # --- in callbacks ---------------------------------------------------------------

    def _receive(
        self,
        held: HeldChannel,
        tag: int,
        properties: pika.BasicProperties,
        body: bytes,
        redelivered: bool,  # noqa: FBT001 - a callback
    ) -> None:
        held.keep_if_at_limit(tag, properties, body)
        sending = None
        if self._is_taking and self._seen < self._expected and not self._transfer.is_done:
            self._seen += 1
            message = RawMessage(body, properties.raw, redelivered)
            sending = self._call(self._transfer.take, message)
        if sending is None:
            held.leave(tag)
            return
        held.take(tag)
        self._taken.append((sending, (held, tag)))
        if len(self._taken) >= _BATCH and self._in_flight < WINDOW:
            self._news.set()

    def _answered(self, sending: Sending, place: Place | None, outcome: Outcome) -> None:
        self._in_flight -= 1
        self._heard = _now()
        self._answers.append((sending, place, outcome))
        if len(self._answers) >= _BATCH or not self._in_flight:
            self._news.set()

    # --- turns ----------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._error is not None or self._transfer.is_cancelled

    async def _turn(self) -> None:
        """Wait for something to do, and do it.

        Each write to the ledger waits for the disk, which RabbitMQ needs as well: so few messages
        are let wait for more, as long as more come.
        """
        before = self._seen, len(self._answers)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _TICK)
        self._news.clear()
        if self._is_silent:
            await self._session.abort()
        if not self._session.is_open:
            raise self._session.translate(ConnectionError())
        is_quiet = before == (self._seen, len(self._answers))
        answers = []
        if is_quiet or len(self._answers) >= _BATCH or not self._in_flight:
            answers = self._note()
        ready = min(len(self._taken), WINDOW - self._in_flight)
        try:
            if ready and not self._is_over and (is_quiet or ready >= _BATCH):
                await self._send()  # first: RabbitMQ confirms many at once, and then waits for more
        finally:
            self._acknowledge(answers)

    @property
    def _is_silent(self) -> bool:
        """Whether RabbitMQ owes us answers that will not come: 3.10 forgets a connection that it
        had made wait for a quorum queue, when that queue is deleted."""
        waited = self._in_flight and _now() - self._heard > _SILENCE
        return bool(waited) and self._session.blocked is None

    async def _send(self) -> None:
        room = min(self._transfer.allowance(), WINDOW - self._in_flight, len(self._taken))
        if room <= 0:
            return
        batch = [self._taken.popleft() for _ in range(room)]
        publisher = await self._publishing()
        self._call(self._transfer.sending, [sending for sending, _ in batch])
        if self._error is not None:
            self._taken.extendleft(reversed(batch))
            return
        if not self._in_flight:
            self._heard = _now()
        for n, (sending, place) in enumerate(batch, start=1):
            self._in_flight += 1
            answered = functools.partial(self._answered, sending, place)
            if sending.queue is None:
                answered("confirmed")
            elif not publisher.is_open:
                answered("in doubt")
            else:
                properties = RawProperties(sending.properties)
                publisher.send("", sending.queue, sending.body, properties, answered)
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)  # out they go

    async def _publishing(self) -> Publisher:
        """Return the publisher, once it is known that we may publish at all."""
        if self._publisher is None:
            self._publisher = await self._session.publisher()
            nowhere = "tasktools.no-such-name"
            said = await self._publisher.publish("", nowhere, b"", pika.BasicProperties())
            if said != "unroutable":
                raise self._publisher.closed_by or self._session.translate(ConnectionError())
        if not self._publisher.is_open:
            raise self._publisher.closed_by or self._session.translate(ConnectionError())
        return self._publisher

    def _note(self) -> list[Answer]:
        """Have the answers that came noted, to be written with what is sent next."""
        answers, self._answers = self._answers, []
        if answers:
            self._call(self._transfer.answered, [(sending, said) for sending, _, said in answers])
        return answers

    def _acknowledge(self, answers: Sequence[Answer]) -> None:
        """Have *answers* written, and then acknowledge what they allow."""
        if answers:
            self._call(lambda _: self._transfer.write(), None)
        if self._error is None:
            for sending, place, said in answers:
                if place is None:
                    continue
                held, tag = place
                if said == "confirmed":
                    held.done(tag, sending)
                elif held.channel.is_open:
                    held.leave(tag)
        if self._holding is not None:
            self._holding.acknowledge()
            self._call(self._transfer.settled, self._holding.settled())

    async def _end(self) -> None:
        """Leave what was not sent, and wait for the answers to what was."""
        self._is_taking = False
        unsent, self._taken = self._taken, deque()
        for _, place in unsent:
            if place is not None:
                place[0].leave(place[1])
        self._call(self._transfer.returned, [sending for sending, _ in unsent])
        deadline = _now() + _LAST_ANSWERS
        while self._in_flight and self._session.is_open and _now() < deadline:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _TICK)
            self._news.clear()
            self._acknowledge(self._note())
        self._acknowledge(self._note())

    def _call(self, method: Callable[[T], R], argument: T) -> R | None:
        """Call the transfer; what it raises is raised once everything is given back."""
        try:
            return method(argument)
        except Exception as error:  # noqa: BLE001
            self._error = self._error or error
            self._is_taking = False
            return None


def _now() -> float:
    return asyncio.get_running_loop().time()
