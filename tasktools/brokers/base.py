"""The contract of a broker, in prose, which every backend keeps.

`tasktools.testing.BrokerConformance` holds one test for each sentence here that two
readers could understand differently.

Shared rules
------------
* A *topic* ``T`` is a queue named ``T`` and a dead-letter queue ``T.dead``. A topic exists
  when its queue exists.
* A broker object is a *client*: two of them on the same cluster see the same queues, and
  what one claimed comes back to the queue (redelivered) when it closes or dies.
* All methods may be called from any thread. Each returns within the broker's timeout or
  raises `BrokerTimeout`; a lost connection raises `ConnectionLost`, and the next call
  connects again.
* Methods marked with `@changes` raise `ReadOnly`, before anything is sent, on a broker
  opened with ``read_only=True``. This is the only place where that is decided.
* After `close()` every method raises `Closed`; closing twice is fine.
* Nothing is ever unpickled, and no body is ever altered on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from tasktools.brokers.mover import Mover
from tasktools.brokers.queries import DocumentNames
from tasktools.brokers.server import Server
from tasktools.brokers.taps import Taps
from tasktools.brokers.topics_by_dialect import TopicsByDialect
from tasktools.core.events import Event
from tasktools.core.models import (
    BrokerIdentity,
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResults,
    QueueType,
    SeenMessage,
    TopicReport,
    TopicSettings,
)
from tasktools.core.peek_verdict import Verdict
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.tasks.compose import Composer


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Abilities that only some backends have; the suite skips the tests of missing ones."""

    quorum_queues: bool
    """Queues of type quorum can be created, with delivery limits."""
    streams: bool
    """The broker can keep what is published, to be read again (`Taps`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The messages that a look at a queue showed, its cost, and the counts before and after.

    `ready_before` and `ready_after` count the messages ready in the queue; they differ only if
    another client used the queue meanwhile. `note` says why they differ, else it is `None`.
    """

    queue: str
    verdict: Verdict
    messages: tuple[SeenMessage, ...]
    ready_before: int
    ready_after: int
    note: str | None = None


Overhear = Callable[[str, bytes, bytes], object]
"""Receives the topic of each published message, its properties as AMQP encodes them, and its
body."""

Receive = Callable[[SeenMessage, bytes], object]
"""Receives each message of a look, and its body; returns `True` to end the look."""


class Consumer(Protocol):
    """A subscription to one topic, whose deliveries are pushed; made by `Queues.consume`."""

    @property
    def topic(self) -> str:
        """The topic that is consumed."""

    @property
    def problem(self) -> str | None:
        """Why nothing can come at present, in words (no connection, the queue was deleted);
        `None` while it consumes or waits for a permit."""

    def adjust(self, *, prefetch: int, limit: int | None) -> None:
        """Change how many deliveries may be unsettled, from the next delivery on."""

    def cancel(self) -> None:
        """Stop consuming: nothing is received after this returns. Idempotent.

        This client keeps received deliveries, and the permits for them, until they are settled.
        """


