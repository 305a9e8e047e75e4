"""The composer of task messages, each in the dialect of its topic."""

from __future__ import annotations

import itertools
import re
import threading
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tasktools.core.amqp import properties as amqp_properties
from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import Clock, moment
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.draft import Draft
from tasktools.core.dialects.envelope import FUNCTION
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.escaping import cut
from tasktools.core.layout import DEAD_SUFFIX, RESERVED, Layout
from tasktools.core.models import Outgoing, Properties, TaskMessage

_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
_MAX_NAMES: Final = 10_000
_DIALECT_SECONDS: Final = 5.0  # for which the dialect of a topic is not asked for again
_MAX_FUNCTIONS: Final = 5  # of one name; it is ambiguous from the second on
MAX_SECONDS: Final = 30 * 24 * 3600
"""Seconds that a ttl or a delay may be long."""
_MAX_TOPIC_BYTES: Final = 255 - len(DEAD_SUFFIX)
_MAX_SHOWN_CHARS: Final = 80


class FunctionNames:
    """The function of each task name, learned from the messages seen.

    *registered* returns the functions that this program has registered under a name.
    """

    def __init__(self, registered: Callable[[str], Iterable[str]] = lambda _name: ()) -> None:
        self._registered = registered
        self._functions: BoundedDict[str, frozenset[str]] = BoundedDict(_MAX_NAMES)
        self._lock = threading.Lock()

    def learn(self, task: TaskMessage) -> None:
        """Remember the function of *task*."""
        name, function = task.task_name, task.func_name
        if not name or not function or function in self._functions.get(name, ()):
            return
        if FUNCTION.fullmatch(function):
            self.note(name, function)

    def note(self, task_name: str, func_name: str) -> None:
        """Remember that *func_name* is the function of *task_name*."""
        if func_name in self._functions.get(task_name, ()):
            return
        with self._lock:
            known = self._functions.get(task_name, frozenset())
            if len(known) < _MAX_FUNCTIONS:
                known |= {func_name}
            self._functions.put(task_name, known)

    def known(self) -> dict[str, frozenset[str]]:
        """Return the functions that were seen for each task name."""
        with self._lock:
            return dict(self._functions)

    def resolve(self, task_name: str) -> str:
        """Return `module:function` for *task_name*; raises `UnknownTask`."""
        if FUNCTION.fullmatch(task_name):
            return task_name
        known: list[str] = sorted(
            {*self._functions.get(task_name, ()), *self._registered(task_name)}
        )
        if len(known) == 1:
            return known[0]
        if known:
            why = f"{task_name!r} may be any of {', '.join(known)}"
        else:
            why = f"no message with a task named {task_name!r} has been seen"
        raise UnknownTask(f"{why}; nothing was published. Name the task as module:function.")


