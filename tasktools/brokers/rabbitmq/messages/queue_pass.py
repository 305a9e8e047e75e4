"""One pass through a queue, or the publishing of stored messages into one: take, publish, confirm,
acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec
import pika
from msgspec import structs

from tasktools.brokers.mover import (
    MAX_HOLD_SECONDS,
    WINDOW,
    Ending,
    Moved,
    RawMessage,
    Sending,
    Transfer,
)
from tasktools.brokers.rabbitmq.connection.connection import Session
from tasktools.brokers.rabbitmq.connection.pika_border import Refused
from tasktools.brokers.rabbitmq.connection.publisher import Outcome, Publisher
from tasktools.brokers.rabbitmq.connection.publishing_connection import PublishingConnection
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.brokers.rabbitmq.messages.held_messages import HeldChannel, HeldMessages
from tasktools.core.errors import PublishingBlocked, QueueInUse

_BATCH_MESSAGES: Final = 500  # messages that are worth a write to the ledger
_TURN_MESSAGES: Final = 200  # written before the loop runs once
_TURN_SECONDS: Final = 0.01  # after which fewer are
_IDLE_SECONDS: Final = 1.0  # without a delivery, after which the queue is asked for more
_FIRST_SECONDS: Final = 10.0  # without the first delivery, after which the queue is not for us
_MAX_PROBE_BYTES: Final = 2**20
_LAST_ANSWERS_SECONDS: Final = 30.0  # for which the last confirms are waited for
_CANCEL_SECONDS: Final = 2.0  # for which a cancelled run waits for confirms during an alarm

T = TypeVar("T")
R = TypeVar("R")


class _TakenMessage(msgspec.Struct, gc=False):
    """A message taken from the queue: the action for it, where it is held, and its outcome. Exempt
    from garbage collection, which would cost a tenth of the time."""

    sending: Sending
    by: QueuePass
    held: HeldChannel | None = None
    tag: int = 0
    outcome: Outcome = "in doubt"
    publisher: Publisher | None = None

    def __call__(self, outcome: Outcome) -> None:
        """Note the outcome (a `Publisher` calls this)."""
        self.outcome = outcome
        if outcome != "confirmed" and self.publisher is not None:
            self.sending = structs.replace(self.sending, reason=self.publisher.reason)
        self.by.answered(self)


class QueuePass:
    """One pass through a queue with a transfer, on the connection's loop."""

    silence_seconds: float = 30.0
    """Seconds without an answer after which the connection is cut."""

    def __init__(self, session: Session, transfer: Transfer) -> None:
        self._session = session
        self._transfer = transfer
        self._held: HeldMessages | None = None
        self._publisher: Publisher | None = None
        self._outgoing: PublishingConnection | None = None
        self._taken: deque[_TakenMessage] = deque()
        self._answers: list[_TakenMessage] = []
        self._in_flight = 0
        self._is_alone = False  # what is in flight: no other message joins it
        self._give_back_at = _now() + MAX_HOLD_SECONDS
        # Time of the last answer, or of the first message sent when no answer was due.
        self._answered_at = 0.0
        self._expected = 0
        self._seen = 0
        self._is_taking = True
        self._error: Exception | None = None
        self._news = asyncio.Event()

    async def through(self, holding: HeldMessages, expected: int) -> Moved:
        """Work through the first *expected* messages of a queue."""
        self._held, self._expected = holding, expected
        if holding.longest_hold is not None:
            self._give_back_at = min(self._give_back_at, _now() + holding.longest_hold)
        deadline = self._give_back_at
        ending: Ending = "done"
        try:
            await holding.consume(self._receive)
            ending = await self._take_all(holding, deadline)
            self._is_taking = False
            await holding.stop()
            while self._taken and not self._is_over:
                await self._turn()
                if _now() > deadline or holding.is_taken_back:
                    ending = "held too long"
                    break
        finally:
            await self._end()
            self._call(self._transfer.settled, await holding.give_back())
        if self._error is not None:
            raise self._error
        return Moved(ending=ending, seen=self._seen, note=holding.note)

    async def _take_all(self, holding: HeldMessages, deadline: float) -> Ending:
        """Return when the transfer wants no more, or gets no more."""
        began = last_event_at = _now()
        before = 0
        while not (self._transfer.is_done or self._is_over):
            if self._seen >= self._expected:
                return "end of queue"
            await self._turn()
            now = _now()
            if self._seen != before or self._taken or self._in_flight:
                last_event_at, before = now, self._seen
            if now - last_event_at > _IDLE_SECONDS:  # a broker that has much to do may be slow
                if not await holding.has_more():
                    return "end of queue"
                last_event_at = now
                if not self._seen and now - began > _FIRST_SECONDS:
                    raise QueueInUse(
                        f"Messages are ready in {holding.queue!r}, but none came for "
                        f"{_FIRST_SECONDS:.0f} s: an exclusive or single active consumer gets "
                        "them, or the broker is overloaded. Nothing was changed; end that consumer "
                        "first."
                    )
            if now > deadline or holding.is_taken_back:
                return "held too long"
            if holding.is_full:
                await holding.consume(self._receive)
        return "done"

    async def of(self, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*."""
        try:
            coming = iter(sendings)
            while not self._is_over:
                room = _BATCH_MESSAGES - len(self._taken)
                self._taken += (
                    _TakenMessage(sending, self) for sending in itertools.islice(coming, room)
                )
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
        self._taken.append(_TakenMessage(sending, self, held, tag))
        if len(self._taken) >= _BATCH_MESSAGES and self._in_flight < WINDOW:
            self._news.set()

    def answered(self, taken: _TakenMessage) -> None:
        """Queue an answer for the next turn."""
        self._in_flight -= 1
        self._is_alone = self._is_alone and self._in_flight > 0
        self._answered_at = _now()
        self._answers.append(taken)
        if len(self._answers) >= _BATCH_MESSAGES or not self._in_flight:
            self._news.set()

    # --- turns ----------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._error is not None or self._transfer.is_cancelled

    async def _turn(self) -> None:
        """Wait for something to do, and do it.

        Each write to the ledger waits for the disk, which RabbitMQ needs as well. So a small batch
        waits for more messages as long as more come.
        """
        before = self._seen, len(self._answers)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _TURN_SECONDS)
        self._news.clear()
        if self._is_silent:
            await self._abort()
        if not self._session.is_open or not (self._outgoing is None or self._outgoing.is_open):
            raise self._session.loss()
        is_quiet = before == (self._seen, len(self._answers))
        answers = []
        if is_quiet or len(self._answers) >= _BATCH_MESSAGES or not self._in_flight:
            answers = self._note()
        ready = min(len(self._taken), WINDOW - self._in_flight)
        try:
            if ready and not self._is_over and (is_quiet or ready >= _BATCH_MESSAGES):
                await self._send()  # first: RabbitMQ confirms many at once, and then waits for more
        finally:
            self._acknowledge(answers)

    @property
    def _is_silent(self) -> bool:
        """Whether RabbitMQ will never answer: when a quorum queue is deleted, 3.10 forgets a
        connection that waits for it."""
        waited = self._in_flight and _now() - self._answered_at > self.silence_seconds
        return bool(waited) and not self._is_blocked

    @property
    def _is_blocked(self) -> bool:
        """Whether an alarm keeps the broker from reading what we publish."""
        return self._outgoing is not None and self._outgoing.blocked is not None

    async def _abort(self) -> None:
        """Cut the publishing connection; messages in flight end in doubt."""
        if self._outgoing is not None and self._outgoing.is_open:
            await self._outgoing.abort()

    async def _next_batch(self) -> tuple[Publisher | None, list[_TakenMessage]]:
        """Remove the messages to be sent now from those taken; return them with their publisher.

        Where the batch needs no publish, or an alarm leaves it empty, the publisher is `None`.
        """
        room = min(self._transfer.allowance(), WINDOW - self._in_flight, len(self._taken))
        room = max(room, 0)
        publisher: Publisher | None = None
        if any(taken.sending.queue is not None for taken in itertools.islice(self._taken, room)):
            try:
                publisher = await self._publishing()
            except PublishingBlocked:  # they are held, and sent once the alarm is over
                return None, []
            room = self._joining(publisher, room)
        return publisher, [self._taken.popleft() for _ in range(room)]

    async def _send(self) -> None:
        publisher, batch = await self._next_batch()
        if not batch:
            return
        self._call(self._transfer.sending, [taken.sending for taken in batch])
        if self._error is not None:
            self._taken.extendleft(reversed(batch))
            return
        if not self._in_flight:
            self._answered_at = _now()
        for n, taken in enumerate(batch, start=1):
            self._in_flight += 1
            sending = taken.sending
            if sending.queue is None:
                taken("confirmed")
            elif publisher is None or not publisher.is_open:
                taken("in doubt")
            else:
                taken.publisher = publisher
                properties = RawProperties(sending.properties)
                publisher.send("", sending.queue, sending.body, properties, taken)
            if n % _TURN_MESSAGES == 0:
                await asyncio.sleep(0)  # out they go

    def _joining(self, publisher: Publisher, room: int) -> int:
        """Return how many of the first *room* messages taken may join those in flight; a message
        that RabbitMQ might refuse with an error goes alone (`publisher`)."""
        if self._is_alone:
            return 0
        for n, taken in enumerate(itertools.islice(self._taken, room)):
            sending = taken.sending
            if sending.queue is None:
                continue
            joins = publisher.may_join("", sending.queue, len(sending.body))
            if sending.alone or not joins:
                self._is_alone = n == 0 and not self._in_flight
                return 1 if self._is_alone else n
        return room

    async def _publishing(self) -> Publisher:
        """Return the publisher, once it is known that we may publish at all."""
        if self._publisher is not None and self._outgoing is not None and self._publisher.is_open:
            self._outgoing.check()
            return self._publisher
        outgoing = self._outgoing = await self._session.outgoing()
        publisher = await outgoing.unproven_publisher()
        if self._publisher is None:
            largest = max(len(taken.sending.body) for taken in self._taken)
            # Nobody gets it, and what RabbitMQ says to it is true of all that are no larger.
            answer = await _publish_nowhere(outgoing, publisher, min(largest, _MAX_PROBE_BYTES))
            if answer == "refused" and isinstance(publisher.closed_by, Refused):
                publisher = await outgoing.unproven_publisher()
                answer = await _publish_nowhere(outgoing, publisher, 0)
            if answer != "unroutable":
                raise publisher.closed_by or self._session.loss()
        self._publisher = publisher
        return self._publisher

    def _note(self) -> list[_TakenMessage]:
        """Pass new answers to the transfer, which writes them together with the next batch to be
        sent."""
        answers, self._answers = self._answers, []
        if answers:
            outcomes = [(taken.sending, taken.outcome) for taken in answers]
            self._call(self._transfer.answered, outcomes)
        return answers

    def _acknowledge(self, answers: Sequence[_TakenMessage]) -> None:
        """Let the transfer write *answers*, then acknowledge the confirmed originals."""
        if answers:
            self._call(lambda _: self._transfer.write(), None)
        if self._error is None:
            for taken in answers:
                if taken.held is None:
                    continue
                if taken.outcome == "confirmed":
                    taken.held.done(taken.tag, taken.sending)
                elif taken.held.channel.is_open:
                    taken.held.leave(taken.tag)
        if self._held is not None:
            self._held.acknowledge()
            self._call(self._transfer.settled, self._held.settled())

    async def _end(self) -> None:
        """Leave the unsent messages in the queue, and wait for the answers to the sent ones."""
        self._is_taking = False
        unsent, self._taken = self._taken, deque()
        for taken in unsent:
            if taken.held is not None:
                taken.held.leave(taken.tag)
        self._call(self._transfer.returned, [taken.sending for taken in unsent])
        deadline = _now() + _LAST_ANSWERS_SECONDS
        while self._in_flight and self._session.is_open and _now() < deadline:
            if self._is_blocked:
                deadline = await self._wait_for_alarm(deadline)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _TURN_SECONDS)
            self._news.clear()
            self._acknowledge(self._note())
        self._acknowledge(self._note())

    async def _wait_for_alarm(self, deadline: float) -> float:
        """Return until when to wait for answers during an alarm. After a cancel that is
        `_CANCEL_SECONDS` at most; messages in flight are then in doubt."""
        if _now() > self._give_back_at:
            await self._abort()
        if self._transfer.is_cancelled:
            self._give_back_at = min(self._give_back_at, _now() + _CANCEL_SECONDS)
        return max(deadline, min(self._give_back_at, _now()) + _LAST_ANSWERS_SECONDS)

    def _call(self, method: Callable[[T], R], argument: T) -> R | None:
        """Call the transfer; an exception of the transfer is raised once all messages are given
        back."""
        try:
            return method(argument)
        except Exception as error:  # noqa: BLE001
            self._error = self._error or error
            self._is_taking = False
            return None


async def _publish_nowhere(
    outgoing: PublishingConnection, publisher: Publisher, size: int
) -> Outcome:
    """Publish *size* bytes that reach no queue. Raises `PublishingBlocked`."""
    ping = publisher.publish("", "tasktools.no-such-name", bytes(size), pika.BasicProperties())
    return await outgoing.unless_blocked(asyncio.ensure_future(ping))


def _now() -> float:
    return asyncio.get_running_loop().time()