class HeldLock(Protocol):
    """A lock that this client holds, from `Locks.acquire_lock`. A context manager; its truth value
    is always true."""

    @property
    def name(self) -> str:
        """The name of the lock."""

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier holder of any lock of this cluster.

        A protected resource can refuse writes with a lower number than it has seen before: no lock
        can prevent that a holder which was cut off believes for a moment that it still holds the
        lock.
        """

    @property
    def is_held(self) -> bool:
        """Whether this client still holds the lock: no release, and its connection not lost."""

    def release(self) -> None:
        """Release the lock. Idempotent, also when it is lost already."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Queues(Protocol):
    """Methods that publish messages, deliver them, and look at them."""

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        ttl: float | None = None,
        delay: float = 0.0,
    ) -> str:
        """Publish one task and return its message id, once the broker has confirmed it.

        Creates the topic when it does not exist. *payload* is completed for the layout
        (`tasktools.core.tasks.compose`); one that would send a peer into its requeue loop raises
        `InvalidTask` or `UnknownTask` and is not sent. *headers* go into the body. *priority* is
        AMQP's, 0 to 255, and obeyed by queues that have priorities. A message that is not delivered
        within *ttl* seconds expires: it is dead-lettered. The message is queued after *delay*
        seconds (rounded to two digits); *ttl* with *delay* is an `InvalidTask`. Raises
        `Unroutable`, `PublishRefused`, or `ConnectionLost` when it is in doubt whether the message
        was queued.
        """

    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> PublishResults:
        """Publish encoded *messages* in order, pipelined; one result for each, same order.

        Does not raise for a single message; its result is one of: `unroutable` (no such queue),
        `refused` (nacked, or by an error: it is certainly not queued), `in doubt` (the connection
        was lost before the confirm came), `not sent` (before it). An error concerns one message;
        the others are sent. `reasons` of the results has the broker's reason for each message that
        was not taken. *progress* is called with the number of messages settled since its last call.
        Does not create topics. A message with a `delay` is confirmed when it is parked. Raises only
        if the broker cannot be reached, or refuses this user; then nothing was sent.
        """

    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        """Take the next message of *topic* now, or `None` when none is ready.

        ``"*"`` is any topic of `known_topics` that exists, in turn. On a topic that does not exist,
        or when none of ``"*"`` does: `QueueNotFound`. A body that is no task is delivered, too,
        with `task.problem` set; the caller decides. To work through a queue, use `consume` instead
        of polling.
        """

    def consume(
        self,
        topic: str,
        receive: Callable[[Delivery], object],
        *,
        prefetch: int,
        limit: int | None = None,
    ) -> Consumer:
        """Call *receive* with each message of *topic* as it comes, until cancelled or closed.

        At most *prefetch* deliveries are unsettled at any time. With *limit*, at most *limit*
        deliveries of this topic are unsettled in the whole cluster, counting all consumers with a
        limit: each holds a permit for every delivery, and a permit is free at once when its holder
        dies. (The one exception: a holder that is cut off from the broker continues until it
        notices.) A *limit* of 0 pauses. Consumers whose limit was lowered keep within it from their
        next delivery on.

        *receive* runs in a thread of the backend's and must return quickly; of this contract it may
        call `ack` only. An exception of *receive* is logged, and the delivery stays unsettled.
        Raises `QueueNotFound`. Later problems do not raise: `problem` has the reason, and the
        consumer continues by itself. Deliveries from before a lost connection are delivered again,
        to any consumer; settling them raises `UnknownDelivery`.
        """

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery as done: the message is gone.

        Raises `UnknownDelivery` if this client does not hold the delivery. Does not wait; if the
        connection is lost before the broker gets the ack, the message is delivered again.
        """

    def nack(
        self,
        delivery_id: str,
        *,
        requeue: bool = True,
        delay: float = 0.0,
        count_attempt: bool = True,
    ) -> bool:
        """Give a delivery back. `UnknownDelivery` if this client does not hold it (any more).

        ``requeue=True, count_attempt=True`` publishes the body again with `attempts` raised by one,
        at the end of the queue, and then settles the original (publish before ack: a crash between
        the two doubles, never loses). A body that is no task cannot be counted and goes back as
        with ``count_attempt=False``: to its old place, marked redelivered. With a *delay* in
        seconds it is published so that it is queued after that time. ``requeue=False`` dead-letters
        it, when the queue has dead-letter arguments; without them RabbitMQ would drop the message,
        so this raises `WouldBeLost`, and the client keeps the delivery.

        Returns whether a *delay* was honoured: true if there was one and it is queued later,
        false if there was none to honour (and for dead letters).
        """

    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        """Put a delivery into the dead-letter queue together with its *failure*, and settle it.

        The body is unchanged; *failure* goes into AMQP headers
        (`tasktools.core.amqp.failure_headers`). Publishes to ``T.dead``, which is created if
        missing, and settles the original only when that is confirmed. With *retention* in seconds
        it expires there. Whether the queue has dead-letter arguments does not matter. Raises
        `PublishRefused` or `ConnectionLost`; the client then keeps the delivery, or it is delivered
        again.
        """

    def count_begin(self, topic: str, task: str) -> int:
        """Count that *task* of *topic* begins; returns how often it began before.

        The count outlives this process and, where messages do, the broker's. A worker counts
        redelivered tasks, to find those that end its process.
        """

    def forget_begins(self, topic: str, task: str) -> None:
        """Reset the count of *task*, because it has ended. Idempotent."""

    def purge(self, queue: str) -> int:
        """Delete all ready messages of *queue*; returns how many. `QueueNotFound`."""

    def queue_facts(self, queue: str) -> QueueFacts:
        """Return the facts that decide what happens to the messages of *queue*; touches nothing.
        Raises `QueueNotFound`."""

    def look_verdict(self, queue: str, limit: int | None = None) -> Verdict:
        """Say what a look at up to *limit* messages of *queue* would cost; touches nothing."""

    def peek(
        self,
        queue: str,
        limit: int | None = None,
        *,
        receive: Receive | None = None,
        force: bool = False,
    ) -> Look:
        """Show the messages of *queue* from its head and give them back, in their order.

        All that are ready, or the first *limit* (at least 1, else `ValueError`). With *receive*,
        each message and its body are passed on as they come, and not kept: `Look.messages` is
        empty. *receive* runs in a thread of the backend and must return quickly; `True` ends the
        look. An exception of *receive* ends the look, and is raised once all messages are given
        back.

        A look takes at most five minutes, and at most five seconds where others consume; messages
        that did not come by then, or expired meanwhile, are counted in `Look.note`. Raises
        `LookRefused` when the verdict is `could drop` (unless *force*), or is not `harmless` on a
        read-only broker, and where more are wanted than can be held in order; `QueueNotFound` when
        there is no such queue.
        """

    def overhear(
        self, receive: Overhear, missed: Callable[[], object] = lambda: None
    ) -> Callable[[], None]:
        """Call *receive* with a copy of each message published to the task exchange from now on;
        returns a function to stop. `@changes`: it takes nothing away, but it costs.

        While this lasts, each message is routed twice, and messages that no topic takes are
        confirmed: their publishers do not learn that they were unroutable. Messages sent to a queue
        by its name (replays) do not pass the exchange. *receive* runs in a thread of the backend
        and must return quickly; an exception of *receive* is logged. When it cannot keep up, or
        while the connection is lost, messages are missed; *missed* is called when some were or may
        have been, in the same thread.
        """

    def mover(self, queue: str, *, force: bool = False) -> Mover:
        """Lock *queue* to move messages out of it (`brokers.mover`); `@changes`.

        Raises `QueueNotFound`, `QueueInUse`, and `LookRefused` when holding its messages could drop
        one, or where an exclusive or single active consumer excludes others (unless *force*), as in
        `look_verdict`.
        """


class Topics(Protocol):
    """Methods that create, configure, describe and delete topics."""

    def ensure_topic(self, topic: str) -> None:
        """Create the missing parts of *topic*; existing ones are used unchanged. Idempotent.

        A new topic is announced to all workers by a `config_update` with its settings, so that
        workers that consume every topic find it.
        """

    def create_topic(
        self,
        topic: str,
        *,
        queue_type: QueueType = "classic",
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create *topic* with settings that cannot be changed later.

        *max_priority* (1 to 255) gives a classic queue priorities; quorum queues have their own.
        Messages expire *message_ttl* seconds after they were queued. The dead-letter queue is
        classic. A new topic is announced as by `ensure_topic`. Does nothing if the topic exists
        with exactly these settings; with others it raises `TopicConflict`, which names the
        difference, and the queue is not changed. Raises `InvalidTopic` for settings that no queue
        can have.
        """

    def delete_topic(self, topic: str, *, force: bool = False) -> int:
        """Delete the queue of *topic*, its dead-letter queue, and its settings; returns how many
        messages were deleted with them. `@changes`.

        Without *force* only empty queues are deleted: `TopicInUse` if either queue has messages,
        ready or unacknowledged, or consumers; then nothing is deleted. A message that arrives
        during the deletion is not lost either, except one sent to a quorum queue by its name; it is
        in the returned number. Raises `QueueNotFound` when there is neither queue,
        `QueueUnavailable` where its messages cannot be counted, and `InvalidTopic` for a
        dead-letter queue or a queue of a program.
        """

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic's queue exists."""

    def queue_exists(self, queue: str) -> bool:
        """Whether a queue of this name exists, of any kind; true also for one that cannot be used
        now."""

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        """Return statistics of *topics* and of every topic that the broker itself can list."""

    def known_topics(self) -> frozenset[str]:
        """Return every topic that can be known: topics that the broker can list, that workers name
        in events, that have settings, or that this client has ensured, and always ``default``.

        Dead-letter queues and private queues of programs are never topics. Over AMQP alone, a queue
        that was never named cannot be found.
        """

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        """Return the settings that were made with `configure_topic`, by topic.

        The broker stores the settings, which outlive every process.
        """

    def configure_topic(self, topic: str, settings: TopicSettings) -> None:
        """Store *settings* for *topic*, and send them to all workers (`config_update`).

        Replaces all earlier settings of the topic; concurrent calls for different topics do not
        lose each other's. Raises `InvalidTopic` for values below 0.
        """


