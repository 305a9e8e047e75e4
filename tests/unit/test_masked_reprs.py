"""Representations in the last line of a cell: no secret; whole contents are in attributes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pandas as pd
import pytest
from rich.pretty import pretty_repr

import tasktools
from tasktools.core.models import Delivery, Properties, SeenMessage, TaskMessage

SECRET = "hunter2-0f8Q"
_HOLDS = re.compile(r"bytes|\bAny\b|dict\[str, (?!Path)|DataFrame|BasicProperties")
"""Types in which a part of a message, or what somebody typed, may be; others mask themselves."""
_HOLD_NONE = (
    *("Access", "Busiest", "Cell", "Mishap", "Packed", "Page", "Story", "Tile", "_"),
    *("QueueArguments", "QueueFacts"),
)
"""Some hold what is masked already, others only facts of queues; private ones are nobody's."""
_NAMES = ("body", "error", "traceback", "value", "password", "dsn")
_VALUES: tuple[Any, ...] = (
    {"password": SECRET, "n": [{"user_jwt": SECRET}], b"k": f"amqp://u:{SECRET}@h".encode()},
    f"failed with amqp://u:p@{SECRET}@h",
    f'{{"password": "{SECRET}"}}'.encode(),
    pd.DataFrame({"kwargs": [{"password": SECRET}]}),
)


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(tasktools.__path__, "tasktools."):
        if module.name.endswith("__main__"):
            continue
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if member.__module__ == module.name and _fields(member):
                yield member


def _fields(cls: Any) -> dict[str, str]:
    """Return the fields of a struct, a dataclass or a named tuple, with their types as written."""
    if issubclass(cls, msgspec.Struct):
        names: tuple[str, ...] = cls.__struct_fields__
    elif dataclasses.is_dataclass(cls):
        names = tuple(field.name for field in dataclasses.fields(cls) if field.repr)
    else:
        names = cls._fields if issubclass(cls, tuple) and hasattr(cls, "_fields") else ()
    bases = reversed(cls.__mro__)
    types = {n: str(t) for base in bases for n, t in inspect.get_annotations(base).items()}
    return {name: types.get(name, "") for name in names}


def _may_hold(name: str, kind: str) -> bool:
    is_text = "str" in kind and name in _NAMES
    return is_text or (_HOLDS.search(kind) is not None and "Callable" not in kind)


def _made(cls: Any, values: dict[str, Any]) -> Any:
    if issubclass(cls, tuple):
        return cls._make(values.values())
    if issubclass(cls, msgspec.Struct):
        return cls(**values)
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


HOLDERS = [
    cls
    for cls in _classes()
    if any(_may_hold(*field) for field in _fields(cls).items())
    and not cls.__name__.startswith(_HOLD_NONE)
]


def test_the_classes_that_hold_messages_are_found() -> None:
    """Issue 11, secrets: the next test leaves none out."""
    names = {cls.__name__ for cls in HOLDERS}
    assert {"Delivery", "Properties", "TaskMessage", "Outgoing", "Failure"} <= names
    assert {"RawMessage", "TaskEvent", "Request", "EditRow", "PlanOrder", "Archived"} <= names


@pytest.mark.parametrize("cls", HOLDERS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_the_repr_of_what_holds_a_message_is_masked(cls: type) -> None:
    """Issue 11, secrets: as the last line of a cell, in a log, in rich and in a debugger."""
    fields = _fields(cls)
    for value in _VALUES:
        holds = {name: value if _may_hold(name, kind) else None for name, kind in fields.items()}
        try:
            shown = repr(_made(cls, holds)) + pretty_repr(_made(cls, holds))
        except (TypeError, AttributeError):  # its own words, for which the value does not do
            assert cls.__name__ == "Plan"
            continue
        assert SECRET not in shown


def test_a_seen_message_shows_what_it_is_and_holds_all_of_it() -> None:
    """Issue 11, secrets: the whole content only by attribute."""
    task = TaskMessage(
        dialect="fastpluggy", task_id="t-1", kwargs={"password": SECRET, "to": "ann"}
    )
    properties = Properties(headers={"x-dsn": f"amqp://u:{SECRET}@h".encode(), "n": 7})
    seen = SeenMessage(
        key="k", position=0, task=task, properties=properties, deaths=(), redelivered=False, size=9
    )
    delivery = Delivery(
        id="1", topic="emails", body=SECRET.encode(), properties=properties, task=task,
        redelivered=False,
    )  # fmt: skip
    for shown in (repr(seen), repr(delivery), str(delivery), f"{seen}"):
        assert SECRET not in shown
        assert "'to': 'ann'" in shown
        assert "task_id='t-1'" in shown
        assert "'n': 7" in shown
    assert f"body=<{len(SECRET)} bytes>" in repr(delivery)
    assert delivery.task.kwargs == {"password": SECRET, "to": "ann"}
    assert delivery.body == SECRET.encode()
