"""The border to pika: its exceptions and properties in our own terms, and back."""

from __future__ import annotations

import re
import ssl
from typing import Final

from msgspec import structs
from pika import exceptions as amqp

from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.brokers.rabbitmq.rawprops import RawProperties
from tasktools.core import deaths, wire
from tasktools.core.errors import (
    AuthenticationFailed,
    BrokerError,
    ConnectionLost,
    PermissionDenied,
    QueueNotFound,
    TLSFailed,
    Unreachable,
    VhostNotFound,
)
from tasktools.core.models import Properties


def properties_in(raw: RawProperties) -> Properties:
    """Return what came, without what a hop through a delay queue of ours left in it."""
    told = wire.decode(raw.raw)
    headers = deaths.without_hops(told.headers)
    return told if headers is told.headers else structs.replace(told, headers=headers)


def properties_out(properties: Properties) -> RawProperties:
    """Return what is to be sent."""
    return RawProperties(wire.encode(properties))


# pika 1.4 keeps the broker's own words as text only, wrapped in a guess of its own; a guess
# without them ("probable access denied") may just as well be a line that was cut.
_CLOSED: Final = re.compile(
    r"""ConnectionClosedByBroker: \((?P<code>\d+)\) (?P<quote>['"])(?P<text>.*)(?P=quote)"""
)


def connect_error(error: BaseException, dsn: DSN) -> BrokerError:
    """Return why no connection came about."""
    chain = _chain(error)
    reply = next((found for cause in chain if (found := _CLOSED.search(str(cause)))), None)
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
                    f"What answers at {dsn.place} does not speak AMQP 0-9-1; nothing was changed. "
                    "Check the port, and whether it wants amqps://."
                )
    reason = next((_os_reason(cause) for cause in chain if isinstance(cause, OSError)), None)
    return Unreachable(
        f"No RabbitMQ answers at {dsn.place}{f' ({reason})' if reason else ''}; nothing was "
        "changed. Check host and port, and whether it is running."
    )


def _closed_while_opening(code: int, text: str, dsn: DSN) -> BrokerError:
    if code == 403:
        return _refused(dsn)
    if code == 530:
        return _no_vhost(dsn, missing="not found" in text)
    return Unreachable(
        f"RabbitMQ at {dsn.place} closed the connection while it was opened "
        f"({_reason(text)}); nothing was changed."
    )


def _refused(dsn: DSN) -> AuthenticationFailed:
    return AuthenticationFailed(
        f"RabbitMQ at {dsn.place} refused the password of user {dsn.user!r}, or does not know "
        "the user; nothing was changed."
    )


def _no_vhost(dsn: DSN, *, missing: bool) -> BrokerError:
    if missing:
        return VhostNotFound(
            f"RabbitMQ at {dsn.place} has no vhost {dsn.vhost!r}; nothing was changed. "
            "Check the end of the DSN."
        )
    return PermissionDenied(
        f"RabbitMQ at {dsn.place} refused user {dsn.user!r} access to vhost {dsn.vhost!r}; "
        "nothing was changed."
    )


def channel_error(error: BaseException, dsn: DSN) -> BrokerError:
    """Return why a channel, or the connection under it, was closed."""
    if isinstance(error, amqp.ChannelClosedByBroker):
        text = error.reply_text
        match error.reply_code:
            case 404:
                return QueueNotFound(f"{_reason(text)}; nothing was changed.")
            case 403:
                return PermissionDenied(f"{_reason(text)}; nothing was changed.")
            case _:
                return Refused(error.reply_code, text)
    # A queue of a type that is not enabled is refused in the rudest of ways.
    if isinstance(error, amqp.ConnectionClosedByBroker) and "feature flag" in error.reply_text:
        return Refused(error.reply_code, error.reply_text)
    return ConnectionLost(
        f"The connection to {dsn.place} was lost while an answer was outstanding; "
        "the next call connects again."
    )


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
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        item = todo.pop(0)
        if isinstance(item, BaseException) and item not in found:
            found.append(item)
            todo += [*item.args, getattr(item, "exception", None), item.__cause__]
            todo += getattr(item, "exceptions", ())
        elif isinstance(item, list | tuple):
            todo += item
    return found


def _os_reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (error.strerror or str(error)).lower()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()
