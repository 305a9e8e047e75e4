"""Task messages: bytes to values and back.

Each dialect is asked whether a message is its own (`tasktools.core.dialects`); a message that no
dialect recognises is read in the dialect of its queue. Nothing is ever unpickled.
"""

from __future__ import annotations

import json

from msgspec.structs import replace

from tasktools.core import untrusted
from tasktools.core.dialects import registry
from tasktools.core.dialects.celery import CELERY, is_of_protocol_2
from tasktools.core.dialects.dialect import Dialect, undecodable
from tasktools.core.dialects.fastpluggy import ENVELOPE, FASTPLUGGY
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.tasks import compression


def decode(body: bytes, properties: Properties, dialect: Dialect = FASTPLUGGY) -> TaskMessage:
    """Return the task in *body*, to be shown to people. Never raises.

    A compressed body is read as well. *dialect* is the dialect of the message's queue.
    """
    try:
        message = opened(body, properties)
    except ValueError as error:
        task = undecodable(MessageBody(body, properties), str(error))
        return replace(task, unreadable=str(error))
    own = registry.of_message(message, dialect)
    try:
        task = own.decode(message)
        why = registry.unreadable(message, task, own, dialect)
        return task if why is None else replace(task, unreadable=why)
    except Exception as error:
        if not registry.has_others():
            raise
        why = f"its dialect failed at it ({type(error).__name__}: {error})"
        return replace(undecodable(message, why), unreadable=why)


def opened(body: bytes, properties: Properties) -> MessageBody:
    """Return a message with its body as it was before it was compressed. Raises `ValueError`."""
    plain = compression.plain(body, properties)
    return MessageBody(plain, properties, is_compressed=plain is not body)


def decode_for_worker(body: bytes, properties: Properties) -> TaskMessage:
    """Return the task in *body* as a worker of tasktools can run it. Never raises.

    A worker must be able to publish a task again with its attempts counted. So a compressed body
    and one of Celery's protocol 1 come back as unreadable.
    """
    message = MessageBody(body, properties)
    dialect = CELERY if is_of_protocol_2(message) else FASTPLUGGY
    return dialect.decode(message)


def count_attempt(body: bytes) -> bytes | None:
    """Return *body* with `attempts` raised by one, otherwise unchanged; `None` if *body* is no
    task.

    This is how a peer requeues: a new publish of the body, then an ack of the original.
    """
    message = MessageBody(body, Properties())
    data = message.object()
    if any(name not in data for name in ENVELOPE):
        return None
    data["attempts"] = (untrusted.count(data.get("attempts", 0)) or 0) + 1
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")
