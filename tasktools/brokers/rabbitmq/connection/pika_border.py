"""The border to pika: its exceptions and properties in our own terms, and back."""

from __future__ import annotations

import re
import ssl
from typing import Final

from msgspec import structs
from pika import exceptions as amqp

from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.brokers.rabbitmq.connection.raw_properties import RawProperties
from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.amqp import x_death
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    ConnectionLost,
    InvalidName,
    LimitReached,
    PermissionDenied,
    QueueNotFound,
    QueueUnavailable,
    TLSFailed,
    Unreachable,
    VhostNotFound,
)
from tasktools.core.models import Properties


def properties_in(raw: RawProperties) -> Properties:
    """Return the received properties without those that a delay queue added."""
    properties = amqp_properties.decode(raw.raw)
    headers = x_death.without_hops(properties.headers)
    return (
        properties
        if headers is properties.headers
        else structs.replace(properties, headers=headers)
    )


def properties_out(properties: Properties) -> RawProperties:
    """Return the properties in pika's form, to be sent."""
    return RawProperties(amqp_properties.encode(properties))


_ASK_FOR_IT: Final = " Ask for the permission, or connect as a user who has it."
_QUEUE: Final = re.compile(r"queue '(?P<name>.*)' in vhost")
_HOME_NODE: Final = re.compile(r"home node '(?P<name>[^']+)' .* is down or inaccessible")

# pika 1.4 keeps the broker's own words as text only, wrapped in a guess of its own; a guess
# without them ("probable access denied") may just as well be a line that was cut.
_CLOSED: Final = re.compile(
    r"""ConnectionClosedByBroker: \((?P<code>\d+)\) (?P<quote>['"])(?P<text>.*)(?P=quote)"""
)


def connect_error(error: BaseException, dsn: DSN) -> BrokerError:
    """Return why a connection could not be opened, as an error of tasktools."""
    chain = _chain(error)
    reply = next(filter(None, (_CLOSED.search(str(cause)) for cause in chain)), None)
    if reply is not None:
        return _closed_while_opening(int(reply["code"]), reply["text"], dsn)
    for cause in chain:
        match cause:
            case ssl.SSLError():
                return TLSFailed(
                    f"The TLS handshake with {dsn.place} failed ({_tls_reason(cause)}); nothing "
                    "was changed. Check the port, and cafile= in the DSN."
                )
            case amqp.IncompatibleProtocolError():
                return Unreachable(
                    f"The server at {dsn.place} closed the connection before the AMQP 0-9-1 "
                    "handshake; nothing was changed. Check the port, whether it expects amqps://, "
                    "and whether the broker is starting or stopping."
                )
    reason = next((_os_reason(cause) for cause in chain if isinstance(cause, OSError)), None)
    return Unreachable(
        f"No RabbitMQ answers at {dsn.place}{f' ({reason})' if reason else ''}; nothing was "
        "changed. Check host and port, and whether it is running."
    )


def _closed_while_opening(code: int, text: str, dsn: DSN) -> BrokerError:
    if code == 403:
        return AuthenticationFailed(
            f"RabbitMQ at {dsn.place} refused the password of user {dsn.user!r}, or does not know "
            f"the user ({_reason(text)}); nothing was changed."
        )
    if code == 530:
        return _not_allowed(text, dsn)
    return Unreachable(
        f"RabbitMQ at {dsn.place} closed the connection while it was opened "
        f"({_reason(text)}); nothing was changed."
    )


def _not_allowed(text: str, dsn: DSN) -> BrokerError:
    if "limit" in text:
        return LimitReached(
            f"RabbitMQ at {dsn.place} refused another connection of user {dsn.user!r} to vhost "
            f"{dsn.vhost!r}: {_reason(text)}; nothing was changed. Close connections, or raise the "
            "limit."
        )
    if "not found" in text:
        return VhostNotFound(
            f"RabbitMQ at {dsn.place} has no vhost {dsn.vhost!r} ({_reason(text)}); nothing was "
            "changed. Check the end of the DSN."
        )
    if "is down" in text:
        return Unreachable(
            f"RabbitMQ at {dsn.place} cannot serve vhost {dsn.vhost!r} ({_reason(text)}); nothing "
            "was changed."
        )
    return PermissionDenied(
        f"RabbitMQ at {dsn.place} refused user {dsn.user!r} access to vhost {dsn.vhost!r} "
        f"({_reason(text)}); nothing was changed."
    )


