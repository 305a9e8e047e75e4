"""The composer of task messages, which refuses those that a peer cannot read.

A peer rebuilds its task with exactly the payload's keys as arguments. A payload that lacks
one of three keys, or has one too many, is republished there forever; so what goes to layout
`fp` is completed here, or refused.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tasktools.core.bounded_dict import BoundedDict
from tasktools.core.clock import Clock, moment
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.layout import DEAD_SUFFIX, RESERVED, Layout
from tasktools.core.models import Outgoing, Properties, TaskMessage
from tasktools.core.tasks import peer_form
from tasktools.core.tasks.peer_form import PAYLOAD_FIELDS

_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
_MAX_NAMES: Final = 10_000
_MAX_FUNCTIONS: Final = 5  # of one name; it is ambiguous from the second on
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
MAX_SECONDS: Final = 30 * 24 * 3600
"""Seconds that a ttl or a delay may be long."""
_MAX_TOPIC_BYTES: Final = 255 - len(DEAD_SUFFIX)
_MAX_SHOWN_CHARS: Final = 80
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class FunctionNames:
    """The functions that task names stand for, learned from the messages that were seen.

    *registered* returns the functions that this program has registered under a name.
    """

    def __init__(self, registered: Callable[[str], Iterable[str]] = lambda _name: ()) -> None:
        self._registered = registered
        self._functions: BoundedDict[str, frozenset[str]] = BoundedDict(_MAX_NAMES)
        self._lock = threading.Lock()

    def learn(self, task: TaskMessage) -> None:
        """Remember the function of *task*."""
        if task.task_name and task.func_name and _FUNCTION.fullmatch(task.func_name):
            self.note(task.task_name, task.func_name)

    def note(self, task_name: str, func_name: str) -> None:
        """Remember that *task_name* stands for *func_name*."""
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
        if _FUNCTION.fullmatch(task_name):
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
    """Builds the messages of one publisher; safe to use from several threads."""

    def __init__(self, layout: Layout, clock: Clock, functions: FunctionNames) -> None:
        self.functions = functions
        self._layout = layout
        self._clock = clock
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
    ) -> Outgoing:
        """Return the message for *payload*; *headers* go into the body.

        Raises `InvalidTask` (a key or type that a peer chokes on, not JSON, a priority outside
        0 to 255, a time that is none) and `UnknownTask` (layout `fp`: the function is not known).
        """
        check_topic(topic)
        _check_delivery(priority, ttl, delay)
        now = moment(self._clock.time())
        message_id = f"tt:{self._instance}:{next(self._numbers)}"
        complete = self._complete(topic, payload, str(now.replace(tzinfo=None)))
        envelope = {
            "id": message_id,
            "topic": topic,
            "payload": complete,
            "headers": dict(headers or {}),
            "attempts": 0,
            "created_at": now.isoformat(),
        }
        body = _dumps(envelope)
        if self._layout.requires_peer_form:
            _check_readable(body)
        return Outgoing(
            topic=topic,
            message_id=message_id,
            body=body,
            properties=Properties(
                message_id=message_id,
                timestamp=now,
                delivery_mode=2,
                priority=priority,
                expiration=None if ttl is None else str(max(round(ttl * 1000), 1)),
            ),
            task_id=complete["task_id"],
            task_name=complete["task_name"],
            delay=delay,
        )

    def _complete(self, topic: str, payload: Mapping[str, Any], created_at: str) -> dict[str, Any]:
        name = payload.get("task_name") or payload.get("func_name")
        if not isinstance(name, str):
            raise InvalidTask("the payload has no task_name; nothing was published.")
        done: dict[str, Any] = {"args": [], "kwargs": {}, **payload}
        done.setdefault("task_id", str(uuid.uuid4()))
        if self._layout.requires_peer_form:
            done["func_name"] = payload.get("func_name") or self.functions.resolve(name)
            done["task_name"] = name.rpartition(":")[2]
            done = {**_peer_defaults(topic, created_at), **done}
            _check_for_peer(done)
            self.functions.note(done["task_name"], done["func_name"])
        _check(done, ("task_id", "args", "kwargs"))
        return done


def _peer_defaults(topic: str, created_at: str) -> dict[str, Any]:
    return {
        "notifier_config": [],
        "parent_task_id": None,
        "max_retries": 0,
        "retry_delay": 0,
        "task_origin": "tasktools",
        "topic": topic,
        "task_type": "native",
        "allow_concurrent": True,
        "extra_context": {},
        "created_at": created_at,
    }


def _check_for_peer(payload: Mapping[str, Any]) -> None:
    extra = sorted(payload.keys() - PAYLOAD_FIELDS.keys())
    if extra:
        raise InvalidTask(
            f"the payload has {', '.join(extra)}, with which a peer would republish it forever; "
            "nothing was published. Put values of your own into headers."
        )
    _check(payload, tuple(PAYLOAD_FIELDS))
    if not _FUNCTION.fullmatch(payload["func_name"]):
        raise InvalidTask(
            f"func_name {payload['func_name']!r} is not module:function; nothing was published."
        )


def _check_readable(body: bytes) -> None:
    why = peer_form.problem(body)
    if why is not None:
        raise InvalidTask(f"a peer cannot read the task: {why}; nothing was published.")


def _check(payload: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    for name in fields:
        value, types = payload[name], PAYLOAD_FIELDS[name]
        wrong_bool = isinstance(value, bool) and bool not in types
        if wrong_bool or not isinstance(value, types) or (name == "task_id" and not value):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise InvalidTask(
                f"{name} is {type(value).__name__}, not {expected}; nothing was published."
            )


def _check_delivery(priority: int | None, ttl: float | None, delay: float) -> None:
    if priority is not None and not (isinstance(priority, int) and 0 <= priority <= 255):
        raise InvalidTask(f"priority {priority!r} is not 0 to 255; nothing was published.")
    if ttl is not None and not 0 < ttl <= MAX_SECONDS:
        raise InvalidTask(f"ttl is {ttl:g} s, not 0 to {MAX_SECONDS:,}; nothing was published.")
    if not 0 <= delay <= MAX_SECONDS:
        raise InvalidTask(f"delay is {delay:g} s, not 0 to {MAX_SECONDS:,}; nothing was published.")
    if ttl is not None and delay:
        raise InvalidTask(
            "a task has a ttl or a delay, not both, since RabbitMQ forgets the ttl of a message "
            "that was parked; nothing was published."
        )


def check_topic(topic: str) -> None:
    """Raise `InvalidTask` unless tasks can be published to *topic*."""
    why = why_no_topic(topic)
    if why is not None:
        raise InvalidTask(f"{_short(topic)} cannot be a topic: {why}; nothing was published.")


def why_no_topic(topic: str) -> str | None:
    """Return why *topic* cannot be the name of one, as part of a sentence, or `None`.

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
    return repr(name) if len(name) <= _MAX_SHOWN_CHARS else f"{name[:_MAX_SHOWN_CHARS]!r}…"


def _dumps(envelope: Mapping[str, Any]) -> bytes:
    try:
        body = _encode(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(
            f"the task cannot be written as JSON ({error}); nothing was published."
        ) from error
    if len(body) > _MAX_BODY_BYTES:
        raise InvalidTask(
            f"the task is {len(body):,} bytes long, and RabbitMQ 4 takes 16 MiB; nothing was "
            "published. Put the data elsewhere and its address into the task."
        )
    return body
