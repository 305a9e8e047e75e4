"""What a broker is: the contract, in prose, that every backend keeps.

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

from tasktools.core.compose import Composer
from tasktools.core.errors import ConnectionLost, PublishRefused, ReadOnly, Unroutable
from tasktools.core.events import Event
from tasktools.core.layout import Layout
from tasktools.core.models import (
    ClusterState,
    Delivery,
    Outgoing,
    PublishResult,
    SeenMessage,
    TopicReport,
)
from tasktools.core.peek import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do that another cannot; data, so that it is never a surprise."""

    quorum_queues: bool
    """Queues of type quorum exist, with delivery limits."""
    survives_restart: bool
    """Messages outlive the process that holds the broker."""
    foreign_peers: bool
    """Workers of other programs can share the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a queue showed, what it cost, and whether the queue is as it was.

    `ready_before` and `ready_after` count the messages ready in the queue; they differ only
    when somebody else used the queue meanwhile. `note` says so in words, else it is `None`.
    """

    queue: str
    verdict: Verdict
    messages: tuple[SeenMessage, ...]
    ready_before: int
    ready_after: int
    note: str | None = None


class _MayBeReadOnly(Protocol):
    @property
    def read_only(self) -> bool: ...


S = TypeVar("S", bound=_MayBeReadOnly)
P = ParamSpec("P")
R = TypeVar("R")


def changes(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Mark a broker method that changes the cluster; a read-only broker refuses it."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.read_only:
            raise ReadOnly(
                f"{method.__name__} was refused: this cluster was opened with read_only=True; "
                "nothing was changed. Connect without read_only to change things."
            )
        return method(self, *args, **kwargs)

    return guarded


def raise_unless_confirmed(result: PublishResult, topic: str) -> None:
    """Raise the error that belongs to the outcome of publishing one message to *topic*."""
    match result:
        case "confirmed":
            return
        case "unroutable":
            raise Unroutable(
                f"No queue takes messages for {topic!r}: it is missing, or not bound to the task "
                "exchange; nothing was queued. Publish with create=True to mend that."
            )
        case "refused":
            raise PublishRefused(
                f"RabbitMQ refused the message for {topic!r} (the queue is full or unavailable); "
                "nothing was queued."
            )
        case "not sent":
            raise ConnectionLost(
                f"The connection was lost before the message for {topic!r} was sent; nothing was "
                "queued. Publish it again."
            )
        case "in doubt":
            raise ConnectionLost(
                f"RabbitMQ did not confirm the message for {topic!r} (the connection was lost, or "
                "an alarm blocks publishers), so whether it is queued is in doubt. Look before you "
                "publish it again."
            )
        case _:
            assert_never(result)


class Queues(Protocol):
    """Messages: putting in, taking out, looking."""

    def publish(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
    ) -> str:
        """Publish one task and return its message id, once the broker has confirmed it.

        Creates the topic when it does not exist. *payload* is completed for the layout
        (`tasktools.core.compose`); one that would send a peer into its requeue loop
        raises `InvalidTask` or `UnknownTask` and is not sent. *headers* go into the body.
        Raises `Unroutable`, `PublishRefused`, or `ConnectionLost` when it is in doubt
        whether the message was queued.
        """

    def publish_many(
        self,
        messages: Sequence[Outgoing],
        progress: Callable[[int], object] | None = None,
    ) -> list[PublishResult]:
        """Publish encoded *messages* in order, pipelined; one result for each, same order.

        Never raises for a message's sake: `unroutable` (no such queue), `refused` (nacked),
        `in doubt` (the connection went before the confirm came), `not sent` (before it).
        *progress* is called with the number of messages settled since its last call.
        Does not create topics. Raises only when the broker cannot be reached at all, or refuses
        this user, and then nothing was sent.
        """

    def claim(self, topic: str, worker_id: str) -> Delivery | None:
        """Take the next message of *topic*, or `None` when none is ready.

        On a topic that does not exist: `QueueNotFound`. A body that is no task is delivered
        all the same, with `task.problem` set; the caller decides.
        """

    def ack(self, delivery_id: str) -> None:
        """Settle a delivery as done: the message is gone. `UnknownDelivery` if not ours."""

    def nack(self, delivery_id: str, *, requeue: bool = True, count_attempt: bool = True) -> None:
        """Give a delivery back. `UnknownDelivery` if it is not ours (or settled already).

        ``requeue=True, count_attempt=True`` publishes the body again with `attempts` raised
        by one, at the end of the queue, and then settles the original (publish before ack: a
        crash between the two doubles, never loses). A body that is no task cannot be counted
        and goes back as with ``count_attempt=False``: to its old place, marked redelivered.
        ``requeue=False`` dead-letters it, when the queue has dead-letter arguments; without
        them RabbitMQ would drop it, so that raises `WouldBeLost` and the delivery stays ours.
        """

    def purge(self, queue: str) -> int:
        """Delete all ready messages of *queue*; returns how many. `QueueNotFound`."""

    def look_verdict(self, queue: str, limit: int) -> Verdict:
        """Say what a look at up to *limit* messages of *queue* would cost; touches nothing."""

    def peek(self, queue: str, limit: int, *, force: bool = False) -> Look:
        """Show up to *limit* messages of *queue* and give them back (DESIGN, the peek contract).

        Raises `LookRefused` when the verdict is `could drop` (unless *force*), or is not
        `harmless` on a read-only broker; `QueueNotFound` when there is no such queue.
        """


class Topics(Protocol):
    """Queues and dead-letter queues of topics."""

    def ensure_topic(self, topic: str) -> None:
        """Create what is missing of *topic*; what exists is used as it is. Idempotent."""

    def topic_exists(self, topic: str) -> bool:
        """Whether the topic's queue exists."""

    def topic_report(self, topics: Iterable[str] = ()) -> TopicReport:
        """Statistics of *topics* and of every topic the broker itself can list."""


class Workers(Protocol):
    """The cluster as its worker events show it."""

    def broadcast(self, event: Event) -> None:
        """Send *event* to every subscriber of the worker exchange, ourselves included."""

    def cluster_state(self, *, settle: float = 0.0) -> ClusterState:
        """Fold in all events the broker held for us when called, and return the picture.

        The first call subscribes and asks `who_is_alive`. Waits up to *settle* seconds, counted
        from the subscription, until a node has listed the workers and each of them has spoken
        itself (what others say of them is up to a heartbeat old). When the events lag behind or
        cannot be had, `events.ok` is false and `events.note` says why.
        """


class Broker(Queues, Topics, Workers, Protocol):
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
        """Something about the cluster as a whole that an operator should know, or `None`."""

    @property
    def read_only(self) -> bool:
        """Whether methods that change the cluster are refused."""

    @property
    def address(self) -> str:
        """Where the broker is, for people; never with a password."""

    @property
    def server_version(self) -> str | None:
        """Version of the server; `None` when the backend has none."""

    @property
    def demo(self) -> bool:
        """Whether everything shown is made up."""

    def connect(self) -> None:
        """Connect now and find the layout, so that what is wrong is told at once. Idempotent.

        Declares nothing and changes nothing. Other methods connect by themselves when needed.
        """

    def setup(self) -> None:
        """Connect, and declare the exchanges that are missing. Idempotent; `@changes`."""

    def close(self) -> None:
        """Give back what is claimed and let go of everything. Idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
