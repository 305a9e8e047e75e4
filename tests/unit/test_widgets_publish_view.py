"""The publish widget without a browser: what is bound to what, and what is shown."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest

import tasktools as tt
from tasktools.cluster.cluster import Cluster
from tasktools.core.models import TaskMessage
from tasktools.testing import PUBLISHED, eventually, task_event
from tasktools.widgets import html
from tasktools.widgets.publish.view import PublishWidget
from tests.recorded import Scene
from tests.screen import WidgetScreen

FRAME = pd.DataFrame({"topic": ["emails"] * 3, "task_name": "shop:send"})


class Registered:
    """A task of a registry."""

    func_name = "shop:send"

    @staticmethod
    def send(to: str, *, urgent: bool = False, tags: Any = None) -> None: ...

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.send)


class Registry:
    """A registry of one task."""

    def __iter__(self) -> Iterator[Registered]:
        return iter([Registered()])

    def find(self, message: TaskMessage) -> Registered | None:
        return Registered() if message.task_name in ("shop:send", "send") else None


class Screen(WidgetScreen[PublishWidget]):
    def __init__(self, cluster: Cluster, **options: Any) -> None:
        super().__init__(lambda post: PublishWidget(cluster, post=post, **options))
        self.state = self.widget.state
        self.widget.feed.follow_seconds = 0.02


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tt.connect("memory://") as cluster:
        cluster.broker.ensure_topic("emails")
        yield cluster


@pytest.fixture
def show(cluster: Cluster) -> Iterator[Callable[..., Screen]]:
    shown: list[Screen] = []

    def show(on: Cluster | None = None, **options: Any) -> Screen:
        shown.append(Screen(on or cluster, **options))
        return shown[-1]

    yield show
    for screen in shown:
        screen.widget.close()


Show = Callable[..., Screen]


def test_importing_tasktools_loads_no_widgets_and_they_are_there_when_asked_for() -> None:
    program = """
import sys, tasktools
for name in ("ipywidgets", "plotly", "anywidget", "traitlets", "tasktools.widgets"):
    assert name not in sys.modules, name
assert "widgets" in dir(tasktools)
assert callable(tasktools.widgets.publish)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_publish_is_what_makes_the_widget(cluster: Cluster) -> None:
    widget = tt.widgets.publish(cluster)
    assert isinstance(widget, PublishWidget)
    widget.close()


# --- bindings ------------------------------------------------------------------------


def test_what_is_entered_is_in_the_state_and_the_other_way_round(show: Show) -> None:
    screen = show()
    for trait, description in (
        ("topic", "Topic"),
        ("task", "Task"),
        ("args", "args"),
        ("kwargs", "kwargs"),
        ("priority", "Priority"),
        ("ttl", "TTL"),
        ("delay", "Delay"),
    ):
        control = screen.labelled(description)
        control.value = "7"
        assert getattr(screen.state, trait) == "7"
        setattr(screen.state, trait, "8")
        assert control.value == "8"
    screen.labelled("Create the topic").value = True
    assert screen.state.create


def test_topics_and_tasks_are_completed_from_what_is_known(show: Show, cluster: Cluster) -> None:
    cluster.publish("emails", "shop:send")
    screen = show()
    screen.until(lambda: screen.labelled("Topic").options == ("emails",))
    screen.until(lambda: screen.labelled("Task").options == ("shop:send",))


def test_registered_tasks_are_completed_and_have_a_form(show: Show) -> None:
    screen = show(registry=Registry())
    screen.until(lambda: screen.labelled("Task").options == ("shop:send",))
    screen.state.topic, screen.state.task = "emails", "shop:send"
    assert [type(screen.labelled(name)) for name in ("to", "urgent", "tags")] == [
        ipywidgets.Text,
        ipywidgets.Checkbox,
        ipywidgets.Textarea,
    ]
    screen.labelled("to").value, screen.labelled("urgent").value = "a@b", True
    assert screen.state.entered == {"to": "a@b", "urgent": True, "tags": ""}
    screen.labelled("Edit the arguments as JSON").value = True
    assert '"to": "a@b"' in screen.labelled("kwargs").value
    screen.state.task = "other"
    assert not [w for w in screen.all() if getattr(w, "description", "") == "to"]


