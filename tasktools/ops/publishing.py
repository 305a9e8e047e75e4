"""Publishing by an operator's hand: everything is checked before anything is sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from msgspec.structs import replace

from tasktools.brokers.base import Broker, raise_unless_confirmed
from tasktools.core import codec, schemas
from tasktools.core.clock import Clock
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.models import Outgoing, PublishResult, Source
from tasktools.core.redaction import mask_text
from tasktools.ops.following import Follower, TaskLog
from tasktools.ops.seen import SeenTasks
from tasktools.ops.tasks import unknown_topic

_NEEDED: Final = ("topic", "task_name")
_OPTIONAL: Final = ("args", "kwargs", "headers", "priority", "ttl", "delay")
COLUMNS: Final = (*_NEEDED, *_OPTIONAL)
"""The columns that a frame of tasks may have."""
_MOST_REMEMBERED: Final = 1_000
"""Tasks of one batch whose arguments are kept, to be shown when they run."""


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


class Publishing(ABC):
    """The part of `Cluster` that publishes tasks and follows them."""

    broker: Broker
    _clock: Clock
    _named: set[str]
    _seen: SeenTasks
    _log: TaskLog
    _reveal: bool

    @abstractmethod
    def _frame(
        self,
        schema: schemas.Schema,
        rows: Sequence[Sequence[Any]],
        sources: Source | Iterable[Source],
    ) -> pd.DataFrame: ...

    def publish(
        self,
        topic: str,
        task: str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        delay: float = 0.0,
        create: bool = False,
    ) -> str:
        """Publish one task, wait until RabbitMQ has confirmed it, and return its task id.

        *task* is ``module:function``, or the bare name of a task that was seen on this cluster.
        *headers* go into the message's body, *priority* (0 to 255) is AMQP's and needs a queue
        that has priorities. A task that is not delivered within *ttl* seconds expires: it is
        dead-lettered. With a *delay* it is queued after that many seconds; *ttl* and *delay* do
        not go together. ``create=True`` creates a topic that does not exist. Raises
        `UnknownTopic`, `UnknownTask`, `InvalidTask`, `Unroutable`, `PublishRefused`, `ReadOnly`,
        and `ConnectionLost` when it is in doubt whether it was queued.
        """
        wanted = request((topic, task, args, kwargs, headers, priority, ttl, delay))
        published = self._publish([wanted], create=create)
        published.raise_unless_confirmed()
        self._named.add(topic)
        (message,) = published.messages
        return message.task_id or message.message_id

    def publish_many(
        self,
        frame: pd.DataFrame,
        *,
        create: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> pd.DataFrame:
        """Publish one task a row of *frame* and return what became of each (`PUBLISHED`).

        Columns of *frame*: `topic` and `task_name`, and optionally `args` (lists), `kwargs` and
        `headers` (dicts), `priority`, and `ttl` or `delay` (seconds). All rows are checked before
        the first is sent; sending is pipelined and confirmed. *progress* is called with the
        number of tasks settled since its last call. Raises as `publish` does for bad input, but
        not for what happens to a single message: that is its `outcome`.
        """
        requests = requests_from(frame)
        published = self._publish(requests, create=create, progress=progress)
        self._named.update(wanted.topic for wanted in requests)
        return self._frame(schemas.PUBLISHED, published.rows(), ())

    def follow(self, task_ids: str | Iterable[str] = ()) -> Follower:
        """Follow tasks to their end: ``cluster.follow(ids).frame()`` says how far they have got
        (schema `FOLLOWED`), ``.wait()`` waits until all have ended.

        Tasks that this `Cluster` published are known from the beginning; of others only what
        comes from now on.

        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.follow(task_id).frame()[["topic", "state", "tries"]]
            topic   state  tries
        0  emails  queued      0
        """
        follower = Follower(self.broker, self._log, self._clock, self._followed)
        follower.add(task_ids)
        return follower

    def task_names(self) -> list[str]:
        """Return the names of the tasks that were seen so far, as `publish` takes them: in
        messages, and in what workers execute."""
        known = self.broker.composer.functions.known()
        functions = {function for functions in known.values() for function in functions}
        if self.broker.layout.name == "fp":  # its peers need the function
            return sorted(functions)
        running = {run.task_name for run in self.broker.cluster_state().running}
        return sorted(functions | {*filter(None, running), *self._seen.names()})

    def _followed(self, rows: Sequence[Sequence[Any]], events: Source) -> pd.DataFrame:
        told = replace(
            events, columns=tuple(c.name for c in schemas.FOLLOWED.columns if c.source == "events")
        )
        frame = self._frame(schemas.FOLLOWED, rows, told)
        if not self._reveal:
            frame["error"] = frame["error"].map(mask_text, na_action="ignore")
        return frame

    def _publish(
        self,
        requests: Sequence[Request],
        *,
        create: bool,
        progress: Callable[[int], object] | None = None,
    ) -> Published:
        messages = prepare(self.broker, requests, create=create)
        # Before they are sent: a worker may be quicker than the confirm.
        self._log.listen_to(self.broker)
        self._log.add(message.task_id or message.message_id for message in messages)
        published = send(self.broker, messages, progress)
        self._log.settle(published.messages, published.results)
        first = messages[:_MOST_REMEMBERED]
        self._seen.remember(codec.decode(m.body, m.properties) for m in first)
        return published
