"""What a task's name stands for: its function, and that function's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Protocol

from tasktools.brokers.base import Broker
from tasktools.core.models import TaskMessage
from tasktools.widgets.publishing.state import Signatures


class RegisteredTask(Protocol):
    """A task of a registry."""

    @property
    def func_name(self) -> str:
        """Its function, as ``module:function``."""

    @property
    def signature(self) -> inspect.Signature | None:
        """What its function takes; `None` when that cannot be told."""


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
    return registry.find(TaskMessage(form="native", task_name=name, func_name=function))


def resolver(broker: Broker, registry: Registry | None) -> Callable[[str], str]:
    """Return what makes of a task's name the one to publish; raises `UnknownTask`.

    Peers of layout `fp` need ``module:function``; elsewhere any name will do.
    """
    if broker.layout.name != "fp":
        return str
    functions = broker.composer.functions

    def resolve(name: str) -> str:
        task = in_registry(registry, name)
        return functions.resolve(name) if task is None else task.func_name

    return resolve


def signatures_of(registry: Registry | None) -> Signatures:
    """Return what tells the signatures of registered tasks."""

    def signature(name: str) -> inspect.Signature | None:
        task = in_registry(registry, name)
        return None if task is None else task.signature

    return signature