def test_the_registry_of_a_worker_will_do(show: Show) -> None:
    registry = tt.TaskRegistry()

    @registry.task(name="resize")
    def resize(path: str, width: int = 640) -> None: ...

    screen = show(registry=registry)
    screen.state.task = "resize"
    assert [field.name for field in screen.state.fields] == ["path", "width"]
    (task,) = registry
    screen.state.task = task.func_name
    assert [field.name for field in screen.state.fields] == ["path", "width"]


def test_on_fp_a_registered_name_stands_for_its_function(show: Show) -> None:
    with tt.connect("demo://") as demo:
        screen = show(demo, registry=Registry())
        screen.state.topic, screen.state.task = "emails", "send"
        screen.labelled("to").value = "a@b"
        screen.until(lambda: screen.state.can_publish)
        screen.labelled("Publish").click()
        assert screen.state.order is not None
        assert screen.state.order.frame["task_name"].tolist() == ["shop:send"]
        screen.widget.close()


def test_the_button_is_off_while_something_stands_in_the_way_and_says_what(show: Show) -> None:
    screen = show()
    button = screen.labelled("Publish")
    assert button.disabled
    assert button.tooltip == "Choose a topic. Choose a task."
    assert "<li>Choose a topic.</li>" in screen.html
    screen.state.topic, screen.state.task = "emails", "shop:send"
    screen.until(lambda: not button.disabled)
    assert "<li>" not in screen.html


def test_the_form_says_before_that_nobody_consumes_the_topic(show: Show) -> None:
    """Issue 11, new user: a form that sends to a topic that nobody consumes says so before."""
    screen = show()
    screen.state.topic, screen.state.task = "emails", "shop:send"
    screen.until(lambda: screen.state.warnings)
    assert "Note that nobody consumes &#x27;emails&#x27; now" in screen.html
    assert screen.state.can_publish
    screen.state.topic = ""
    assert screen.state.warnings == ()


