"""The mover of the memory broker (`brokers.mover`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Self

from tasktools.brokers.memory.deliveries import Deliveries
from tasktools.brokers.memory.locks import LockRequest
from tasktools.brokers.memory.server import MemoryServer
from tasktools.brokers.mover import Ending, Moved, RawMessage, Sending, Transfer
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.errors import QueueInUse
from tasktools.core.models import PublishResult

_BATCH_MESSAGES: Final = 500
_POLL_SECONDS: Final = 0.01  # after which an allowance of 0 is asked for again


class MemoryMover:
    """A queue that a client has locked among users of tasktools."""

    user = None
    obstacle: str | None = None

    def __init__(
        self, server: MemoryServer, deliveries: Deliveries, holder: object, queue: str
    ) -> None:
        self.queue = queue
        self._server = server
        self._deliveries = deliveries
        with server.now():
            server.exchanges.queue(queue)
            held = server.locks.take(LockRequest(name=f"tasktools.run.{queue}"), holder)
        if held is None:
            raise QueueInUse(
                f"Another run of tasktools is working on {queue!r}; nothing was changed. Wait "
                "until it has ended."
            )
        self._lock = held

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the queue."""
        with self._server.now():
            if self._lock.is_held:
                self._server.locks.free(self._lock)

    def work(self, transfer: Transfer, *, largest: int = 0) -> Moved:
        """Pass through the queue once."""
        del largest  # what is held is in memory anyhow
        expected, seen = self._server.depth(self.queue), 0
        ending: Ending = "done"
        left: list[str] = []
        taken: deque[tuple[Sending, str]] = deque()
        try:
            while not (transfer.is_done or transfer.is_cancelled):
                claimed = self._deliveries.take(self.queue) if seen < expected else None
                if claimed is None:
                    ending = "end of queue"
                    break
                seen += 1
                delivery_id, message, redelivered = claimed
                left.append(delivery_id)
                raw = amqp_properties.encode(message.properties)
                sending = transfer.take(RawMessage(message.body, raw, redelivered))
                if sending is not None:
                    left.pop()
                    taken.append((sending, delivery_id))
                if len(taken) >= _BATCH_MESSAGES:
                    self._send(transfer, taken, left)
            while taken and not transfer.is_cancelled:
                self._send(transfer, taken, left)
        finally:
            for delivery_id in (*left, *(delivery_id for _, delivery_id in taken)):
                self._deliveries.give_back(delivery_id)
            transfer.returned([sending for sending, _ in taken])
        return Moved(ending=ending, seen=seen)

    def _send(self, transfer: Transfer, taken: deque[tuple[Sending, str]], left: list[str]) -> None:
        """Send as many as may be sent now; *left* are the messages that stay in the queue."""
        batch = [taken.popleft() for _ in range(min(_allowance(transfer), len(taken)))]
        try:
            transfer.sending([sending for sending, _ in batch])
        except BaseException:
            taken.extendleft(reversed(batch))
            raise
        try:
            answers = [(sending, self._publish(sending)) for sending, _ in batch]
            transfer.answered(answers)
            transfer.write()
        except BaseException:
            left += [delivery_id for _, delivery_id in batch]
            raise
        settled = []
        for (sending, delivery_id), (_, result) in zip(batch, answers, strict=True):
            if result == "confirmed":
                self._deliveries.ack(delivery_id)
                settled.append(sending)
            else:
                left.append(delivery_id)
        transfer.settled(settled)

    def put(self, transfer: Transfer, sendings: Iterable[Sending]) -> None:
        """Publish *sendings*, whose original messages are in no queue."""
        coming = iter(sendings)
        while not transfer.is_cancelled:
            batch = list(islice(coming, _allowance(transfer)))
            if not batch:
                break
            transfer.sending(batch)
            transfer.answered([(sending, self._publish(sending)) for sending in batch])
            transfer.write()

    def _publish(self, sending: Sending) -> PublishResult:
        if sending.queue is None:
            return "confirmed"
        properties = amqp_properties.decode(sending.properties)
        return self._server.publish("", sending.queue, sending.body, properties)


def _allowance(transfer: Transfer) -> int:
    """Return how many messages may be sent: at least one, unless the run is cancelled."""
    while not (allowed := min(transfer.allowance(), _BATCH_MESSAGES)) and not transfer.is_cancelled:
        time.sleep(_POLL_SECONDS)
    return allowed
