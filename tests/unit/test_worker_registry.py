"""The registered function that a message stands for."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.models import TaskMessage
from tasktools.worker import DEFAULT
from tasktools.worker.registry import Task

HERE = __name__


def send(to: str) -> str:
    return f"sent to {to}"


async def fetch() -> None: ...


def wants(task_name: str | None = None, func_name: str | None = None) -> TaskMessage:
    return TaskMessage(dialect="fastpluggy", task_name=task_name, func_name=func_name)


@pytest.fixture
def registry() -> tt.TaskRegistry:
    return tt.TaskRegistry()


def only(registry: tt.TaskRegistry) -> Task:
    (task,) = registry
    return task


def test_a_decorated_function_stays_what_it_is(registry: tt.TaskRegistry) -> None:
    assert registry.task(send) is send
    assert registry.task(topic="emails")(send) is send
    assert send("a@b") == "sent to a@b"


def test_a_task_is_named_after_its_function(registry: tt.TaskRegistry) -> None:
    registry.task(send)
    task = only(registry)
    assert (task.name, task.func_name) == ("send", f"{HERE}:send")
    assert (task.is_async, task.topic, task.max_retries) == (False, None, None)


def test_options_are_kept(registry: tt.TaskRegistry) -> None:
    options: dict[str, Any] = {
        "name": "fetch_all",
        "topic": "pages",
        "max_retries": 3,
        "retry_delay": 0.5,
        "time_limit": 60.0,
        "lock": "fetching",
    }
    registry.task(**options)(fetch)
    task = only(registry)
    assert {name: getattr(task, name) for name in options} == options
    assert task.is_async
    assert registry.topics == {"pages"}


def test_the_signature_is_the_functions(registry: tt.TaskRegistry) -> None:
    registry.task(send)
    assert only(registry).signature == inspect.signature(send)


def test_what_has_no_signature_can_be_a_task(registry: tt.TaskRegistry) -> None:
    registry.task(min)
    assert only(registry).func_name == "builtins:min"
    assert only(registry).signature is None


@pytest.mark.parametrize(
    "message",
    [
        wants(func_name=f"{HERE}:send"),
        wants("anything", f"{HERE}:send"),
        wants(f"{HERE}:send"),
        wants("send"),
    ],
)
def test_a_message_finds_its_task(registry: tt.TaskRegistry, message: TaskMessage) -> None:
    registry.task(send)
    assert registry.find(message) is only(registry)


@pytest.mark.parametrize(
    "message",
    [wants(), wants("sent"), wants("send", "elsewhere:send"), wants(func_name="os:remove")],
)
def test_a_message_finds_no_other_task(registry: tt.TaskRegistry, message: TaskMessage) -> None:
    registry.task(send)
    assert registry.find(message) is None


def test_a_short_name_of_two_tasks_is_none_of_them(registry: tt.TaskRegistry) -> None:
    registry.task(send)
    registry.task(name="send")(fetch)
    assert registry.find(wants("send")) is None
    task = registry.find(wants(f"{HERE}:fetch"))
    assert task is not None
    assert task.function is fetch


def test_registering_again_replaces_the_options(registry: tt.TaskRegistry) -> None:
    registry.task(send)
    registry.task(topic="emails", name="mail")(send)
    assert only(registry).topic == "emails"
    assert registry.find(wants("send")) is None
    assert registry.find(wants("mail")) is only(registry)


def test_another_function_under_the_same_name_is_an_error(registry: tt.TaskRegistry) -> None:
    registry.task(send)

    def other() -> None: ...

    other.__qualname__ = "send"
    with pytest.raises(ValueError, match="it stays"):
        registry.task(other)
    assert only(registry).function is send


@pytest.mark.parametrize("options", [{"time_limit": 0}, {"max_retries": -1}, {"retry_delay": -0.1}])
def test_options_that_no_task_can_have_are_an_error(
    registry: tt.TaskRegistry, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"{HERE}:send"):
        registry.task(**options)(send)
    assert not len(registry)


def test_tasktools_task_fills_the_registry_that_runners_use_by_default() -> None:
    assert tt.task == DEFAULT.task
    assert isinstance(DEFAULT, tt.TaskRegistry)


def test_outside_of_a_task_there_is_no_current_task() -> None:
    with pytest.raises(LookupError, match="No task runs here"):
        tt.current_task()


def test_a_cell_of_a_notebook_that_is_run_again_replaces_its_task() -> None:
    registry = tt.TaskRegistry()
    cell = "def again() -> int:\n    return {}\n"
    for number in (1, 2):
        notebook: dict[str, Any] = {"__name__": "__main__"}
        exec(cell.format(number), notebook)  # noqa: S102 - as a notebook's kernel does
        registry.task(notebook["again"])
    (task,) = registry
    assert task.function() == 2