def test_what_another_thread_sets_meanwhile_is_shown_in_the_end(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab hands what is typed to another thread than that of the notebook's loop."""
    news_threads: list[threading.Thread] = []

    def reasons(blockers: tuple[str, ...]) -> str:
        if "Looking" in blockers[0] and not news_threads:  # the answer comes in the middle of this
            news = {"missing": ("emials",), "topics": ("emails",)}
            news_threads.append(threading.Thread(target=screen.widget._receive, args=(news,)))
            news_threads[0].start()
            news_threads[0].join(0.2)
        return shown(blockers)

    shown = html.reasons
    monkeypatch.setattr(html, "reasons", reasons)
    screen = show()
    screen.state.topic = "emials"
    news_threads[0].join()

    assert "There is no topic &#x27;emials&#x27;" in screen.html
    assert screen.labelled("Publish").tooltip == " ".join(screen.state.blockers)


# --- stories -------------------------------------------------------------------------


def test_a_task_is_published_and_followed_to_its_end(show: Show, cluster: Cluster) -> None:
    screen = show()
    screen.state.topic, screen.state.task = "emails", "shop:send"
    screen.until(lambda: screen.state.can_publish)
    screen.labelled("Publish").click()
    assert screen.labelled("Publish").disabled
    screen.until(lambda: "1 task: 1 confirmed · 1 queued" in screen.html)
    task_id = screen.state.outcome["task_id"][0]
    cluster.broker.broadcast(task_event("task_started", task_id))
    screen.until(lambda: "1 running" in screen.html)
    cluster.broker.broadcast(task_event("task_failed", task_id, error="no route", duration=1.5))
    screen.until(lambda: "1 failed" in screen.html)
    assert "no route" in screen.html
    assert "1.50 s" in screen.html
    assert not screen.labelled("Publish").disabled
    assert not screen.state.problem


def test_an_unknown_topic_is_refused_in_words_and_nothing_is_sent(
    show: Show, cluster: Cluster
) -> None:
    screen = show()
    screen.state.topic, screen.state.task = "emials", "shop:send"
    screen.until(lambda: "Did you mean &#x27;emails&#x27;?" in screen.html)
    screen.labelled("Publish").click()
    assert screen.state.order is None
    screen.labelled("Create the topic").value = True
    screen.labelled("Publish").click()
    screen.until(lambda: "1 confirmed" in screen.html)
    assert cluster.broker.topic_exists("emials")


def test_a_topic_that_vanished_meanwhile_is_a_refusal_on_screen(show: Show) -> None:
    screen = show()
    screen.state.topics, screen.state.topic, screen.state.task = ("gone",), "gone", "shop:send"
    screen.state.publish()
    screen.until(lambda: 'role="alert"' in screen.html)
    assert "There is no topic 'gone'; nothing was changed" in screen.state.refusal
    assert not screen.state.problem


def test_a_batch_is_asked_about_and_shows_its_progress_and_a_bar(
    show: Show, cluster: Cluster
) -> None:
    screen = show(batch=FRAME)
    assert "3 tasks in the DataFrame" in screen.html
    screen.until(lambda: screen.state.can_publish)
    asked = screen.labelled("Yes, publish")
    screen.labelled("Publish 3 tasks …").click()
    assert screen.state.armed
    assert screen.state.order is None
    screen.labelled("No").click()
    assert not screen.state.armed
    screen.labelled("Publish 3 tasks …").click()
    asked.click()
    (bar,) = screen.all(ipywidgets.IntProgress)
    screen.until(lambda: (bar.value, bar.max) == (3, 3))
    assert "3 of 3" in [label.value for label in screen.all(ipywidgets.Label)]
    screen.until(lambda: screen.state.counts == {"queued": 3})
    assert "flex: 3" in screen.html
    assert ">3 queued<" in screen.html
    for task_id in screen.state.outcome["task_id"]:
        cluster.broker.broadcast(task_event("task_completed", task_id))
    screen.until(lambda: screen.state.counts == {"succeeded": 3})
    assert ">3 succeeded<" in screen.html


def test_a_file_becomes_a_batch(show: Show) -> None:
    screen = show()
    screen.state.mode = "batch"
    upload = screen.all(ipywidgets.FileUpload)[0]
    content = b"topic,task_name\nemails,shop:send\nemails,shop:send\n"
    about = {"name": "t.csv", "type": "", "size": 1, "last_modified": PUBLISHED}
    upload.value = [{**about, "content": content}]
    assert "2 tasks in t.csv" in screen.html
    assert upload.value == ()  # issue 11, secrets: a saved notebook has what is in its widgets
    upload.value = [{**about, "content": b"topic\n\xff"}]
    assert "t.csv is not UTF-8" in screen.html


SECRET = "hunter2-0f8Q"


def held(screen: Screen) -> str:
    """Return all that is in the widget's state and in the widgets of the screen."""
    traits = {name: getattr(screen.state, name) for name in screen.state.trait_names()}
    frames = [value.to_dict() for value in traits.values() if isinstance(value, pd.DataFrame)]
    orders = [o.frame.to_dict() for o in (screen.state.order, screen.state.batch) if o is not None]
    shown = [widget.get_state() for widget in screen.all(ipywidgets.Widget)]
    return repr([traits, frames, orders, shown])


def publish_and_wait(screen: Screen, *buttons: str) -> None:
    screen.until(lambda: screen.state.can_publish)
    for description in buttons:
        screen.labelled(description).click()
    screen.until(lambda: not screen.state.busy)
    assert screen.state.refusal == ""


def test_a_secret_in_json_leaves_the_widget_once_the_task_is_ordered(
    show: Show, cluster: Cluster
) -> None:
    """Issue 11, secrets: a saved notebook has what is in its widgets; the task is sent as typed."""
    screen = show()
    state = screen.state
    state.topic, state.task = "emails", "shop:send"
    state.args = f'["--password", "{SECRET}"]'
    screen.labelled("kwargs").value = f'{{"to": "ann", "dsn": "amqp://u:{SECRET}@h"}}'
    publish_and_wait(screen, "Publish")
    assert SECRET not in held(screen)
    assert (state.topic, state.task) == ("emails", "shop:send")
    assert screen.labelled("args").value == '["--password", "•••"]'
    assert '"to": "ann"' in screen.labelled("kwargs").value
    assert not state.can_publish
    assert "kwargs holds •••" in " ".join(state.blockers)
    (message,) = cluster.broker.peek("emails").messages
    assert message.task.args == ["--password", SECRET]
    assert message.task.kwargs == {"to": "ann", "dsn": f"amqp://u:{SECRET}@h"}
    state.args, state.kwargs = "[]", '{"to": "bob"}'
    publish_and_wait(screen, "Publish")
    assert state.kwargs == '{"to": "bob"}'
    assert state.order is not None


def test_a_secret_in_the_form_leaves_the_widget_once_the_task_is_ordered(
    show: Show, cluster: Cluster
) -> None:
    """Issue 11, secrets: also what the form wrote into the JSON beside it, and a default."""

    def log_in(
        user: str, password: str, pin: int = 0, more: Any = None, dsn: str = f"amqp://u:{SECRET}@h"
    ) -> None: ...

    screen = show(signatures=lambda _name: inspect.signature(log_in))
    state = screen.state
    state.topic, state.task = "emails", "shop:log_in"
    assert SECRET not in held(screen)
    screen.labelled("user").value = "ann"
    screen.labelled("password").value = SECRET
    screen.labelled("more").value = f'{{"api_key": "{SECRET}", "n": 1}}'
    screen.labelled("pin").value = SECRET
    assert SECRET not in " ".join(state.blockers)
    screen.labelled("pin").value = "7"
    screen.labelled("Edit the arguments as JSON").value = True
    screen.labelled("Edit the arguments as JSON").value = False
    publish_and_wait(screen, "Publish")
    assert SECRET not in held(screen)
    assert [screen.labelled(name).value for name in ("user", "password", "more", "dsn")] == [
        "ann", "•••", '{"api_key": "•••", "n": 1}', "",
    ]  # fmt: skip
    assert "password holds •••" in " ".join(state.blockers)
    (message,) = cluster.broker.peek("emails").messages
    assert message.task.kwargs == {
        "user": "ann", "password": SECRET, "pin": 7, "more": {"api_key": SECRET, "n": 1},
    }  # fmt: skip


def test_a_batch_with_secrets_leaves_the_widget_once_it_is_ordered(
    show: Show, cluster: Cluster
) -> None:
    """Issue 11, secrets: one without any stays, and can be published again."""
    screen = show()
    state = screen.state
    state.mode, state.topic = "batch", "emails"
    upload = screen.all(ipywidgets.FileUpload)[0]
    about = {"name": "t.csv", "type": "", "size": 1, "last_modified": PUBLISHED}
    lines = ["task_name,kwargs", 'shop:send,"{""n"": 1}"']
    upload.value = [{**about, "content": "\n".join(lines).encode()}]
    publish_and_wait(screen, "Publish 1 task …", "Yes, publish")
    assert state.batch is not None
    assert state.can_publish
    lines.append(f'shop:send,"{{""password"": ""{SECRET}""}}"')
    upload.value = [{**about, "content": "\n".join(lines).encode()}]
    publish_and_wait(screen, "Publish 2 tasks …", "Yes, publish")
    assert SECRET not in held(screen)
    assert "The tasks of t.csv hold secrets, and are forgotten" in " ".join(state.blockers)
    sent = [message.task.kwargs for message in cluster.broker.peek("emails").messages]
    assert sent == [{"n": 1}, {"n": 1}, {"password": SECRET}]


def test_a_read_only_cluster_says_why_nothing_can_be_published(show: Show) -> None:
    with tt.connect("memory://", read_only=True) as cluster:
        screen = show(cluster)
        assert "read_only=True" in screen.html
        assert screen.labelled("Publish").disabled
        screen.widget.close()


def test_a_recording_says_why_nothing_can_be_published(show: Show, tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic("emails")
    scene.tick()
    screen = show(scene.history())
    screen.until(lambda: "emails" in screen.state.topics)
    assert "it is a recording" in screen.html
    assert screen.labelled("Publish").disabled
    assert screen.state.problem == ""
    screen.widget.close()
    scene.close()


def test_the_demo_is_marked_in_the_heading() -> None:
    assert "DEMO" in html.heading("Publish", "to demo://", demo=True)
    assert "DEMO" not in html.heading("Publish", "to amqp://host", demo=False)


async def until(predicate: Callable[[], bool]) -> None:
    while not predicate():  # noqa: ASYNC110 - the loop has to turn
        await asyncio.sleep(0.01)


def test_a_notebook_waits_for_the_end_with_await(cluster: Cluster) -> None:
    async def notebook() -> pd.DataFrame:
        widget = PublishWidget(cluster)
        widget.state.topic, widget.state.task = "emails", "shop:send"
        await until(lambda: widget.state.can_publish)
        widget.state.publish()
        await until(lambda: not widget.state.busy)
        task_id = widget.state.outcome["task_id"][0]
        cluster.broker.broadcast(task_event("task_completed", task_id))
        ended = await widget.ended(within=10)
        widget.close()
        return ended

    assert asyncio.run(notebook())["fate"].tolist() == ["succeeded"]


def test_a_notebook_waits_until_all_is_published_however_short_its_patience(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 11, row 25: the time it takes to publish is not taken from the tasks' time."""
    publish_many, may_publish = cluster.publish_many, threading.Event()

    def publish_late(*args: Any, **kwargs: Any) -> pd.DataFrame:
        may_publish.wait(10)
        return publish_many(*args, **kwargs)

    monkeypatch.setattr(cluster, "publish_many", publish_late)

    async def notebook() -> tuple[bool, pd.DataFrame]:
        widget = PublishWidget(cluster)
        widget.state.topic, widget.state.task = "emails", "shop:send"
        assert (await widget.idle()).publish(), widget.state.blockers
        asyncio.get_running_loop().call_later(0.3, may_publish.set)
        waited = await widget.ended(within=0)
        was_at_work = widget.state.at_work
        widget.close()
        return was_at_work, waited

    was_at_work, waited = asyncio.run(notebook())
    assert not was_at_work
    assert waited["outcome"].tolist() == ["confirmed"]
    assert waited["fate"].tolist() == ["queued"]


# --- errors and the end --------------------------------------------------------------


def test_an_error_of_a_callback_is_on_screen_and_the_widget_goes_on(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = show()

    def fail(_order: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(screen.widget.feed, "publish", fail)
    screen.state.topics = ("emails",)
    screen.state.topic, screen.state.task = "emails", "shop:send"
    screen.labelled("Publish").click()
    assert "Publishing failed: ZeroDivisionError: oops" in screen.html


def test_a_widget_that_cannot_be_made_leaves_no_thread(cluster: Cluster) -> None:
    cluster.close()
    with pytest.raises(TypeError):
        PublishWidget(cluster, batch="a.csv")  # type: ignore[arg-type]
    gc.collect()
    assert not [t for t in threading.enumerate() if t.name == "tasktools-publish"]


def test_a_view_that_has_been_silent_for_long_is_gone(show: Show) -> None:
    screen = show()
    presence = screen.widget._visibility
    presence._on_message(None, {"view": "a", "shown": True}, [])
    presence.silent_seconds = -1.0
    presence.check()
    eventually(lambda: not screen.widget.feed.alive)
