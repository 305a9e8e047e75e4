"""The tree of all errors that an operator can meet.

Each class is documented by its message: one sentence with what happened, what was or was
not changed, and what to do next. No message ever holds a password.
"""

from __future__ import annotations


class TaskToolsError(Exception):
    """Something went wrong in tasktools."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


# --- reaching a broker ---------------------------------------------------------------


class NotConfigured(TaskToolsError):
    """No broker is configured: set BROKER_DSN, or pass a DSN to connect()."""


class MissingExtra(TaskToolsError):
    """A feature was used that needs packages of an extra that is not installed; it names the
    extra."""


class MalformedDSN(TaskToolsError, ValueError):
    """The DSN cannot be read; it looks like amqp://user:password@host:5672/vhost."""


class InvalidDialect(TaskToolsError):
    """A dialect that another package brings cannot be used. Fix or uninstall that package."""


class BrokerError(TaskToolsError):
    """The broker could not do what was asked."""


class InvalidMask(TaskToolsError, ValueError):
    """A rule of mask cannot be used; nothing was contacted."""


class Unreachable(BrokerError, ConnectionError):
    """No RabbitMQ answers at this address; nothing was changed."""


class TLSFailed(Unreachable):
    """The TLS handshake failed; nothing was changed."""


class AuthenticationFailed(BrokerError):
    """RabbitMQ refused the user name or password; nothing was changed."""


class VhostNotFound(BrokerError):
    """The virtual host does not exist on this RabbitMQ; nothing was changed."""


class PermissionDenied(BrokerError, PermissionError):
    """The user lacks a permission for this; nothing was changed."""


class LimitReached(BrokerError):
    """A limit of this RabbitMQ is reached (connections, channels, queues); nothing was changed."""


class ConnectionLost(BrokerError, ConnectionError):
    """The connection was lost while the answer was outstanding; the next call reconnects."""


class BrokerTimeout(BrokerError, TimeoutError):
    """The broker did not answer in time; the next call tries again."""


class Closed(BrokerError):
    """This cluster was closed; call connect() for a new one."""


# --- publishing and queues -----------------------------------------------------------


class UnknownTopic(BrokerError, LookupError):
    """The topic has no queue; nothing was published. Pass create=True to create it."""


class InvalidName(BrokerError, ValueError):
    """The name cannot be used on RabbitMQ; nothing was changed."""


class QueueNotFound(BrokerError, LookupError):
    """The queue does not exist; nothing was changed."""


class QueueUnavailable(BrokerError):
    """The queue exists, but cannot be used now; nothing was changed."""

    def __init__(
        self,
        message: str | None = None,
        *,
        queue: str | None = None,
        why: str = "it cannot be used now",
    ) -> None:
        super().__init__(message)
        self.queue = queue
        """The queue's name, where it is known."""
        self.why = why
        """The trouble with the queue, as part of a sentence."""


class InvalidTopic(TaskToolsError, ValueError):
    """The name, a property or a setting of a topic is invalid; nothing was changed."""


class TopicConflict(BrokerError):
    """The topic exists and is different; it was not changed and is used as it is."""


class TopicInUse(BrokerError):
    """The topic has messages or consumers; nothing was deleted. Pass force=True to delete it."""


class InvalidTap(TaskToolsError, ValueError):
    """The name or a limit of a tap is invalid; nothing was changed."""


class TapConflict(BrokerError):
    """The tap exists and is different; it was not changed."""


class UnknownTap(BrokerError, LookupError):
    """There is no such tap, so nothing that was published is kept; make one with tap()."""


class NoStreams(BrokerError):
    """This broker has no streams, so there can be no tap; nothing was changed."""


class UnsafePeerCommand(TaskToolsError):
    """The command would make a peer run tasks twice; it was not sent. Pass force=True to send."""


class CommandRefused(TaskToolsError):
    """No worker carries the command out; it changed nothing."""


class UnknownWorker(TaskToolsError, LookupError):
    """No such worker is alive; nothing was sent."""


class UnknownTask(TaskToolsError, LookupError):
    """The task's function is not known; nothing was published. Name it as module:function."""


class InvalidTask(TaskToolsError, ValueError):
    """The task cannot be published like this; nothing was published."""


class Unroutable(BrokerError):
    """RabbitMQ returned the message, because no queue takes it; nothing was queued."""


class PublishRefused(BrokerError):
    """RabbitMQ refused the message (the queue is full or unavailable); nothing was queued."""


class PublishingBlocked(BrokerError):
    """RabbitMQ blocks publishers (a memory or disk alarm); nothing was sent. Try again later."""


class WouldBeLost(BrokerError):
    """The queue does not dead-letter, so RabbitMQ would drop the message; this client still holds
    it."""


class QueueInUse(BrokerError):
    """Another run of tasktools works on this queue; nothing was changed. Wait until that run has
    ended."""


class UnknownDelivery(BrokerError, LookupError):
    """This client does not hold the delivery (any more); the broker redelivers the message."""


class LookRefused(TaskToolsError):
    """Looking at this queue could drop a message; it was not touched."""


class InvalidPlan(TaskToolsError, ValueError):
    """The plan cannot be run like this; nothing was done. Make a new one."""


class FileError(TaskToolsError, OSError):
    """A file cannot be read or written; nothing was changed."""


class MissingFile(FileError, FileNotFoundError):
    """There is no such file; nothing was changed."""


class ReadOnly(TaskToolsError, PermissionError):
    """This cluster was opened with read_only=True; nothing was changed."""


class LedgerError(TaskToolsError, OSError):
    """The ledger cannot be used; nothing was done that is not in the ledger."""


class RecordingError(TaskToolsError, OSError):
    """The recording cannot be used; nothing was changed."""


class NotRecorded(TaskToolsError, LookupError):
    """The recording does not contain this; nothing was changed. Ask the live cluster."""
