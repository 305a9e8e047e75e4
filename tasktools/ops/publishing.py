"""Publishing by an operator's hand: everything is checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from tasktools.brokers.base import Broker, raise_unless_confirmed
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.models import Outgoing, PublishResult
from tasktools.ops.tasks import unknown_topic

_NEEDED: Final = ("topic", "task_name")
_OPTIONAL: Final = ("args", "kwargs", "headers", "priority", "ttl", "delay")
COLUMNS: Final = (*_NEEDED, *_OPTIONAL)
"""The columns that a frame of tasks may have."""


@dataclass(frozen=True, slots=True)
class Request:
    """One task to be published."""

    topic: str
    task_name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any]
    priority: int | None
    ttl: float | None
    delay: float


@dataclass(frozen=True, slots=True)
class Published:
    """What was sent and what became of it."""

    messages: Sequence[Outgoing]
    results: Sequence[PublishResult]

    def raise_unless_confirmed(self) -> None:
        """Raise the error of the first message that was not confirmed."""
        for message, result in zip(self.messages, self.results, strict=True):
            raise_unless_confirmed(result, message.topic)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of the `PUBLISHED` frame."""
        return [
            (message.task_id, message.message_id, message.topic, message.task_name, result)
            for message, result in zip(self.messages, self.results, strict=True)
        ]


def requests_from(frame: pd.DataFrame) -> list[Request]:
    """Read a frame of tasks. Raises `InvalidTask` for columns or values that make none."""
    unknown = [str(name) for name in frame.columns if name not in COLUMNS]
    missing = [name for name in _NEEDED if name not in frame.columns]
    if unknown or missing:
        what = [f"has no column {name}" for name in missing]
        what += [f"has an unknown column {name}" for name in unknown]
        raise InvalidTask(
            f"The frame {' and '.join(what)}; nothing was published. It has {', '.join(_NEEDED)}, "
            f"and optionally {', '.join(_OPTIONAL)}."
        )
    columns = [_values(frame, name) for name in COLUMNS]
    return [
        request(row, f" in row {number}") for number, row in enumerate(zip(*columns, strict=True))
    ]


def _values(frame: pd.DataFrame, name: str) -> Iterator[Any]:
    if name not in frame.columns:
        return iter([None] * len(frame))
    return (None if _is_missing(value) else value for value in frame[name].tolist())


def _is_missing(value: Any) -> bool:
    return value is None or (not isinstance(value, list | tuple | dict) and bool(pd.isna(value)))


def request(row: Sequence[Any], where: str = "") -> Request:
    """Check the values of `COLUMNS`; raises `InvalidTask`."""
    topic, task_name, args, kwargs, headers, priority, ttl, delay = row
    for name, value, wanted in (
        ("topic", topic, str),
        ("task_name", task_name, str),
        ("args", args or [], (list, tuple)),
        ("kwargs", kwargs or {}, dict),
        ("headers", headers or {}, dict),
        ("priority", priority or 0, (int, float)),
        ("ttl", 0 if ttl is None else ttl, (int, float)),
        ("delay", 0 if delay is None else delay, (int, float)),
    ):
        if not isinstance(value, wanted):
            raise InvalidTask(
                f"{name}{where} is {type(value).__name__}; nothing was published. "
                "topic and task_name are text, args a list, kwargs and headers dicts, priority "
                "a whole number, ttl and delay seconds."
            )
    if priority is not None and not float(priority).is_integer():
        raise InvalidTask(f"priority{where} is {priority}; nothing was published.")
    return Request(
        topic=topic,
        task_name=task_name,
        args=args or [],
        kwargs=kwargs or {},
        headers=headers or {},
        priority=None if priority is None else int(priority),
        ttl=ttl,
        delay=delay or 0.0,
    )


def prepare(broker: Broker, requests: Sequence[Request], *, create: bool) -> list[Outgoing]:
    """Compose and check all *requests*, and make sure of their topics; nothing is sent yet."""
    if broker.read_only:
        broker.publish_many([])  # refuses, in the one place that decides it
    if len(requests) == 1:
        messages = [_compose(broker, requests[0])]
    else:
        messages = [_compose_row(broker, row, one) for row, one in enumerate(requests)]
    _make_sure(broker, dict.fromkeys(request.topic for request in requests), create=create)
    return messages


def _compose(broker: Broker, request: Request) -> Outgoing:
    return broker.composer.compose(
        request.topic,
        {
            "task_name": request.task_name,
            "args": list(request.args),
            "kwargs": dict(request.kwargs),
        },
        request.headers,
        priority=request.priority,
        ttl=request.ttl,
        delay=request.delay,
    )


def _compose_row(broker: Broker, row: int, request: Request) -> Outgoing:
    try:
        return _compose(broker, request)
    except (InvalidTask, UnknownTask) as error:
        raise type(error)(f"Row {row}: {error}") from error


def send(
    broker: Broker,
    messages: Sequence[Outgoing],
    progress: Callable[[int], object] | None = None,
) -> Published:
    """Publish what was prepared, and say what became of each message."""
    return Published(messages, broker.publish_many(messages, progress))


def _make_sure(broker: Broker, topics: Iterable[str], *, create: bool) -> None:
    for topic in topics:
        if create:
            broker.ensure_topic(topic)
        elif not broker.topic_exists(topic):
            raise unknown_topic(broker, topic)
