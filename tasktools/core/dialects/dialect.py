"""The questions that a dialect answers: how one kind of worker writes on the broker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Final, TypeGuard

import msgspec

from tasktools.core.dialects.draft import Draft
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.models import Outgoing, TaskMessage
from tasktools.core.tasks.json_edit import Change


class Header(msgspec.Struct, frozen=True):
    """A field stored in an AMQP header; without a *name*, all headers."""

    name: str = ""


Places = Mapping[str, tuple[str, ...] | Header]
"""The place of each field that can be edited: a path in the JSON of the body, or a header."""


class Dialect(ABC):
    """A kind of worker, by its way of writing on the broker; a value without state.

    To bring one of your own, name an instance in the entry point group `tasktools.dialects`, and
    test it with `tasktools.testing.DialectConformance`.
    """

    name: ClassVar[str]
    """The name in the column `dialect` and in ``connect(dialect=…)``."""
    title: ClassVar[str]
    """The name of its workers, as part of a sentence."""
    creates_topics: ClassVar[bool] = False
    """Whether tasktools creates its topics, and publishes to the exchange for tasks; the queues of
    others are declared by their own programs, and published to by name."""
    names_functions: ClassVar[bool] = False
    """Whether its workers find a task by ``module:function``, not by its name."""
    needs_names: ClassVar[bool] = True
    """Whether each of its messages names a task."""
    fate_of_unknown: ClassVar[str | None] = None
    """The fate of a task that its workers do not know, as the rest of a sentence about them."""
    resetting: ClassVar[str | None] = None
    """The changes by `resets` in words, as part of a sentence; `None`: there are none."""
    repeats: ClassVar[Mapping[str, str]] = {}
    """Headers that repeat a field as text, by the field: they are taken out when it is edited."""

    exchanges: ClassVar[Collection[str]] = ()
    """Exchanges of which at least one exists where the dialect is used."""
    has_the_rest: ClassVar[bool] = False
    """Whether the dialect gets all queues that no other dialect claims."""
    takes_again: ClassVar[bool] = False
    """Whether its workers take what they cannot read again and again, for ever."""
    fate: ClassVar[str] = "no worker could read it"
    """The fate of a message that its workers cannot read, as a clause of its own."""
    has_task_exchange: ClassVar[bool] = False
    """Whether all its tasks are published to one exchange, so that copies of them can be had."""
    has_heartbeats: ClassVar[bool] = False
    """Whether its workers send heartbeats, and events of the tasks that they begin and end."""
    rejects_failures: ClassVar[bool] = False
    """Whether its workers reject the message of a task that has failed for good, as a rule: where
    nothing is dead-lettered it is lost."""
    after_death: ClassVar[str] = "the messages that it held are delivered again"
    """The fate of the tasks of a worker whose process ends, as a clause of its own."""
    publishes_to_nobody: ClassVar[bool] = False
    """Whether its workers publish what no queue takes, as events while nobody listens."""
    holds_scheduled: ClassVar[bool] = False
    """Whether its workers fetch tasks long before their time, and hold them unacknowledged."""
    events_setting: ClassVar[str | None] = None
    """The way to let a worker send events of its tasks that sends none, as part of a sentence;
    `None`: all of its workers send them, or none can."""
    tells_prefetched: ClassVar[bool] = False
    """Whether its workers report which tasks they have fetched and not begun."""
    prefetch_setting: ClassVar[str] = "prefetch"
    """The name of the setting by which its workers fetch fewer messages."""
    processes: ClassVar[str] = "the worker"
    """The process in which a task runs."""
    has_beats: ClassVar[bool] = False
    """Whether the process that starts its periodic tasks sends heartbeats."""
    consuming: ClassVar[str] = "Its log says why it does not consume the queue."
    """The reason why a worker may not consume a queue that it reports as consumed; a sentence."""
    commands: ClassVar[Collection[str]] = ()
    """The commands that its workers carry out, by their names in `Cluster`."""
    at_a_stop: ClassVar[str] = "looks the same"
    """The silence of a worker that is stopped on purpose, compared to one that died."""

    @property
    def workers(self) -> str:
        """The name of the dialect's workers, as the subject of a sentence."""
        return f"workers of {self.title}"

    # --- queues ------------------------------------------------------------------------

    def is_own_queue(self, queue: str, queues: Collection[str]) -> bool:
        """Whether *queue*, one of all *queues* of the vhost, is private to the dialect's workers:
        neither a topic, nor a queue for tasks of others."""
        del queue, queues
        return False

    @abstractmethod
    def topics(self, vhost: Vhost, queues: set[str], ends: frozenset[str]) -> set[str]:
        """Return the topics of this dialect among *queues*, none of which an earlier dialect has
        claimed; *ends* are dead-letter queues of others."""

    def dead_queue(self, topic: str) -> str | None:
        """Return the name that the dialect gives to the dead-letter queue of *topic*; `None` if the
        operator chooses the name."""
        del topic
        return None

    def dead_letter_arguments(self, topic: str) -> Mapping[str, str]:
        """Return the arguments of the queue of *topic* that dead-letter to `dead_queue`, or to the
        commonly used name if that is `None`."""
        return {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.dead_queue(topic) or f"{topic}.dlq",
        }

    def home_of(self, queue: str) -> str | None:
        """Return the topic whose dead letters go to *queue*, judged by its name alone."""
        del queue
        return None

    # --- messages ----------------------------------------------------------------------

    @abstractmethod
    def recognises(self, message: MessageBody) -> bool:
        """Whether *message* is certainly of this dialect."""

    @abstractmethod
    def decode(self, message: MessageBody) -> TaskMessage:
        """Return the task in *message*. Never raises.

        Called for messages that the dialect recognises, and for all messages in its queues.
        """

    def reads(self, other: Dialect) -> bool:
        """Whether workers of this dialect read well-formed messages of the dialect *other*."""
        return other is self

    @abstractmethod
    def unreadable(self, message: MessageBody, task: TaskMessage) -> str | None:
        """Return the reason why workers of this dialect cannot run *task* of *message*, as a part
        of a sentence; `None` if they can. Called only for dialects that the workers read."""

    @abstractmethod
    def compose(self, draft: Draft) -> Outgoing:
        """Return the message for *draft*, addressed as workers of this dialect expect.

        Decoding the message gives the contents of the draft. Raises `InvalidTask` for contents that
        the dialect cannot express.
        """

    @abstractmethod
    def places(self, message: MessageBody) -> Places | None:
        """Return where the fields of *message* are that can be edited; `None` if it has none."""

    def written(self, message: MessageBody, field: str, value: Any) -> Any:
        """Return the new *value* of *field* in the form that *message* uses for it."""
        del message, field
        return value

    def resets(self, message: MessageBody, queue: str) -> Mapping[str, Change]:
        """Return the changes to the JSON of *message* that a replay into *queue* makes, so that a
        worker runs the task as a new one; empty if none are left to make."""
        del message, queue
        return {}


