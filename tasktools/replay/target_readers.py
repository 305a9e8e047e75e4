"""The workers that read a queue, and whether they can read a message."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from tasktools.brokers.base import Broker
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import x_death
from tasktools.core.errors import BrokerError
from tasktools.core.known_workers import LATE_AFTER, ONE_HEARTBEAT
from tasktools.core.models import Worker
from tasktools.core.plans import Planned
from tasktools.core.tasks import codec, peer_form
from tasktools.core.workload import is_live

_FOR_EVER: Final = "a worker of the peers would take it again for ever"
NO_TASK: Final = f"it is no task, and {_FOR_EVER}"
_NO_CONSUMER: Final = "nobody consumes {!r}, so whether who will can read it is not known"

Audience = Literal["ours", "strangers", "nobody", "unknown"]
"""The consumers of a queue: workers of tasktools alone, or nobody since it is for dead
letters; consumers of which none sends heartbeats; nobody, and no worker that was heard of; or any
of these, or peers."""


class Readers:
    """The workers that may take messages from queues of *broker*, asked once for each queue.

    A worker of tasktools dead-letters what it cannot read; one of fastpluggy takes it again and
    again, and announces itself by heartbeats. A queue whose readers are not known may be read by
    peers. A message of Celery is for consumers that send no heartbeats, and may go back into the
    queue it died in while nobody reads that.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._audiences: dict[str, Audience] = {}
        self._queues_for_celery: dict[str, Audience] = {}

    def problem(self, queue: str, body: bytes, properties: bytes) -> str | None:
        """Return why a message must not be put into *queue*; `None` if nothing is against it."""
        unreadable = self._unreadable(body)
        if unreadable is None or self._audience(queue) == "ours":
            return None
        decoded = amqp_properties.decode(properties)
        if codec.decode(body, decoded).form == "celery":
            died = x_death.parse(decoded.headers)
            return self.problem_of_celery(queue, died_there=bool(died) and died[0].queue == queue)
        return f"{_FOR_EVER}: {unreadable}"

    def problem_of_row(self, queue: str, unreadable: str | None) -> str | None:
        """Return the same for a message that a frame calls *unreadable* by workers of fastpluggy.

        Those of the document's layout read more; a run, which has the body, decides.
        """
        if unreadable is None or not self._is_fastpluggy or self._audience(queue) == "ours":
            return None
        return f"{_FOR_EVER}: {unreadable}"

    def problem_of_celery(self, queue: str, *, died_there: bool) -> str | None:
        """Return the same for a message of Celery."""
        audience = self._audience(queue)
        if audience in ("strangers", "nobody") and queue not in self._queues_for_celery:
            self._listen()
            audience = self._audiences[queue] = self._find_audience(queue)
        if audience == "unknown":
            return f"{_FOR_EVER}: {codec.OF_CELERY}"
        if audience == "nobody" and not died_there:
            return f"{_NO_CONSUMER.format(queue)}: {codec.OF_CELERY}"
        self._queues_for_celery[queue] = audience
        return None

    def notes(self) -> Iterator[str]:
        """Yield into which queues messages of Celery may be put, and why."""
        for queue, audience in self._queues_for_celery.items():
            if audience == "strangers":
                yield (
                    f"messages of Celery are sent to {queue!r} as they are: it has consumers, and "
                    "no worker that sends heartbeats takes it"
                )
            elif audience == "nobody":
                yield (
                    f"messages of Celery go back into {queue!r} if they died there: it has no "
                    "consumer, and no worker that sends heartbeats takes it"
                )

    def notes_of_skipped(self, rows: Sequence[Planned]) -> Iterator[str]:
        """Yield how those of *rows* can be sent that are skipped since nobody may read them."""
        reasons = (_FOR_EVER, NO_TASK, *(_NO_CONSUMER.format(queue) for queue in self._audiences))
        count = sum(row.skipped is not None and row.skipped.startswith(reasons) for row in rows)
        if count:
            yield (
                f"{count:,} of {len(rows):,} messages are not sent (skipped says why); to send "
                "them all the same, make the plan with undecodable=True (on the command line "
                "--undecodable)"
            )

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
        """Wait until events have been heard for so long that no live worker was silent throughout:
        on a busy machine the heartbeats of a peer come seconds late."""
        since = self._broker.cluster_state().listening_since
        if since is not None:
            heard_for = (datetime.now(UTC) - since).total_seconds()
            time.sleep(min(max(LATE_AFTER - heard_for, 0.0), LATE_AFTER))

    def _find_audience(self, queue: str) -> Audience:
        if self._broker.layout.is_dead_queue(queue):
            return "ours"
        try:
            state = self._broker.cluster_state(settle=ONE_HEARTBEAT)
            report = self._broker.topic_report([queue])
        except BrokerError:
            return "unknown"
        consumers = next((stats.consumers for stats in report.topics), None)
        if not state.events.ok or consumers is None:
            return "unknown"
        readers = [worker for worker in state.workers if _reads(worker, queue)]
        if not readers:
            if not state.settled or any(_subscribes(w, queue) for w in state.workers):
                return "unknown"  # a worker that fell silent may still be there, or come back
            return "strangers" if consumers else "nobody"
        is_ours = all(worker.is_tasktools for worker in readers) and consumers <= len(readers)
        return "ours" if is_ours else "unknown"


def _reads(worker: Worker, queue: str) -> bool:
    return is_live(worker) and _subscribes(worker, queue)


def _subscribes(worker: Worker, queue: str) -> bool:
    return queue in worker.topics or "*" in worker.topics