class Composer:
    """Builds the messages of one publisher, each in the dialect that *dialect_of* returns for its
    topic; thread-safe."""

    def __init__(
        self, dialect_of: Callable[[str], Dialect], clock: Clock, functions: FunctionNames
    ) -> None:
        self.functions = functions
        self._dialect_of = dialect_of
        self._known_dialects: BoundedDict[str, tuple[float, Dialect]] = BoundedDict(_MAX_NAMES)
        self._clock = clock
        self._lock = threading.Lock()
        self._instance = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)

    def compose(
        self,
        topic: str,
        payload: Mapping[str, Any],
        headers: Mapping[str, Any] | None = None,
        *,
        priority: int | None = None,
        ttl: float | None = None,
        delay: float = 0.0,
        dialect: Dialect | None = None,
    ) -> Outgoing:
        """Return the message for *payload*, with *headers* in the place where its dialect has
        headers.

        *dialect* is the dialect of *topic*; without it, the broker is asked, at most every few
        seconds.

        Raises `InvalidTask` (a key or type that the topic's workers cannot read, a value that is
        not JSON, a priority outside 0 to 255, an invalid time) and `UnknownTask` (its workers find
        tasks by functions, and the function is not known).
        """
        dialect = dialect or self._known_dialect(topic)
        check_target(topic, dialect)
        _check_delivery(priority, ttl, delay)
        draft = Draft(
            topic=topic,
            payload=self._named(payload, dialect),
            headers=dict(headers or {}),
            priority=priority,
            ttl=ttl,
            delay=delay,
            now=moment(self._clock.time()),
            message_id=f"tt:{self._instance}:{next(self._numbers)}",
            origin=f"tasktools@{self._instance}",
        )
        message = dialect.compose(draft)
        _check_headers(message.properties)
        if dialect.names_functions:
            self.functions.note(draft.task_name, draft.payload["func_name"])
        return message

    def _known_dialect(self, topic: str) -> Dialect:
        now = self._clock.monotonic()
        asked_at, dialect = self._known_dialects.get(topic, (now - _DIALECT_SECONDS, None))
        if dialect is None or now - asked_at >= _DIALECT_SECONDS:
            dialect = self._dialect_of(topic)
            with self._lock:
                self._known_dialects.put(topic, (now, dialect))
        return dialect

    def _named(self, payload: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
        """Return *payload* with an id and, as far as that is known, with the names of its task."""
        named: dict[str, Any] = {"task_id": str(uuid.uuid4()), **payload}
        name = payload.get("task_name") or payload.get("func_name")
        if isinstance(name, str):
            named["task_name"] = name
            if dialect.names_functions:
                named["task_name"] = name.rpartition(":")[2]
                named["func_name"] = payload.get("func_name") or self.functions.resolve(name)
        return named


def _check_delivery(priority: int | None, ttl: float | None, delay: float) -> None:
    if priority is not None and not (isinstance(priority, int) and 0 <= priority <= 255):
        raise InvalidTask(f"priority {priority!r} is not 0 to 255; nothing was published.")
    if ttl is not None and not 0 < ttl <= MAX_SECONDS:
        raise InvalidTask(f"ttl is {ttl:g} s, not 0 to {MAX_SECONDS:,}; nothing was published.")
    if not 0 <= delay <= MAX_SECONDS:
        raise InvalidTask(f"delay is {delay:g} s, not 0 to {MAX_SECONDS:,}; nothing was published.")


def _check_headers(properties: Properties) -> None:
    try:
        if properties.headers:
            amqp_properties.encode(properties)
    except (ValueError, AttributeError, RecursionError) as error:
        raise InvalidTask(f"the headers cannot be written ({error}); nothing was published.") from (
            error
        )


def check_target(topic: str, dialect: Dialect) -> None:
    """Raise `InvalidTask` unless tasks of *dialect* can be published to *topic*."""
    if dialect.creates_topics:
        check_topic(topic)
        return
    why = why_no_queue(topic)
    if why is not None:
        raise InvalidTask(f"{_short(topic)} cannot be a queue: {why}; nothing was published.")


def check_topic(topic: str) -> None:
    """Raise `InvalidTask` unless tasks can be published to *topic*."""
    why = why_no_topic(topic)
    if why is not None:
        raise InvalidTask(f"{_short(topic)} cannot be a topic: {why}; nothing was published.")


def why_no_topic(topic: str) -> str | None:
    """Return why *topic* cannot be the name of a topic, as part of a sentence, or `None`.

    >>> why_no_topic("mail.*")
    "the word '*' is a wildcard, so its queue would get a copy of other topics' tasks"
    """
    why = why_no_queue(topic)
    if why is not None:
        return why
    wildcard = next((word for word in topic.split(".") if word in ("*", "#")), None)
    prefix = next((each for each in RESERVED if topic.startswith(each)), None)
    if wildcard is not None:
        return (
            f"the word {wildcard!r} is a wildcard, so its queue would get a copy of other topics' "
            "tasks"
        )
    if prefix is not None:
        return f"names that begin with {prefix!r} are those of queues of programs"
    if Layout.is_dead_queue(topic):
        return f"it is the name of the dead-letter queue of {_short(Layout.topic_of(topic))}"
    return None


def why_no_queue(name: str) -> str | None:
    """Return why no queue of a topic can have this *name*, as part of a sentence, or `None`."""
    if not name:
        return "it is empty"
    if _NO_UTF8.search(name):
        return "it cannot be written in UTF-8"
    control = next((char for char in name if unicodedata.category(char) == "Cc"), None)
    if control is not None:
        return f"it holds the control character {control!r}"
    size = len(name.encode())
    if size > _MAX_TOPIC_BYTES:
        return (
            f"it has {size} bytes, and with '{DEAD_SUFFIX}' RabbitMQ takes names of "
            f"{_MAX_TOPIC_BYTES} bytes"
        )
    return None


def _short(name: str) -> str:
    return repr(cut(name, _MAX_SHOWN_CHARS))
