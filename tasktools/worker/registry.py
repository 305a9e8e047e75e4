"""The registry of tasks by name. Only registered functions are ever called."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from tasktools.core.models import TaskMessage

F = TypeVar("F", bound=Callable[..., Any])

LockName = str | Callable[..., str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A registered function.

    `TaskRegistry.task` says what the fields mean.
    """

    function: Callable[..., Any]
    name: str
    func_name: str
    topic: str | None = None
    max_retries: int | None = None
    retry_delay: float = 1.0
    time_limit: float | None = None
    lock: LockName | None = None
    is_async: bool = False

    def __post_init__(self) -> None:
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"{self.func_name}: a time_limit is more than 0 seconds.")
        if (self.max_retries or 0) < 0 or not self.retry_delay >= 0:
            raise ValueError(f"{self.func_name}: max_retries and retry_delay are 0 or more.")

    @property
    def signature(self) -> inspect.Signature | None:
        """The function's signature, if it has one."""
        try:
            return inspect.signature(self.function)
        except (TypeError, ValueError):
            return None


class TaskRegistry:
    """The tasks of an application.

    >>> registry = TaskRegistry()
    >>> @registry.task(topic="emails", max_retries=3)
    ... def send(to: str) -> None: ...
    >>> [task.name for task in registry]
    ['send']
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._by_name: dict[str, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def topics(self) -> frozenset[str]:
        """The topics that tasks were registered with."""
        return frozenset(task.topic for task in self if task.topic is not None)

    @overload
    def task(self, function: F, /) -> F: ...

    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        topic: str | None = None,
        max_retries: int | None = None,
        retry_delay: float = 1.0,
        time_limit: float | None = None,
        lock: LockName | None = None,
    ) -> Callable[[F], F]: ...

    def task(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        topic: str | None = None,
        max_retries: int | None = None,
        retry_delay: float = 1.0,
        time_limit: float | None = None,
        lock: LockName | None = None,
    ) -> Any:
        """Register a function, or a coroutine function, as a task; a decorator.

        Parameters
        ----------
        function
            The function, if the decorator is used without parentheses. It is returned unchanged.
        name
            The task's short name; by default the function's.
        topic
            A topic that a worker with this task consumes in addition to its own topics.
        max_retries
            Number of attempts after the first; by default the topic's setting.
        retry_delay
            Seconds before the second attempt, doubled before each further one.
        time_limit
            Seconds that one attempt may take; by default the runner's.
        lock
            A name, or a function of the task's arguments that returns one: tasks with the same lock
            never run at once in the whole cluster. Values in a message take precedence over
            *max_retries*, *retry_delay* and *lock*.

        Raises
        ------
        ValueError
            An option makes no sense, or another function is registered as the same
            ``module:function`` (except in ``__main__``, where a notebook runs cells again).

        Examples
        --------
        >>> registry = TaskRegistry()
        >>> @registry.task(max_retries=3, retry_delay=2, time_limit=60)
        ... def send(to: str) -> None: ...
        >>> [(task.name, task.max_retries) for task in registry]
        [('send', 3)]

        """

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(
                Task(
                    function=function,
                    name=name or function.__name__,
                    func_name=f"{function.__module__}:{function.__qualname__}",
                    topic=topic,
                    max_retries=max_retries,
                    retry_delay=retry_delay,
                    time_limit=time_limit,
                    lock=lock,
                    is_async=inspect.iscoroutinefunction(function),
                )
            )
            return function

        return register if function is None else register(function)

    def _add(self, task: Task) -> None:
        known = self._tasks.get(task.func_name)
        again = task.function.__module__ == "__main__"  # a notebook's cell was run again
        if known is not None and known.function is not task.function and not again:
            raise ValueError(
                f"Another function is registered as {task.func_name!r} already; it stays. Name "
                "this one differently, or begin with a new TaskRegistry."
            )
        self._tasks[task.func_name] = task
        names = Counter(task.name for task in self)
        self._by_name = {task.name: task for task in self if names[task.name] == 1}

    def find(self, message: TaskMessage) -> Task | None:
        """Return the registered task for *message*, or `None`.

        A message with a `func_name` matches only a task with exactly this function. Else its
        `task_name` is a ``module:function``, or the short name of a single task.
        """
        if message.func_name is not None:
            return self._tasks.get(message.func_name)
        name = message.task_name or ""
        return self._tasks.get(name) or self._by_name.get(name)


DEFAULT: Final = TaskRegistry()
"""The registry that `tasktools.task` fills, the default of `TaskRunner`."""

task: Final = DEFAULT.task