def channel_error(error: BaseException, dsn: DSN) -> BrokerError:
    """Return why a channel, or the connection under it, was closed."""
    match error:
        case amqp.ChannelClosedByBroker(reply_code=code, reply_text=text):
            return _refusal(code, text)
        case amqp.ConnectionClosedByBroker(reply_code=code, reply_text=text):
            return _closed_by_broker(code, text, dsn)
        case amqp.NoFreeChannels():
            return LimitReached(
                f"All channels that RabbitMQ at {dsn.place} allows on a connection are in use; "
                "nothing was changed. Raise channel_max on the broker, or in the DSN."
            )
        case amqp.ShortStringTooLong() | UnicodeError():
            return InvalidName(
                "A name is longer than 255 bytes or is no valid Unicode, which RabbitMQ does not "
                "allow; nothing was changed."
            )
    why = _loss(error)
    return ConnectionLost(
        f"The connection to {dsn.place} was lost while an answer was outstanding"
        f"{f' ({why})' if why else ''}; the next call connects again."
    )


def _not_found(text: str) -> BrokerError:
    """Return the error for a 404, which RabbitMQ also answers where a queue exists, but its node
    is down or its process has ended."""
    if _reason(text).startswith("no "):
        return QueueNotFound(f"{_reason(text)}; nothing was changed.")
    return queue_unavailable(text)


def queue_unavailable(text: str) -> QueueUnavailable:
    """Return the error for a queue that exists but cannot be used; *text* is RabbitMQ's reason."""
    queue, node = _QUEUE.search(text), _HOME_NODE.search(text)
    why = f"its node {node['name']} is down" if node else f"RabbitMQ says: {_reason(text)}"
    return unavailable(queue["name"] if queue else None, why)


def unavailable(queue: str | None, why: str) -> QueueUnavailable:
    """Return the error for the *queue* that exists and cannot be used; *why* continues the sentence
    after "but"."""
    name = "The queue" if queue is None else f"The queue {queue!r}"
    return QueueUnavailable(
        f"{name} exists, but {why}; nothing was changed. Try again once that has ended.",
        queue=queue,
        why=why,
    )


def _refusal(code: int, text: str) -> BrokerError:
    match code:
        case 404:
            return _not_found(text)
        case 403:
            todo = _ASK_FOR_IT if "refused for user" in text else ""
            return PermissionDenied(f"{_reason(text)}; nothing was changed.{todo}")
        case _:
            return Refused(code, text)


def _closed_by_broker(code: int, text: str, dsn: DSN) -> BrokerError:
    # Declaring a queue type whose feature flag is off closes the whole connection.
    if "feature flag" in text:
        return Refused(code, text)
    if _QUEUE.search(text):  # a quorum queue without a leader refuses a consumer so
        return queue_unavailable(text)
    if code == 530 and "maximum" in text:
        return LimitReached(
            f"RabbitMQ at {dsn.place} closed the connection of user {dsn.user!r}: "
            f"{_reason(text)}. Raise that limit, or close connections."
        )
    return ConnectionLost(
        f"RabbitMQ at {dsn.place} closed the connection ({code}: {_reason(text)}) while an answer "
        "was outstanding; the next call connects again."
    )


def _loss(error: BaseException) -> str | None:
    """Return why a connection was lost, if the operating system reported it."""
    if isinstance(error, amqp.AMQPHeartbeatTimeout):
        return "no heartbeat came"
    reasons = [_os_reason(e) for e in _chain(error) if isinstance(e, OSError) and e.strerror]
    return reasons[0] if reasons else None


class Refused(BrokerError):
    """The broker refused an AMQP command; `code` and `text` are its reply."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"RabbitMQ refused: {_reason(text)}.")
        self.code = code
        self.text = text


def _reason(text: str) -> str:
    return text.partition(" - ")[2] or text


def _chain(error: BaseException) -> list[BaseException]:
    """Return *error* and everything it wraps; pika keeps causes in `args` and `exceptions`."""
    chain: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and item not in chain:
            chain.append(item)
            todo += [*item.args, getattr(item, "exception", None), item.__cause__]
            todo += getattr(item, "exceptions", ())
        elif isinstance(item, list | tuple):
            todo += item
    return chain


def _os_reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error)).lower()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()
