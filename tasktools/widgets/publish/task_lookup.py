"""Lookup of a task by its name: its function and that function's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Protocol

from tasktools.brokers.base import Broker
from tasktools.core.models import TaskMessage
from tasktools.widgets.publish.state import Signatures


class RegisteredTask(Protocol):
    """A task of a registry."""

    @property
    def func_name(self) -> str:
        """The task's function, as ``module:function``."""

    @property
    def signature(self) -> inspect.Signature | None:
        """The signature of the task's function, or `None` if it is not known."""


class Registry(Protocol):
    """A registry of tasks, above all a `TaskRegistry`."""

    def __iter__(self) -> Iterator[RegisteredTask]: ...

    def find(self, message: TaskMessage, /) -> RegisteredTask | None:
        """Return the task that *message* names, by its function or by its name."""


def in_registry(registry: Registry | None, name: str) -> RegisteredTask | None:
    """Return the registered task called *name*, ``module:function`` or a short name."""
    if registry is None:
        return None
    function = name if ":" in name else None
    return registry.find(TaskMessage(dialect="fastpluggy", task_name=name, func_name=function))


def resolver(broker: Broker, registry: Registry | None) -> Callable[[str], str]:
    """Return a function that turns a task's name into the name to publish.

    The function raises `UnknownTask`. Peers of layout `fp` need ``module:function``; other layouts
    take any name.
    """
    if not broker.layout.requires_functions:
        return str
    functions = broker.composer.functions

    def resolve(name: str) -> str:
        task = in_registry(registry, name)
        return functions.resolve(name) if task is None else task.func_name

    return resolve


def signatures_of(registry: Registry | None) -> Signatures:
    """Return a function that returns the signature of a registered task by its name."""

    def signature(name: str) -> inspect.Signature | None:
        task = in_registry(registry, name)
        return None if task is None else task.signature

    return signature
