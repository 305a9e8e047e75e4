"""The dead-letter widget without a browser: a real cluster in memory, and what is on screen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker
from tasktools.cluster.cluster import Cluster
from tasktools.core.amqp import failure_headers
from tasktools.core.models import Failure, Outgoing, Properties
from tasktools.replay.timing import Timing
from tasktools.testing import PUBLISHED, eventually, task_event
from tasktools.widgets import html
from tasktools.widgets.dead_letters import DeadLettersWidget, detail
from tasktools.widgets.dead_letters.group_list import GroupList
from tests.recorded import Scene
from tests.screen import WidgetScreen

MARKUP = "<script>window.pwned=1</script>"
TOPIC, QUEUE = "emails", "emails.dead"
FAILURE = Failure(
    reason="failed",
    error_type="ValueError",
    error="no address",
    failed_at=PUBLISHED,
    traceback="Traceback …\nValueError: no address",
)


class Screen(WidgetScreen[DeadLettersWidget]):
    def __init__(self, cluster: Cluster, topic: str | None = None) -> None:
        super().__init__(lambda post: DeadLettersWidget(cluster, topic, post=post))
        self.state = self.widget.state
        self.widget.feed.follow_seconds = 0.02

    def press(self, description: str) -> None:
        """Press a button, and wait until what it orders is done."""
        self.until(lambda: not self.labelled(description).disabled)
        self.labelled(description).click()
        self.until(lambda: not self.state.busy)

    def look(self) -> None:
        self.until(lambda: self.state.can_look)
        self.press("Look")
        assert self.state.look_refusal == ""

    def select(self, *places: int) -> None:
        assert self.state.looked is not None
        self.state.table.select(self.state.looked.frame["key"].iloc[list(places)].tolist())


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with MemoryBroker() as broker:
        broker.ensure_topic(TOPIC)
        yield broker


@pytest.fixture
def cluster(broker: MemoryBroker) -> Cluster:
    return Cluster(broker)


def bury(broker: MemoryBroker, count: int = 3, failure: Failure | None = FAILURE) -> None:
    """Let *count* tasks die; without a *failure* as a peer does it, without a word."""
    for n in range(count):
        kwargs = {"to": f"user{n}", "password": "s3cret"}
        broker.publish(TOPIC, {"task_name": "send", "kwargs": kwargs})
        delivery = broker.claim(TOPIC, "worker")
        assert delivery is not None
        if failure is None:
            broker.nack(delivery.id, requeue=False)
        else:
            broker.dead_letter(delivery.id, failure)


def bury_body(broker: MemoryBroker, body: bytes, **headers: str) -> None:
    """Let a message die that has this *body*."""
    properties = Properties(message_id="m", headers=headers)
    broker.publish_many([Outgoing(topic=TOPIC, message_id="m", body=body, properties=properties)])
    delivery = broker.claim(TOPIC, "worker")
    assert delivery is not None
    broker.nack(delivery.id, requeue=False)


@pytest.fixture
def show(cluster: Cluster) -> Iterator[Callable[..., Screen]]:
    shown: list[Screen] = []

    def show(on: Cluster | None = None, topic: str | None = None) -> Screen:
        shown.append(Screen(on or cluster, topic))
        return shown[-1]

    yield show
    for screen in shown:
        screen.widget.close()


Show = Callable[..., Screen]


def test_dead_letters_is_what_makes_the_widget(cluster: Cluster) -> None:
    widget = tt.widgets.dead_letters(cluster, "mine")
    assert isinstance(widget, DeadLettersWidget)
    assert widget.state.topic == "mine"
    widget.close()


# --- looking -------------------------------------------------------------------------


def test_the_topic_with_dead_letters_is_chosen_and_nothing_is_looked_at_unasked(
    show: Show, broker: MemoryBroker
) -> None:
    broker.ensure_topic("another")
    bury(broker)
    screen = show()
    screen.until(lambda: screen.state.can_look)
    assert screen.labelled("Topic").value == TOPIC
    assert screen.labelled("Topic").options[0] == ("emails  ·  3 dead", TOPIC)
    assert "A look is harmless" in screen.html
    assert screen.state.looked is None
    screen.look()
    assert "3 messages in emails.dead." in screen.html
    assert screen.state.table.total == 3


def test_counts_that_change_do_not_change_the_choice(show: Show, broker: MemoryBroker) -> None:
    broker.ensure_topic("another")
    screen = show(topic="another")
    screen.until(lambda: screen.state.choices)
    bury(broker)
    screen.widget.feed._learn_at = 0.0
    screen.widget.feed.look_soon()
    screen.until(lambda: "emails  ·  3 dead" in dict(screen.state.choices))
    assert screen.labelled("Topic").value == screen.state.topic == "another"
    screen.labelled("Topic").value = TOPIC
    assert screen.state.topic == TOPIC


def test_a_topic_without_a_queue_says_so(show: Show) -> None:
    screen = show(topic="nowhere")
    screen.until(lambda: screen.state.judged)
    assert screen.labelled("Look").disabled
    assert "There is no queue nowhere.dead" in screen.html


def test_a_queue_that_is_gone_by_then_is_a_refusal_on_screen(
    show: Show, broker: MemoryBroker
) -> None:
    screen = show()
    screen.until(lambda: screen.state.can_look)
    broker.server.exchanges.queues.clear()
    screen.press("Look")
    assert "There is no topic" in screen.state.look_refusal
    assert 'role="alert"' in screen.html
    assert screen.state.problem == ""


def test_a_click_before_the_cost_of_a_look_is_known_is_not_lost(
    show: Show, broker: MemoryBroker
) -> None:
    """Issue 15: the button was off for a moment, or the click came too early: nothing happened."""
    bury(broker)
    screen = show(topic=TOPIC)
    assert screen.state.judged is None
    assert not screen.labelled("Look").disabled
    screen.labelled("Look").click()
    assert "A harmless look follows." in screen.html
    screen.until(lambda: screen.state.looked)
    screen.until(lambda: not screen.state.at_work)
    assert screen.state.can_look


def test_groups_are_listed_and_one_is_chosen_by_a_click(show: Show, broker: MemoryBroker) -> None:
    bury(broker, 2)
    bury(broker, 1, failure=None)
    screen = show()
    screen.look()
    (groups,) = screen.all(GroupList)
    assert [line["title"] for line in groups.lines] == [
        "ValueError: no address",
        "rejected in emails",
    ]
    click(groups, {"name": "rejected in emails"})
    assert (groups.chosen, screen.state.table.shown) == (1, 1)
    click(groups, {"name": "rejected in emails"})
    assert (groups.chosen, screen.state.table.shown) == (-1, 3)
    click(groups, {"name": "no such group"})
    assert screen.state.group is None
    click(groups, {})
    assert "Choosing a group failed" in screen.html


def click(widget: Any, content: dict[str, Any]) -> None:
    message = {"data": {"method": "custom", "content": content}}
    widget._handle_msg({"content": message, "buffers": []})


def test_the_groups_are_sent_as_json(show: Show, broker: MemoryBroker) -> None:
    bury(broker)
    screen = show()
    screen.look()
    (groups,) = screen.all(GroupList)
    assert json.loads(json.dumps(groups.lines))[0]["count"] == "3"


def test_of_very_many_groups_the_smallest_are_not_listed(show: Show, broker: MemoryBroker) -> None:
    for n in range(45):
        broker.publish(TOPIC, {"task_name": f"task_{n}"})
        delivery = broker.claim(TOPIC, "worker")
        assert delivery is not None
        broker.nack(delivery.id, requeue=False)
    screen = show()
    screen.look()
    screen.state.group_by = "task_name"
    (groups,) = screen.all(GroupList)
    assert (len(groups.lines), groups.more) == (40, "5 smaller ones are not listed.")


# --- one of them ---------------------------------------------------------------------


def test_a_message_is_shown_in_full_with_its_secrets_masked(
    show: Show, broker: MemoryBroker
) -> None:
    bury(broker, 1)
    screen = show()
    screen.look()
    assert "Click on a row" in screen.html
    screen.state.table.move(0)
    assert "&quot;password&quot;: &quot;•••&quot;" in screen.html
    assert "Traceback" not in screen.html
    screen.press("Show the whole message")
    assert "Traceback …\nValueError: no address" in screen.html
    assert failure_headers.REASON in screen.html
    assert "s3cret" not in screen.html


def test_a_cluster_that_reveals_shows_secrets(show: Show, broker: MemoryBroker) -> None:
    bury_body(broker, b"no JSON", authorization="Bearer me")
    for reveal in (False, True):
        screen = show(Cluster(broker, reveal=reveal), TOPIC)
        screen.look()
        screen.state.table.move(0)
        screen.press("Show the whole message")
        assert ("Bearer me" in screen.html) is reveal


def test_a_message_that_is_gone_says_so(show: Show, broker: MemoryBroker) -> None:
    bury(broker, 1)
    screen = show()
    screen.look()
    screen.state.table.move(0)
    broker.purge(QUEUE)
    screen.press("Show the whole message")
    assert "not in the queue any more" in screen.html


def test_what_is_no_task_is_shown_as_such(show: Show, broker: MemoryBroker) -> None:
    bury_body(broker, b"\x80\x04")
    screen = show()
    screen.look()
    screen.state.table.move(0)
    assert "This is no task: the body is not JSON" in screen.html
    screen.state.table.select_all()
    screen.press("Make the plan")
    assert "skips 1: it is no task" in screen.html
    assert screen.state.blockers[0] == "The plan skips every message; it says why."


def test_of_a_huge_body_the_beginning_is_shown() -> None:
    text = detail.as_text({"blob": "x" * 5_000_000})
    assert text.endswith("… [+4,980,011 characters]")
    assert len(text) < 20_100
    assert detail.as_text({"\ud800": 1}) == "{'\\ud800': 1}"


def test_markup_in_messages_is_text(show: Show, broker: MemoryBroker) -> None:
    kwargs = {"to": MARKUP, MARKUP: MARKUP}
    broker.publish(TOPIC, {"task_name": MARKUP, "kwargs": kwargs})
    delivery = broker.claim(TOPIC, "worker")
    assert delivery is not None
    hostile = Failure(
        reason="failed", error_type=MARKUP, error=MARKUP, failed_at=PUBLISHED, traceback=MARKUP
    )
    broker.dead_letter(delivery.id, hostile)
    screen = show()
    screen.look()
    screen.state.table.move(0)
    screen.press("Show the whole message")
    screen.state.table.select_all()
    screen.state.add_edit("kwargs.to", MARKUP)
    screen.press("Make the plan")
    assert "&lt;script&gt;" in screen.html
    assert "<script" not in screen.html


# --- the plan and the run ------------------------------------------------------------


def test_what_is_entered_is_in_the_state_and_the_other_way_round(show: Show) -> None:
    screen = show()
    for trait, description in (
        ("to", "To"),
        ("rate", "Rate"),
        ("limit", "stop if more than this fail, %"),
        ("archive", "Archive"),
        ("reason", "Reason"),
    ):
        control = screen.labelled(description)
        control.value = "7"
        assert getattr(screen.state, trait) == "7"
        setattr(screen.state, trait, "8")
        assert control.value == "8"
    screen.labelled("Ramp: 1 first, then up to 10, 100, 1,000, then the rest").value = True
    assert screen.state.ramps


def test_edits_are_lines_that_come_and_go(show: Show) -> None:
    screen = show()
    for _ in range(2):
        screen.labelled("Add an edit").click()
    first, second = [w for w in screen.all() if getattr(w, "description", "") == "Edit"]
    first.value, second.value = "kwargs.a", "kwargs.b"
    assert [row.path for row in screen.state.edits] == ["kwargs.a", "kwargs.b"]
    drop, _ = [w for w in screen.all() if getattr(w, "description", "") == "✕"]
    drop.click()
    assert [row.path for row in screen.state.edits] == ["kwargs.b"]
    assert screen.labelled("Edit").value == "kwargs.b"
    screen.labelled("remove it").value = True
    assert screen.labelled("becomes").disabled
    assert "is taken out" in screen.html


def test_chosen_messages_are_edited_replayed_and_accounted_for(
    show: Show, broker: MemoryBroker
) -> None:
    bury(broker)
    screen = show()
    screen.look()
    screen.select(0, 2)
    screen.state.add_edit("kwargs.to", "ann@shop.example")
    screen.press("Make the plan")
    assert "Plan: replay 2 messages of emails.dead to emails" in screen.html
    assert "<td>&#x27;user0&#x27;</td><td>&#x27;ann@shop.example&#x27;</td>" in screen.html
    assert screen.labelled("Run the plan …").disabled
    screen.labelled("Reason").value = "INC-7"
    screen.press("Run the plan …")
    assert broker.server.depth(TOPIC) == 0
    screen.labelled("Replay 2 messages to emails").click()
    assert screen.labelled("Cancel") in screen.all()
    screen.until(lambda: screen.state.summary)
    assert "Run 1: 2 replayed." in screen.html
    screen.until(lambda: "1 message in emails.dead." in screen.html)
    arrived = [message.task.kwargs for message in broker.peek(TOPIC, 10).messages]
    assert arrived == [{"to": "ann@shop.example", "password": "s3cret"}] * 2
    assert tt.ledger()["reason"].tolist() == ["INC-7"]
    assert not screen.state.problem


def test_the_replayed_tasks_are_followed(show: Show, broker: MemoryBroker) -> None:
    bury(broker)
    screen = show()
    screen.look()
    ids = replay(screen)
    screen.until(lambda: "Of the replayed tasks: 3 waiting." in screen.html)
    for task_id in ids:
        broker.broadcast(task_event("task_started", task_id))
    screen.until(lambda: "Of the replayed tasks: 3 running." in screen.html)
    broker.broadcast(task_event("task_failed", ids[0]), task_event("task_completed", ids[1]))
    screen.until(lambda: "1 running, 1 succeeded, 1 failed again." in screen.html)


def replay(screen: Screen) -> list[str]:
    """Replay everything, and return the ids of the tasks."""
    screen.state.table.select_all()
    screen.press("Make the plan")
    screen.state.reason = "again"
    screen.state.run()
    assert screen.state.confirm()
    screen.until(lambda: screen.state.summary and not screen.state.busy)
    assert screen.state.outcome is not None
    return [str(task_id) for task_id in screen.state.outcome["task_id"]]


def test_a_task_that_failed_before_has_not_failed_again_yet(
    show: Show, cluster: Cluster, broker: MemoryBroker
) -> None:
    task_id = cluster.publish(TOPIC, "send")
    broker.broadcast(task_event("task_started", task_id), task_event("task_failed", task_id))
    delivery = broker.claim(TOPIC, "worker")
    assert delivery is not None
    broker.dead_letter(delivery.id, FAILURE)
    screen = show()
    screen.look()
    assert replay(screen) == [task_id]
    screen.until(lambda: screen.state.followed == "1 waiting")
    broker.broadcast(task_event("task_started", task_id), task_event("task_failed", task_id))
    screen.until(lambda: screen.state.followed == "1 failed again")


def test_a_task_that_died_again_is_told_with_its_reason(
    show: Show, cluster: Cluster, broker: MemoryBroker
) -> None:
    """Issue 11, new user: the widget follows replays as the command line does."""
    cluster.timing = Timing(looks_after_run=(0.1, 0.2, 0.4, 0.8, 1.6, 3.2))
    cluster.publish(TOPIC, "send")
    delivery = broker.claim(TOPIC, "worker")
    assert delivery is not None
    broker.dead_letter(delivery.id, FAILURE)
    screen = show()
    screen.look()
    replay(screen)
    screen.until(lambda: "Of the replayed tasks: 1 waiting." in screen.html)
    delivery = broker.claim(TOPIC, "worker")
    assert delivery is not None
    broker.dead_letter(delivery.id, FAILURE)
    screen.until(lambda: "Of the replayed tasks: 1 died again: " in screen.html)
    (cause,) = screen.state.causes
    assert FAILURE.error_type in cause


def test_what_did_not_arrive_is_a_row_that_says_why(show: Show, broker: MemoryBroker) -> None:
    bury(broker)
    screen = show()
    screen.look()
    screen.select(0, 1)
    screen.press("Make the plan")
    broker.purge(QUEUE)
    screen.state.reason = "too late"
    screen.state.run()
    screen.state.confirm()
    screen.until(lambda: screen.state.summary)
    assert "Run 1: 2 gone." in screen.html
    assert screen.html.count("<td>gone</td>") == 2


def test_discarded_messages_are_kept_in_the_file_that_was_named(
    show: Show, broker: MemoryBroker, cluster: Cluster, tmp_path: Path
) -> None:
    bury(broker)
    screen = show()
    screen.look()
    screen.state.table.select_all()
    screen.state.verb, screen.state.archive = "discard", str(tmp_path / "kept")
    screen.press("Make the plan")
    screen.state.reason = "old"
    screen.press("Run the plan …")
    screen.labelled("Discard 3 messages").click()
    screen.until(lambda: "Run 1: 3 discarded." in screen.html)
    screen.until(lambda: "emails.dead is empty." in screen.html)
    assert len(cluster.plan_restore(tmp_path / "kept")) == 3
    assert screen.state.followed == ""


def test_a_plan_that_is_refused_says_why(show: Show, broker: MemoryBroker) -> None:
    bury(broker)
    screen = show()
    screen.look()
    screen.select(0)
    screen.state.to = "nowhere"
    screen.press("Make the plan")
    assert "There is no topic 'nowhere'" in screen.state.plan_refusal
    assert "There is no topic &#x27;nowhere&#x27;" in screen.html


def test_a_run_that_is_refused_says_why_and_can_be_tried_again(
    show: Show, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bury(broker)
    screen = show()
    screen.look()
    screen.select(0)
    screen.press("Make the plan")
    screen.state.reason = "INC-7"
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path))  # a folder
    screen.state.run()
    screen.state.confirm()
    screen.until(lambda: screen.state.run_refusal and not screen.state.busy)
    assert "The ledger" in screen.html
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(tmp_path / "other.db"))
    screen.state.run()
    assert screen.state.confirm()
    screen.until(lambda: "1 replayed" in screen.html)
    assert screen.state.run_refusal == ""


def test_closing_ends_a_run_early_and_accounts_for_it(
    cluster: Cluster, broker: MemoryBroker
) -> None:
    bury(broker, 5)
    screen = Screen(cluster)
    screen.look()
    screen.state.table.select_all()
    screen.state.rate = "2"
    screen.press("Make the plan")
    screen.state.reason = "slowly"
    screen.state.run()
    screen.state.confirm()
    eventually(lambda: not tt.ledger().empty)
    screen.widget.close()
    assert not screen.widget.feed.alive
    assert tt.ledger()["ended"].tolist() == ["cancelled"]
    assert broker.server.depth(TOPIC) + broker.server.depth(QUEUE) == 5


def test_a_run_is_cancelled_by_its_button(show: Show, broker: MemoryBroker) -> None:
    bury(broker, 5)
    screen = show()
    screen.look()
    screen.state.table.select_all()
    screen.state.rate = "2"
    screen.press("Make the plan")
    screen.state.reason = "slowly"
    screen.state.run()
    screen.state.confirm()
    screen.until(lambda: screen.state.settled)
    screen.labelled("Cancel").click()
    screen.until(lambda: "Run 1 was cancelled" in screen.html)


# --- all of it -----------------------------------------------------------------------


def test_a_read_only_cluster_is_looked_at_and_says_why_it_is_not_changed(
    show: Show, broker: MemoryBroker
) -> None:
    bury(broker)
    with Cluster(MemoryBroker(broker.server, read_only=True)) as cluster:
        screen = show(cluster, TOPIC)
        assert "read only" in screen.html
        screen.look()
        screen.select(0)
        screen.press("Make the plan")
        screen.state.reason = "no"
        assert screen.labelled("Run the plan …").disabled
        assert "read_only=True" in screen.html
        screen.widget.close()


def test_a_recording_says_that_it_has_no_queues_to_look_into(show: Show, tmp_path: Path) -> None:
    scene = Scene(tmp_path / "ops.db")
    scene.cluster.broker.ensure_topic(TOPIC)
    scene.tick()
    screen = show(scene.history())
    screen.until(lambda: "this is a recording" in screen.html)
    assert screen.labelled("Look").disabled
    assert not screen.state.look()
    assert "it is a recording" in screen.state.blockers[0]
    assert screen.state.problem == ""
    screen.widget.close()
    scene.close()


def test_the_demo_is_marked() -> None:
    assert "DEMO" in html.heading("Dead letters", "on demo://", demo=True)
    assert "DEMO" not in html.heading("Dead letters", "on amqp://host", demo=False)


def test_a_notebook_waits_with_await(cluster: Cluster, broker: MemoryBroker) -> None:
    bury(broker)

    async def notebook() -> pd.DataFrame:
        widget = DeadLettersWidget(cluster)
        state = await widget.idle()
        assert state.look(), state.look_blockers
        await widget.idle()
        widget.close()
        assert state.looked is not None
        return state.looked.frame

    assert len(asyncio.run(notebook())) == 3


def test_a_topic_that_was_just_chosen_is_waited_for(cluster: Cluster, broker: MemoryBroker) -> None:
    """Issue 11, row 25: the state says that it is at work until the chosen topic is judged."""
    broker.ensure_topic("other")

    async def notebook() -> tuple[bool, str]:
        widget = DeadLettersWidget(cluster, TOPIC)
        state = await widget.idle()
        state.topic = "other"
        was_at_work = state.at_work
        await widget.idle()
        widget.close()
        assert state.judged is not None
        return was_at_work, state.judged.topic

    assert asyncio.run(notebook()) == (True, "other")


def test_a_cluster_without_topics_is_not_waited_for() -> None:
    """Issue 11, row 25: where nothing is to come, the wait ends at once."""

    async def notebook() -> bool:
        with MemoryBroker() as broker:
            widget = DeadLettersWidget(Cluster(broker))
            state = await widget.idle()
            widget.close()
            return state.topics_are_read and not state.at_work

    assert asyncio.run(notebook())


def test_an_error_of_a_callback_is_on_screen(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = show()

    def fail(_order: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(screen.widget.feed, "execute", fail)
    screen.until(lambda: screen.state.can_look)
    screen.labelled("Look").click()
    assert "What was ordered failed: ZeroDivisionError: oops" in screen.html


def test_an_error_of_the_feed_is_on_screen_and_the_widget_goes_on(
    show: Show, broker: MemoryBroker, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(broker)
    screen = show()
    screen.until(lambda: screen.state.can_look)

    def fail(_topic: str) -> None:
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "dead_letters", fail)
        screen.press("Look")
        screen.until(lambda: "ZeroDivisionError: oops" in screen.html)
    screen.look()
    assert screen.state.table.total == 3


def test_a_secret_in_an_edit_leaves_the_widget_once_the_plan_is_made(
    show: Show, broker: MemoryBroker
) -> None:
    """Issue 11, secrets: a saved notebook has what is in its widgets; the plan is still run."""
    bury(broker, 1)
    screen = show(topic=TOPIC)
    state = screen.state
    screen.look()
    screen.select(0)
    state.add_edit("kwargs.password", "hunter2-0f8Q")
    state.add_edit("kwargs.dsn", "amqp://u:hunter2-0f8Q@h")
    state.add_edit("kwargs.to", "ann")
    state.reason = "test"
    screen.press("Make the plan")
    assert [row.value for row in state.edits] == ["•••", "•••", "ann"]
    assert not state.is_stale
    assert state.can_run, state.blockers
    assert "is forgotten once the plan is made" in " ".join(state.plan_blockers)
    held = {name: getattr(state, name) for name in state.trait_names()}
    assert "hunter2" not in repr(held)
    for widget in screen.all(ipywidgets.Widget):
        assert "hunter2" not in repr(widget.get_state())
    assert state.run()
    assert state.confirm()
    screen.until(lambda: state.outcome is not None)
    (message,) = broker.peek(TOPIC).messages
    assert message.task.kwargs == {
        "to": "ann", "password": "hunter2-0f8Q", "dsn": "amqp://u:hunter2-0f8Q@h",
    }  # fmt: skip
