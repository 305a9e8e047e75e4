"""Publishing by an operator: everything is checked before anything is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from tasktools.brokers.base import Broker
from tasktools.brokers.unconfirmed import raise_unless_confirmed
from tasktools.cluster.base import ClusterBase
from tasktools.core.dialects.dialect import Dialect, unknown_tasks
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.escaping import as_shown
from tasktools.core.frames import schemas
from tasktools.core.lazy_imports import pd
from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import Outgoing, PublishResults, Source
from tasktools.core.tasks import codec
from tasktools.monitor import consumption
from tasktools.monitor.active_tasks import unknown_topic
from tasktools.monitor.follow import Follower
from tasktools.replay import target_checks

_OPTIONAL: Final = ("task_name", "args", "kwargs", "headers", "priority", "ttl", "delay")
COLUMNS: Final = ("topic", *_OPTIONAL)
"""The columns that a frame of tasks may have."""
_MAX_REMEMBERED: Final = 1_000
"""Tasks of one batch whose arguments are kept, to be shown when they run."""
_NOT_QUEUED: Final = ("unroutable", "refused")


@dataclass(frozen=True, slots=True, repr=False)
class Request(MaskedRepr):
    """One task to be published, or a message without a name."""

    topic: str
    task_name: str | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any]
    priority: int | None
    ttl: float | None
    delay: float


@dataclass(frozen=True, slots=True)
class Published:
    """Messages that were published, and the result of each."""

    messages: Sequence[Outgoing]
    results: PublishResults

    def raise_unless_confirmed(self) -> None:
        """Raise the error of the first message that was not confirmed."""
        for n, message in enumerate(self.messages):
            raise_unless_confirmed(self.results[n], message.topic, self.results.reasons.get(n))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of the `PUBLISHED` frame."""
        return [
            (
                message.task_id,
                message.message_id,
                message.topic,
                message.task_name,
                self.results[n],
                self.results.reasons.get(n),
            )
            for n, message in enumerate(self.messages)
        ]


