"""Writing task messages that no peer can choke on.

A peer rebuilds its task with exactly the payload's keys as arguments. A payload that lacks
one of three keys, or has one too many, is republished there forever; so what goes to layout
`fp` is completed here, or refused.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tasktools.core.clock import Clock, moment
from tasktools.core.errors import InvalidTask, UnknownTask
from tasktools.core.layout import Layout
from tasktools.core.models import Outgoing, Properties, TaskMessage

_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_NO_UTF8: Final = re.compile("[\ud800-\udfff]")
_MAX_NAMES: Final = 10_000
_MOST_FUNCTIONS: Final = 5  # of one name; it is ambiguous from the second on
_MOST_BYTES: Final = 16 * 1024 * 1024
LONGEST: Final = 30 * 24 * 3600
"""Seconds that a ttl or a delay may be long."""
_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

PAYLOAD_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "task_id": (str,),
    "task_name": (str,),
    "func_name": (str,),
    "args": (list,),
    "kwargs": (dict,),
    "notifier_config": (list,),
    "parent_task_id": (str, type(None)),
    "max_retries": (int,),
    "retry_delay": (int,),
    "task_origin": (str,),
    "topic": (str,),
    "task_type": (str,),
    "allow_concurrent": (bool,),
    "extra_context": (dict,),
    "created_at": (str,),
}
"""The keys that a peer's payload may have, with their types; no others."""


class FunctionNames:
    """Which function a task name stands for, learned from the messages that were seen.

    *registered* returns the functions that this program has registered under a name.
    """

    def __init__(self, registered: Callable[[str], Iterable[str]] = lambda _name: ()) -> None:
        self._registered = registered
        self._functions: OrderedDict[str, frozenset[str]] = OrderedDict()
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
            if len(known) < _MOST_FUNCTIONS:
                known |= {func_name}
            self._functions[task_name] = known
            self._functions.move_to_end(task_name)
            while len(self._functions) > _MAX_NAMES:
                self._functions.popitem(last=False)

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
        return Outgoing(
            topic=topic,
            message_id=message_id,
            body=_dumps(envelope),
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
        if self._layout.name == "fp":
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
    if ttl is not None and not 0 < ttl <= LONGEST:
        raise InvalidTask(f"ttl is {ttl:g} s, not 0 to {LONGEST:,}; nothing was published.")
    if not 0 <= delay <= LONGEST:
        raise InvalidTask(f"delay is {delay:g} s, not 0 to {LONGEST:,}; nothing was published.")
    if ttl is not None and delay:
        raise InvalidTask(
            "a task has a ttl or a delay, not both, since RabbitMQ forgets the ttl of a message "
            "that was parked; nothing was published."
        )


def check_topic(topic: str) -> None:
    """Raise `InvalidTask` unless *topic* can be a queue: 1 to 250 bytes, no wildcard."""
    usable = topic and topic != "*" and not topic.startswith("amq.") and not _NO_UTF8.search(topic)
    if not usable or len(topic.encode()) > 250:
        raise InvalidTask(f"{topic!r} cannot be a topic; nothing was published.")


def _dumps(envelope: Mapping[str, Any]) -> bytes:
    try:
        body = _encode(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidTask(
            f"the task cannot be written as JSON ({error}); nothing was published."
        ) from error
    if len(body) > _MOST_BYTES:
        raise InvalidTask(
            f"the task is {len(body):,} bytes long, and RabbitMQ 4 takes 16 MiB; nothing was "
            "published. Put the data elsewhere and its address into the task."
        )
    return body