_MAX_NAMED: Final = 5  # tasks in one sentence


def unknown_tasks(dialect: Dialect, names: Iterable[str], known: Collection[str]) -> str | None:
    """Return a sentence about the *names* that are not among the *known* tasks of *dialect*.

    `None` if all names are known, if no task is known at all, or if the dialect's workers drop no
    tasks.
    """
    unknown = [name for name in names if known and name not in known]
    if not unknown or dialect.fate_of_unknown is None:
        return None
    more = len(unknown) - _MAX_NAMED
    listed = ", ".join(map(repr, unknown[:_MAX_NAMED])) + (
        f" and {more:,} more" if more > 0 else ""
    )
    return (
        f"no task {listed} of {dialect.title} was seen here; workers that do not know a task "
        f"{dialect.fate_of_unknown}"
    )


def undecodable(message: MessageBody, problem: str, *, name: str | None = None) -> TaskMessage:
    """Return a message of the dialect *name* in which no task could be read."""
    return TaskMessage(
        dialect=name,
        message_id=message.properties.message_id,
        published_at=message.properties.timestamp,
        problem=problem,
    )


_MESSAGE_OF: Final = "it is a message of "


def message_of(dialect: Dialect) -> str:
    """Return why workers of another dialect cannot read a message of *dialect*."""
    return f"{_MESSAGE_OF}{dialect.title}"


def is_message_of_others(unreadable: str | None) -> TypeGuard[str]:
    """Whether a message is *unreadable* only since it is for workers of another dialect."""
    return unreadable is not None and unreadable.startswith(_MESSAGE_OF)