def requests_from(frame: pd.DataFrame) -> list[Request]:
    """Read a frame of tasks. Raises `InvalidTask` for columns or values that do not make a task."""
    unknown = [str(name) for name in frame.columns if name not in COLUMNS]
    what = [] if "topic" in frame.columns else ["has no column topic"]
    what += [f"has an unknown column {name}" for name in unknown]
    if what:
        raise InvalidTask(
            f"The frame {' and '.join(what)}; nothing was published. It has topic, and optionally "
            f"{', '.join(_OPTIONAL)}."
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
        ("task_name", "" if task_name is None else task_name, str),
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


def compose(broker: Broker, requests: Sequence[Request]) -> list[Outgoing]:
    """Compose and check all *requests*; nothing is sent yet."""
    broker.check_writable("publish")
    if len(requests) == 1:
        return [_compose(broker, requests[0])]
    return [_compose_row(broker, row, request) for row, request in enumerate(requests)]


def _compose(broker: Broker, request: Request) -> Outgoing:
    return broker.composer.compose(
        request.topic,
        {
            **({} if request.task_name is None else {"task_name": request.task_name}),
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


def _check_creatable(broker: Broker, topics: Iterable[str]) -> None:
    """Raise `InvalidTask` if the queue of the topic is declared by other programs, not by us."""
    for topic in topics:
        dialect = broker.dialect_of(topic)
        if not dialect.creates_topics:
            raise InvalidTask(
                f"{topic!r} is a queue of {dialect.title}, whose programs declare their queues "
                "themselves; nothing was created or published. Publish without create."
            )


def _make_sure(broker: Broker, topics: Sequence[str], *, create: bool) -> None:
    if create:
        _check_creatable(broker, topics)
    for topic in topics:
        if create:
            broker.ensure_topic(topic)
        elif not broker.topic_exists(topic):
            raise unknown_topic(broker, topic)


class Publishing(ClusterBase):
    """The part of `Cluster` that publishes tasks and follows them."""

    def publish(
        self,
        topic: str,
        task: str | None = None,
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

        It is written as the workers of its topic read it (the column ``dialect`` of `topics`).

        Parameters
        ----------
        topic
            The topic, which must exist unless *create*.
        task
            The name of the task; for fastpluggy ``module:function``, or the bare name of a task
            that was seen on this cluster. Plain messages need no name; it becomes their property
            ``type``.
        args, kwargs
            The arguments of the task: JSON values. A plain message has either *args* or *kwargs* as
            its body.
        headers
            Headers in the place where the topic's workers read them: in the body for fastpluggy,
            ``options`` for Dramatiq, AMQP headers for all others.
        priority
            AMQP's, 0 to 255; it needs a queue that has priorities.
        ttl
            Seconds after which a task that is not delivered is dead-lettered; for Celery and
            Dramatiq the seconds after which their workers do not run it.
        delay
            Seconds after which it is queued, or run; for fastpluggy not together with *ttl*.
        create
            Create the topic if it does not exist; queues of other dialects are declared by their
            own programs.

        Returns
        -------
        str
            The id of the task, for `follow`.

        Raises
        ------
        UnknownTopic, UnknownTask, InvalidTask, ReadOnly
            Nothing was published.
        Unroutable, PublishRefused
            RabbitMQ did not queue the message.
        ConnectionLost
            It is in doubt whether it was queued.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", kwargs={"to": "a@b"}, create=True)
        ...     cluster.active_tasks("emails")[["task_name", "state"]]
        active tasks: 1 row; from events, look; looking at emails was harmless;
          memory://, layout taskworker
           task_name  state
        0  send       queued

        """
        messages = compose(
            self.broker, [request((topic, task, args, kwargs, headers, priority, ttl, delay))]
        )
        if create:
            _make_sure(self.broker, [topic], create=True)
        published = self._send(messages)
        if published.results[0] in _NOT_QUEUED and not self.broker.topic_exists(topic):
            raise unknown_topic(self.broker, topic)
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
        warn: Callable[[str], object] | None = None,
        force: bool = False,
    ) -> pd.DataFrame:
        """Publish one task a row of *frame*. All rows are checked before the first is sent.

        Parameters
        ----------
        frame
            Columns ``topic`` and ``task_name`` (which plain messages need not have), and optionally
            ``args`` (lists), ``kwargs`` and ``headers`` (dicts), ``priority``, and ``ttl`` or
            ``delay`` (seconds).
        create
            Create topics that do not exist; queues of other dialects are declared by their own
            programs.
        progress
            Called with the number of tasks settled since its last call.
        warn
            Called with each warning before anything is sent: topics that nobody consumes, tasks
            that no worker may know, and messages that a queue would refuse or let expire.
        force
            Publish even to queues that would drop messages.

        Returns
        -------
        pandas.DataFrame
            The outcome of each task (schema `PUBLISHED`); ``attrs["notes"]`` has the warnings.

        Raises
        ------
        UnknownTopic, UnknownTask, InvalidTask, ReadOnly
            Nothing was published.
        WouldBeLost
            A queue has no room and drops its oldest messages; nothing was published.

        Examples
        --------
        >>> import pandas as pd
        >>> import tasktools as tt
        >>> frame = pd.DataFrame({"topic": "emails", "task_name": ["send", "check"]})
        >>> with tt.connect("memory://") as cluster:
        ...     cluster.publish_many(frame, create=True)[["task_name", "outcome"]]
        published: 2 rows; memory://, layout taskworker
           task_name  outcome
        0  send       confirmed
        1  check      confirmed

        """
        requests = requests_from(frame)
        # Before new topics are created: that nobody consumes those goes without saying.
        topics = (request.topic for request in requests)
        warnings = list(consumption.unconsumed(self.broker, topics).values())
        messages = compose(self.broker, requests)
        warnings += self._unknown_tasks(messages)
        _make_sure(self.broker, list(dict.fromkeys(m.topic for m in messages)), create=create)
        hazards = target_checks.hazards(self.broker, target_checks.of_messages(messages))
        target_checks.check(hazards, force=force)
        warnings += [hazard.text for hazard in hazards]
        if warn is not None:
            for warning in warnings:
                warn(warning)
        published = self._send(messages, progress)
        self._named.update(request.topic for request in requests)
        answer = self._frame(schemas.PUBLISHED, published.rows(), ())
        answer.attrs["notes"] += warnings
        return answer

    def follow(self, task_ids: str | Iterable[str] = ()) -> Follower:
        """Follow tasks to their end.

        Tasks that this `Cluster` published are known from the beginning; of other tasks only events
        from now on.

        Parameters
        ----------
        task_ids
            One id, or several; more can be added later.

        Returns
        -------
        Follower
            Its ``frame()`` returns the state of each task (schema `FOLLOWED`), its ``wait()`` waits
            until all have ended.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.follow(task_id).frame()[["topic", "state", "tries"]]
        followed: 1 row; from events; memory://, layout taskworker
           topic   state   tries
        0  emails  queued      0

        """
        follower = Follower(self.broker, self._log, self._clock, self._followed)
        follower.add(task_ids)
        return follower

    def task_names(self) -> list[str]:
        """Return the names of the tasks that were seen in messages or run by workers so far.

        Returns
        -------
        list of str
            Names as `publish` takes them.

        Examples
        --------
        >>> import tasktools as tt
        >>> with tt.connect("memory://") as cluster:
        ...     task_id = cluster.publish("emails", "send", create=True)
        ...     cluster.task_names()
        ['send']

        """
        known = self.broker.composer.functions.known()
        functions = {function for functions in known.values() for function in functions}
        if self.broker.layout.requires_functions:
            others = (each for each in self.broker.dialects if not each.names_functions)
            return sorted(functions.union(*map(self._names_of, others)))
        running = {run.task_name for run in self.broker.cluster_state().running}
        return sorted(functions | {*filter(None, running), *self._seen.names()})

    def _names_of(self, dialect: Dialect) -> set[str]:
        """Return the task names of *dialect* that were seen in messages or reported by its
        workers."""
        state = self.broker.cluster_state()
        workers = {worker.worker_id for worker in state.workers if worker.dialect == dialect.name}
        running = {run.task_name for run in state.running if run.worker_id in workers}
        return {*filter(None, running), *self._seen.names(dialect.name)}

    def _unknown_tasks(self, messages: Sequence[Outgoing]) -> Iterator[str]:
        """Yield sentences about tasks that were never seen, where workers drop tasks that they do
        not know."""
        names: defaultdict[Dialect, dict[str, None]] = defaultdict(dict)
        by_topic = {topic: self.broker.dialect_of(topic) for topic in {m.topic for m in messages}}
        for message in messages:
            if message.task_name is not None:
                names[by_topic[message.topic]][message.task_name] = None
        for dialect, named in names.items():
            warning = unknown_tasks(dialect, named, self._names_of(dialect))
            if warning is not None:
                yield warning

    def _shown(self, text: str) -> str:
        shown: str = as_shown(self._redaction.text(text))
        return shown

    def _followed(self, rows: Sequence[Sequence[Any]], events: Source) -> pd.DataFrame:
        columns = tuple(c.name for c in schemas.FOLLOWED.columns if c.source == "events")
        frame = self._frame(schemas.FOLLOWED, rows, replace(events, columns=columns))
        for name in ("error_type", "error"):
            frame[name] = frame[name].map(self._shown, na_action="ignore")
        return frame

    def _send(
        self, messages: Sequence[Outgoing], progress: Callable[[int], object] | None = None
    ) -> Published:
        # Before they are sent: a worker may be quicker than the confirm.
        self._log.listen_to(self.broker)
        self._log.add(message.task_id or message.message_id for message in messages)
        results = self.broker.publish_many(messages, progress)
        self._log.settle(messages, results)
        sent = [m for m, result in zip(messages, results, strict=True) if result not in _NOT_QUEUED]
        self._seen.remember(codec.decode(m.body, m.properties) for m in sent[:_MAX_REMEMBERED])
        return Published(messages, results)
