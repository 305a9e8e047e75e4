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

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, assert_never

from tasktools.brokers.mover import Mover
from tasktools.brokers.queries import DocumentNames
from tasktools.brokers.server import Server
from tasktools.brokers.taps import Taps
from tasktools.core.errors import ConnectionLost, PublishRefused, ReadOnly, Unroutable
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import (
    BrokerIdentity,
    ClusterState,
    Delivery,
    Failure,
    Outgoing,
    PublishResult,
    PublishResults,
    QueueType,
    SeenMessage,
    TopicReport,
    TopicSettings,
)
from tasktools.core.peek import Verdict
from tasktools.core.queue_facts import QueueFacts
from tasktools.core.tasks.compose import Composer


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The abilities that not every backend has; the suite skips tests that need others."""

    quorum_queues: bool
    """Queues of type quorum can be created, with delivery limits."""
    streams: bool
    """The broker can keep what is published, to be read again (`Taps`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The messages that a look at a queue showed, its cost, and the counts before and after.

    `ready_before` and `ready_after` count the messages ready in the queue; they differ only
    when somebody else used the queue meanwhile. `note` says why they differ, else it is `None`.
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


class _MayBeReadOnly(Protocol):
    @property
    def read_only(self) -> bool: ...


S = TypeVar("S", bound=_MayBeReadOnly)
P = ParamSpec("P")
R = TypeVar("R")


def refuse_if_read_only(broker: _MayBeReadOnly, action: str) -> None:
    """Raise `ReadOnly` for *action*, if *broker* was opened with ``read_only=True``."""
    if broker.read_only:
        raise ReadOnly(
            f"{action} was refused: this cluster was opened with read_only=True; "
            "nothing was changed. Connect without read_only to change things."
        )


def changes(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Mark a broker method that changes the cluster; a read-only broker refuses it."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        refuse_if_read_only(self, method.__name__)
        return method(self, *args, **kwargs)

    return guarded


def raise_unless_confirmed(result: PublishResult, topic: str, reason: str | None = None) -> None:
    """Raise the error that belongs to the outcome of publishing one message to *topic*; *reason*
    is what the broker said."""
    because = f" ({reason})" if reason else ""
    match result:
        case "confirmed":
            return
        case "unroutable":
            raise Unroutable(
                f"No queue takes messages for {topic!r}: it is missing, or not bound to the task "
                f"exchange{because}; nothing was queued. Publish with create=True (on the command "
                "line --create) to mend that."
            )
        case "refused":
            raise PublishRefused(
                f"RabbitMQ refused the message for {topic!r}"
                f"{because or ' (the queue is full or unavailable)'}; nothing was queued."
            )
        case "not sent":
            raise ConnectionLost(
                f"The connection was lost before the message for {topic!r} was sent{because}; "
                "nothing was queued. Publish it again."
            )
        case "in doubt":
            raise ConnectionLost(
                f"RabbitMQ did not confirm the message for {topic!r}"
                f"{because or ' (the connection was lost, or an alarm blocks publishers)'}, so "
                "whether it is queued is in doubt. Look before you publish it again."
            )
        case _:
            assert_never(result)


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

        Received deliveries, and the permits for them, stay ours until they are settled.
        """


class HeldLock(Protocol):
    """A lock that this client holds, from `Locks.acquire_lock`. A context manager; always true."""

    @property
    def name(self) -> str:
        """The name of the lock."""

    @property
    def fence(self) -> int:
        """A number greater than that of every earlier holder of any lock of this cluster.

        What the lock protects can refuse writes with a number lower than one it has seen: no
        lock can keep a holder that was cut off from believing, for a moment, that it holds.
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
        (`tasktools.core.tasks.compose`); one that would send a peer into its requeue loop
        raises `InvalidTask` or `UnknownTask` and is not sent. *headers* go into the body.
        *priority* is AMQP's, 0 to 255, and obeyed by queues that have priorities. A message that
        is not delivered within *ttl* seconds expires: it is dead-lettered. It is queued after
        *delay* seconds (rounded to two digits); *ttl* with *delay* is an `InvalidTask`.
        Raises `Unroutable`, `PublishRefused`, or `ConnectionLost` when it is in doubt
        whether the message was queued.
        """

    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> PublishResults:
        """Publish encoded *messages* in order, pipelined; one result for each, same order.

        Never raises for a message's sake: `unroutable` (no such queue), `refused` (nacked, or by
        an error: it is certainly not queued), `in doubt` (the connection went before the confirm
        came), `not sent` (before it). An error belongs to its message; the others are sent.
        Its `reasons` hold what the broker said to those that it did not take.
        *progress* is called with the number of messages settled since its last call.
        Does not create topics. A message with a `delay` is confirmed when it is parked. Raises
        only when the broker cannot be reached at all, or refuses this user, and then nothing was
        sent.
        """

    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        """Take the next message of *topic* now, or `None` when none is ready.

        ``"*"`` is any topic of `known_topics` that exists, in turn. On a topic that does not
        exist, or when none of ``"*"`` does: `QueueNotFound`. A body that is no task is delivered
        all the same, with `task.problem` set; the caller decides. A program that works through a
        queue does not poll with this, it uses `consume`.
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

        At most *prefetch* deliveries are unsettled at any time. With *limit*, so are at most
        *limit* of this topic in the whole cluster, counting all consumers that were given a
        limit: each holds a permit for every delivery; a permit is free at once when its holder
        dies. (A holder that is cut off from the broker goes on until it notices: the one
        exception.) A *limit* of 0 pauses. Consumers whose limit was lowered keep within it from
        their next delivery on.

        *receive* runs in a thread of the backend's and must return quickly; it may call `ack`,
        nothing else of this contract; what it raises is logged, and the delivery stays ours.
        Raises `QueueNotFound`. Later troubles do not raise: the
        consumer goes on by itself once it can, and says in `problem` why it cannot. Deliveries
        from before a lost connection come again, to somebody; settling them raises
        `UnknownDelivery`.
        """

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery as done: the message is gone.

        Raises `UnknownDelivery` if this client does not hold the delivery.
        Does not wait; if the connection is lost before the broker knows, it delivers again.
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

        ``requeue=True, count_attempt=True`` publishes the body again with `attempts` raised
        by one, at the end of the queue, and then settles the original (publish before ack: a
        crash between the two doubles, never loses). A body that is no task cannot be counted
        and goes back as with ``count_attempt=False``: to its old place, marked redelivered.
        With a *delay* in seconds it is published so that it is queued after that time.
        ``requeue=False`` dead-letters it, when the queue has dead-letter arguments; without
        them RabbitMQ would drop it, so that raises `WouldBeLost` and the delivery stays ours.

        Returns whether a *delay* was honoured: true if there was one and it is queued later,
        false if there was none to honour (and for dead letters).
        """

    def dead_letter(
        self, delivery_id: str, failure: Failure, *, retention: float | None = None
    ) -> None:
        """Put a delivery into the dead-letter queue together with what went wrong, and settle it.

        The body is unchanged; *failure* goes into AMQP headers
        (`tasktools.core.amqp.failure_headers`). Publishes to ``T.dead``, which is created if
        missing, and settles the original only when that is confirmed. With *retention* in
        seconds it expires there. Whether the queue has dead-letter arguments does not matter.
        Raises `PublishRefused` or `ConnectionLost`; the delivery then stays ours, or is
        delivered again.
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

        All that are ready, or the first *limit* (at least 1, else `ValueError`). With *receive*
        each one and its body is handed over as it comes, and not kept: `Look.messages` is empty.
        *receive* runs in a thread of the backend's and must return quickly; when it returns `True`
        that was enough; what it raises ends the look and, once all is given back, is raised.

        A look takes at most five minutes, and at most five seconds where others consume; what did
        not come by then is counted in `Look.note`, and so is what expired meanwhile.
        Raises `LookRefused` when the verdict is `could drop` (unless *force*), or is not
        `harmless` on a read-only broker, and where more are wanted than can be held in order;
        `QueueNotFound` when there is no such queue.
        """

    def overhear(
        self, receive: Overhear, missed: Callable[[], object] = lambda: None
    ) -> Callable[[], None]:
        """Call *receive* with a copy of each message published to the task exchange from now on;
        returns a function to stop. `@changes`: it takes nothing away, but it costs.

        Each message is routed twice, and as long as it goes on the exchange confirms messages
        that no topic takes: their publishers are not told that these were unroutable. What was
        sent to a queue by its name (replays) does not pass the exchange. *receive* runs in a
        thread of the backend's and must return quickly; what it raises is logged. When it cannot
        keep up, or while the connection is lost, messages are missed; *missed* is called when some
        were or may have been, in the same thread.
        """

    def mover(self, queue: str, *, force: bool = False) -> Mover:
        """Lock *queue* to move messages out of it (`brokers.mover`); `@changes`.

        Raises `QueueNotFound`, `QueueInUse`, and `LookRefused` when holding its messages could
        drop one, or where an exclusive or single active consumer lets nobody else in (unless
        *force*): what `look_verdict` says of a look holds here as well.
        """


class Topics(Protocol):
    """Methods that create, configure, describe and delete topics."""

    def ensure_topic(self, topic: str) -> None:
        """Create what is missing of *topic*; what exists is used as it is. Idempotent.

        A new topic is announced to all workers by a `config_update` with its settings, so that
        those that consume every topic find it.
        """

    def create_topic(
        self,
        topic: str,
        *,
        queue_type: QueueType = "classic",
        max_priority: int | None = None,
        message_ttl: float | None = None,
    ) -> None:
        """Create *topic* with what is fixed at its creation.

        *max_priority* (1 to 255) gives a classic queue priorities; quorum queues have their own.
        Messages expire *message_ttl* seconds after they were queued. The dead-letter queue is
        classic. A new topic is announced as by `ensure_topic`. On a topic that exists and is
        exactly so this does nothing; on one that is not, it raises `TopicConflict`, which names
        the difference, and the queue stays as it is.
        Raises `InvalidTopic` for what no queue can have.
        """

    def delete_topic(self, topic: str, *, force: bool = False) -> int:
        """Delete the queue of *topic*, its dead-letter queue, and its settings; returns how many
        messages were deleted with them. `@changes`.

        Without *force* that is none: `TopicInUse` when either queue has messages, ready or
        unacknowledged, or consumers, and nothing is deleted then. What comes at the very moment
        is not lost either, except to a quorum queue by its name, which is counted. Raises
        `QueueNotFound` when there is neither queue, `QueueUnavailable` where its messages cannot
        be counted, and `InvalidTopic` for a dead-letter queue or a queue of a program.
        """

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic's queue exists."""

    def queue_exists(self, queue: str) -> bool:
        """Whether a queue of this name exists, whatever it is for; true also where it cannot be
        used at present."""

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        """Return statistics of *topics* and of every topic that the broker itself can list."""

    def known_topics(self) -> frozenset[str]:
        """Return every topic that can be known: those the broker can list, those workers speak
        of, those with settings, those this client made sure of, and always ``default``.

        Dead-letter queues and the queues of programs are none, whoever speaks of them. Over AMQP
        alone, a queue that nobody ever named cannot be found.
        """

    def topic_settings(self) -> Mapping[str, TopicSettings]:
        """Return the settings that were made with `configure_topic`, by topic.

        They are kept by the broker and outlive every process.
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

    def listen(
        self, callback: Callable[[Event], object], *, tasks: bool = True
    ) -> Callable[[], None]:
        """Call *callback* with every event from now on, also our own; returns a function to stop.

        It runs in a thread of the backend's and must return quickly; what it raises is logged.
        With ``tasks=False`` the events of tasks that workers of ours run need not come, which
        spares a worker hearing of every task of every other.
        """

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        """Return the state of the cluster, up to the last event that the broker has for us now.

        The first call subscribes and asks `who_is_alive`. Waits up to *settle* seconds, counted
        from the subscription, until a node has listed the workers and each of them has spoken
        itself (what others say of them is up to a heartbeat old). When the events lag behind or
        cannot be had, `events.ok` is false and `events.note` says why.
        """


class Locks(Protocol):
    """Exclusive locks, across processes and hosts."""

    def acquire_lock(
        self, name: str, task_id: str | None = None, worker_id: str | None = None
    ) -> HeldLock | None:
        """Take the lock *name*, or return `None` at once when somebody has it.

        It is held until released, for hours if need be, and free at once when its holder
        closes, dies, or loses its connection. A second call for a lock that we hold returns
        `None` as well: whoever needs it twice passes the object on. Announced to all as
        `lock_acquired` with *task_id* and *worker_id*.
        """

    def force_release_lock(self, name: str) -> bool:
        """Take the lock *name* away from its holder; returns whether there was one.

        The old holder may go on using what the lock protects; its lock has
        ``is_held == False`` from then on. Raises `BrokerTimeout` if the holder is one of ours
        and does not let go.
        """


class Broker(Queues, Taps, Topics, Workers, Locks, Server, DocumentNames, Protocol):
    """A client of one cluster."""

    capabilities: Capabilities

    @property
    def layout(self) -> Layout:
        """The names in use on this cluster."""

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
        """The cluster and the vhost, whatever the address and the user; `None` if the server
        does not say. May connect."""

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
