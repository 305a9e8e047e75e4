"""Queries to Celery's workers (``inspect``) and their answers, in the format of its pidbox.

Answers are not trusted: a field of the wrong type counts as missing, and arguments of more than
20,000 bytes are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from tasktools.core import untrusted
from tasktools.core.masked_repr import MaskedStruct

_MAX_ARGUMENT_BYTES: Final = 20_000
_MAX_LISTED: Final = 10_000


class Queue(msgspec.Struct, frozen=True):
    """A queue that a worker consumes, and the binding through which its messages come."""

    name: str
    exchange: str | None
    routing_key: str | None


class Queues(msgspec.Struct, frozen=True):
    """The queues that a worker consumes."""

    queues: tuple[Queue, ...]


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a worker's pool, and the seconds since it started."""

    pid: int | None
    capacity: int | None
    uptime: float | None


class Request(MaskedStruct, frozen=True, kw_only=True):
    """A task that a worker has fetched; *time_start* by its own clock."""

    task_id: str
    name: str | None
    exchange: str | None
    routing_key: str | None
    args: Any
    kwargs: Any
    time_start: float | None
    eta: float | None


class Requests(msgspec.Struct, frozen=True):
    """The tasks that a worker runs (``active``), or holds for later."""

    requests: tuple[Request, ...]


Answer = Queues | Stats | Requests


class _Request(msgspec.Struct):
    id: Any = None
    name: Any = None
    args: msgspec.Raw = msgspec.Raw(b"null")
    kwargs: msgspec.Raw = msgspec.Raw(b"null")
    time_start: Any = None
    delivery_info: Any = None


class _Scheduled(msgspec.Struct):
    eta: Any = None
    request: _Request | None = None


_decode_requests = msgspec.json.Decoder(dict[str, list[_Request]]).decode
_decode_scheduled = msgspec.json.Decoder(dict[str, list[_Scheduled]]).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def question(
    method: str,
    *,
    ticket: str,
    reply_exchange: str,
    reply_key: str,
    destination: list[str] | None = None,
    **arguments: Any,
) -> bytes:
    """Return the query *method* for all workers, or for those named in *destination*."""
    return json.dumps(
        {
            "method": method,
            "arguments": arguments,
            "destination": destination,
            "pattern": None,
            "matcher": None,
            "ticket": ticket,
            "reply_to": {"exchange": reply_exchange, "routing_key": reply_key},
        }
    ).encode()


def answers(method: str, body: bytes) -> list[tuple[str, Answer]]:
    """Return the name of each worker with an answer to *method* in *body*, and that answer; an
    empty list if *body* has no answers."""
    try:
        return [
            (worker, answer)
            for worker, answer in _READERS[method](body)
            if answer is not None and untrusted.name(worker) is not None
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []


def _listed(body: bytes) -> Iterator[tuple[str, Answer | None]]:
    for worker, requests in _decode_requests(body).items():
        yield worker, _requests((request, None) for request in requests)


def _scheduled(body: bytes) -> Iterator[tuple[str, Answer | None]]:
    for worker, waiting in _decode_scheduled(body).items():
        yield worker, _requests((entry.request, entry.eta) for entry in waiting)


def _consumed(body: bytes) -> Iterator[tuple[str, Answer | None]]:
    for worker, queues in _decode_any(body).items():
        yield worker, Queues(tuple(_queues(queues))) if isinstance(queues, list) else None


def _pools(body: bytes) -> Iterator[tuple[str, Answer | None]]:
    for worker, stats in _decode_any(body).items():
        yield worker, _stats(stats) if isinstance(stats, dict) and "pool" in stats else None


_READERS: Final[dict[str, Callable[[bytes], Iterator[tuple[str, Answer | None]]]]] = {
    "scheduled": _scheduled,
    "reserved": _listed,
    "active": _listed,
    "active_queues": _consumed,
    "stats": _pools,
}
METHODS: Final = tuple(_READERS)
"""The queries, in the order that lets no task be missing from all answers while it moves on."""


def _stats(stats: dict[str, Any]) -> Stats:
    pool = untrusted.mapping(stats.get("pool"))
    # A pool of processes that was resized says so in their list only.
    processes = len(untrusted.sequence(pool.get("processes")))
    return Stats(
        pid=untrusted.count(stats.get("pid")),
        capacity=processes or untrusted.count(pool.get("max-concurrency")),
        uptime=untrusted.span(stats.get("uptime")),
    )


def _queues(listed: list[Any]) -> Iterator[Queue]:
    for entry in listed[:_MAX_LISTED]:
        queue = untrusted.mapping(entry)
        name = untrusted.name(queue.get("name"))
        if name is not None:
            exchange = untrusted.mapping(queue.get("exchange")).get("name")
            yield Queue(name, untrusted.name(exchange), untrusted.name(queue.get("routing_key")))


def _requests(listed: Iterable[tuple[_Request | None, Any]]) -> Requests:
    known = (_known(request, eta) for request, eta in listed if request is not None)
    return Requests(tuple(request for request in known if request is not None)[:_MAX_LISTED])


def _known(request: _Request, eta: object) -> Request | None:
    task_id = untrusted.name(request.id)
    if task_id is None:
        return None
    delivery = untrusted.mapping(request.delivery_info)
    exchange = delivery.get("exchange")
    return Request(
        task_id=task_id,
        name=untrusted.label(request.name),
        exchange=exchange if isinstance(exchange, str) else None,
        routing_key=untrusted.name(delivery.get("routing_key")),
        args=_arguments(request.args),
        kwargs=_arguments(request.kwargs),
        time_start=untrusted.span(request.time_start),
        eta=untrusted.epoch(eta),
    )


def _arguments(raw: msgspec.Raw) -> Any:
    """Return arguments; `None` if they are too long to keep."""
    return msgspec.json.decode(raw) if len(bytes(raw)) <= _MAX_ARGUMENT_BYTES else None
