"""The workers that read a queue, and whether they can read a message."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import x_death
from tasktools.core.dialects import peer_form, registry
from tasktools.core.dialects.dialect import Dialect, is_message_of_others, message_of
from tasktools.core.dialects.fastpluggy import FASTPLUGGY
from tasktools.core.errors import BrokerError
from tasktools.core.known_workers import LATE_AFTER, ONE_HEARTBEAT
from tasktools.core.models import Worker
from tasktools.core.plans import Planned
from tasktools.core.tasks import codec
from tasktools.core.workload import is_live

_FOR_EVER: Final = FASTPLUGGY.fate
NO_TASK: Final = f"it is no task, and {_FOR_EVER}"
_NO_CONSUMER: Final = (
    "nobody consumes {!r}, so it is not known whether a later consumer can read the message"
)

Audience = Literal["ours", "strangers", "nobody", "unknown"]
"""The consumers of a queue. `ours`: workers of tasktools alone, or none as it is for dead letters.
`strangers`: consumers of which none sends heartbeats. `nobody`: none, and no known worker.
`unknown`: any of these, or peers."""


class Readers:
    """The workers that may take messages from queues of *broker*, asked once for each queue.

    A worker of tasktools dead-letters messages that it cannot read; a worker of fastpluggy takes
    them again and again, and shows by heartbeats that it is there. A queue whose readers are not
    known may be read by peers. A message of another dialect is for consumers that send no
    heartbeats, and may go back into the queue in which it died while that queue has no consumer.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._audiences: dict[str, Audience] = {}
        self._dialects: dict[str, Dialect] = {}
        self._queues_for_others: dict[tuple[str, str], Audience] = {}

    def problem(self, queue: str, body: bytes, properties: bytes) -> str | None:
        """Return why a message must not be put into *queue*; `None` if nothing is against it."""
        dialect = self._dialect_of(queue)
        if not dialect.takes_again:
            task = codec.decode(body, amqp_properties.decode(properties), dialect)
            return None if task.unreadable is None else f"{dialect.fate}: {task.unreadable}"
        unreadable = self._unreadable(body)
        if unreadable is None or self._audience(queue) == "ours":
            return None
        decoded = amqp_properties.decode(properties)
        of_others = codec.decode(body, decoded).unreadable
        if is_message_of_others(of_others):
            died = x_death.parse(decoded.headers)
            died_there = bool(died) and died[0].queue == queue
            return self.problem_of_others(queue, of_others, died_there=died_there)
        return f"{_FOR_EVER}: {unreadable}"

    def problem_of_row(
        self,
        queue: str,
        *,
        dialect: str | None,
        problem: str | None,
        unreadable: str | None,
        died: bool,
    ) -> str | None:
        """Return the problem for a message of a frame, as far as its columns show; the run checks
        again with the body.

        *died* is the queue in which the message died, which its row does not name.
        """
        reader = self._dialect_of(queue)
        own = None if dialect is None else registry.find(dialect)
        if own is not None and not reader.reads(own):
            if reader.takes_again:
                return self.problem_of_others(queue, message_of(own), died_there=died)
            return f"{reader.fate}: {message_of(own)}"
        if not reader.takes_again:
            is_readable = reader.has_the_rest or is_message_of_others(unreadable)  # not for reader
            why = None if is_readable else unreadable
            return None if why is None else f"{reader.fate}: {why}"
        if problem is not None:
            return f"{NO_TASK} ({problem})"
        return self._problem_of_unreadable(queue, unreadable)

    def _problem_of_unreadable(self, queue: str, unreadable: str | None) -> str | None:
        """Return why a message that workers of fastpluggy cannot read must not be put into *queue*;
        `None` if nothing is against it.

        Workers of the layout `taskworker` can read such messages.
        """
        if unreadable is None or not self._is_fastpluggy or self._audience(queue) == "ours":
            return None
        return f"{_FOR_EVER}: {unreadable}"

    def problem_of_others(self, queue: str, of_others: str, *, died_there: bool) -> str | None:
        """Return the problem for a message of another dialect, which *of_others* determines."""
        audience = self._audience(queue)
        if (
            audience in ("strangers", "nobody")
            and (queue, of_others) not in self._queues_for_others
        ):
            self._listen()
            audience = self._audiences[queue] = self._find_audience(queue)
        if audience == "unknown":
            return f"{_FOR_EVER}: {of_others}"
        if audience == "nobody" and not died_there:
            return f"{_NO_CONSUMER.format(queue)}: {of_others}"
        self._queues_for_others[queue, of_others] = audience
        return None

    def notes(self) -> Iterator[str]:
        """Yield into which queues messages of other dialects may be put, and why."""
        for (queue, of_others), audience in self._queues_for_others.items():
            messages = of_others.replace("it is a message", "messages")
            if audience == "strangers":
                yield (
                    f"{messages} are sent to {queue!r} as they are: it has consumers, and "
                    "no worker that sends heartbeats takes it"
                )
            elif audience == "nobody":
                yield (
                    f"{messages} go back into {queue!r} if they died there: it has no "
                    "consumer, and no worker that sends heartbeats takes it"
                )

    def notes_of_skipped(self, rows: Sequence[Planned]) -> Iterator[str]:
        """Yield notes on how to send the *rows* that are skipped because possibly no worker can
        read them."""
        reasons = (
            _FOR_EVER,
            NO_TASK,
            *(each.fate for each in self._dialects.values()),
            *(_NO_CONSUMER.format(queue) for queue in self._audiences),
        )
        count = sum(row.skipped is not None and row.skipped.startswith(reasons) for row in rows)
        if count:
            yield (
                f"{count:,} of {len(rows):,} messages are not sent (skipped says why); to send "
                "them anyway, make the plan with undecodable=True (on the command line "
                "--undecodable)"
            )

    def _dialect_of(self, queue: str) -> Dialect:
        """Return the dialect of the workers of *queue*: the layout's, which is strict, if one of
        the layout's workers may consume it; there are none where its exchanges do not exist."""
        if queue not in self._dialects:
            dialect = self._broker.dialect_of(queue)
            spoken = self._broker.dialects
            is_layout_used = not spoken[-1].has_the_rest
            if not dialect.takes_again and is_layout_used and self._audience(queue) == "unknown":
                dialect = spoken[0]
            self._dialects[queue] = dialect
        return self._dialects[queue]

    @property
    def _is_fastpluggy(self) -> bool:
        return self._broker.layout.requires_peer_form

    def _unreadable(self, body: bytes) -> str | None:
        if self._is_fastpluggy:
            return peer_form.problem(body)
        return peer_form.envelope_problem(body)

    def _audience(self, queue: str) -> Audience:
        if queue not in self._audiences:
            self._audiences[queue] = self._find_audience(queue)
        return self._audiences[queue]

    def _listen(self) -> None:
        """Wait until events were received for long enough to know every live worker: on a busy
        machine a peer's heartbeats come seconds late."""
        since = self._broker.cluster_state().listening_since
        if since is not None:
            heard_for = (datetime.now(UTC) - since).total_seconds()
            time.sleep(min(max(LATE_AFTER - heard_for, 0.0), LATE_AFTER))

    def _find_audience(self, queue: str) -> Audience:
        if self._broker.homes_of(queue):
            return "ours"
        try:
            state = self._broker.cluster_state(settle=ONE_HEARTBEAT)
            report = self._broker.topic_report([queue])
        except BrokerError:
            return "unknown"
        consumers = next((stats.consumers for stats in report.topics), None)
        if not state.events.ok or consumers is None:
            return "unknown"
        workers = [worker for worker in state.workers if worker.dialect is None]
        readers = [worker for worker in workers if is_live(worker) and _subscribes(worker, queue)]
        if not readers:
            if not state.settled or any(_subscribes(w, queue) for w in workers):
                return "unknown"  # a worker that fell silent may still be there, or come back
            return "strangers" if consumers else "nobody"
        is_ours = all(worker.is_tasktools for worker in readers) and consumers <= len(readers)
        return "ours" if is_ours else "unknown"


def _subscribes(worker: Worker, queue: str) -> bool:
    return queue in worker.topics or "*" in worker.topics