class Workers(Protocol):
    """Methods that send and receive worker events."""

    def broadcast(self, *events: Event) -> None:
        """Send *events*, in order, to all subscribers of the worker exchange, this client too."""

    def command(
        self, action: str, workers: Collection[str], params: Mapping[str, Any], *, wait: float
    ) -> Mapping[str, str | None]:
        """Send *action* to *workers*; return for each worker that replied within *wait* s why it
        refused, or `None`."""

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        """Call *callback* with every event from now on, also our own; returns a function to stop.

        *callback* runs in a thread of the backend and must return quickly; an exception of
        *callback* is logged. With ``tasks=False`` task events of tasktools workers may be left out,
        so that a worker need not process those of all other workers.
        """

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        """Return the state of the cluster, up to the last event that the broker holds for this
        client now.

        The first call subscribes and asks `who_is_alive`. Waits up to *settle* seconds, counted
        from the subscription, until a node has listed the workers and each of them has sent an
        event itself (reports of other nodes are up to a heartbeat old). When the events lag behind
        or cannot be received, `events.ok` is false and `events.note` says why.
        """


class Locks(Protocol):
    """Exclusive locks, across processes and hosts."""

    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> HeldLock | None:
        """Take the lock *name*, or return `None` at once when it is held.

        It is held until released, for hours if need be, and free at once when its holder closes,
        dies, or loses its connection. A second call for a lock that this client holds returns
        `None` as well. Announced to all clients as `lock_acquired` with *task_id* and *worker_id*.
        """

    def force_release_lock(self, name: str) -> bool:
        """Take the lock *name* away from its holder; returns whether there was one.

        The old holder may continue to use the protected resource; its lock has ``is_held == False``
        from then on. Raises `BrokerTimeout` if the holder is a client of tasktools and does not
        release the lock.
        """


