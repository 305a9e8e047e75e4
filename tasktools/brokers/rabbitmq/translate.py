"""The border to pika: its exceptions and properties in our own terms, and back."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import Any, Final

import pika
from pika import exceptions as amqp

from tasktools.brokers.rabbitmq.dsn import DSN
from tasktools.core import deaths
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

_FIELDS = (
    "message_id",
    "priority",
    "expiration",
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "type",
    "user_id",
    "app_id",
    "delivery_mode",
)


def properties_in(raw: pika.BasicProperties) -> Properties:
    """Return what pika received."""
    stamp = raw.timestamp
    try:
        timestamp = None if stamp is None else datetime.fromtimestamp(stamp, UTC)
    except (OverflowError, ValueError, OSError):
        timestamp = None
    fields: dict[str, Any] = {name: _readable(getattr(raw, name)) for name in _FIELDS}
    headers = deaths.without_hops(raw.headers or {})
    return Properties(headers=headers, timestamp=timestamp, **fields)


def _readable(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def properties_out(properties: Properties) -> pika.BasicProperties:
    """Return what pika is to send."""
    stamp = properties.timestamp
    fields = {name: getattr(properties, name) for name in _FIELDS}
    return pika.BasicProperties(
        headers=dict(properties.headers) or None,
        timestamp=None if stamp is None else int(stamp.timestamp()),
        **fields,
    )


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