class Broker(
    Queues, Taps, Topics, TopicsByDialect, Workers, Locks, Server, DocumentNames, Protocol
):
    """A client of one cluster."""

    capabilities: Capabilities

    @property
    def composer(self) -> Composer:
        """Builds messages for this cluster, and knows the functions seen on it."""

    @property
    def note(self) -> str | None:
        """A note for operators about the cluster as a whole, or `None`."""

    @property
    def read_only(self) -> bool:
        """Whether methods that change the cluster are refused."""

    def check_writable(self, action: str) -> None:
        """Raise `ReadOnly`, naming the refused *action*, if nothing may be changed."""

    @property
    def address(self) -> str:
        """The address of the broker, for people; never with a password."""

    @property
    def identity(self) -> BrokerIdentity | None:
        """The identity of the cluster and the vhost, independent of address and user; `None` if the
        server does not report it. May connect."""

    @property
    def server_version(self) -> str | None:
        """Version of the server; `None` when the backend has none."""

    @property
    def demo(self) -> bool:
        """Whether the data is simulated."""

    def connect(self) -> None:
        """Connect now and find the layout, so that errors show at once. Idempotent.

        Declares nothing and changes nothing. Other methods connect by themselves when needed.
        """

    def setup(self) -> None:
        """Connect, and declare the exchanges that are missing. Idempotent; `@changes`."""

    def close(self) -> None:
        """Requeue unsettled deliveries, release locks, and disconnect. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
