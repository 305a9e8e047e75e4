"""The rules of the publish widget, without a widget."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd
import pytest

from tasktools.core.dialects.celery import CELERY
from tasktools.core.dialects.plain import PLAIN
from tasktools.core.errors import UnknownTask
from tasktools.core.tasks.compose import FunctionNames
from tasktools.widgets.publish.batch import Batch
from tasktools.widgets.publish.state import PublishState

TASK = "shop:send"


def send(to: str, *, urgent: bool = False) -> None: ...


def signatures(name: str) -> inspect.Signature | None:
    return inspect.signature(send) if name == TASK else None


def ready(**options: Any) -> PublishState:
    """Return a state from which a task can be published."""
    state = PublishState(**options)
    state.topics = ("emails", "orders")
    state.topic, state.task = "emails", TASK
    return state


def on_fp(**options: Any) -> PublishState:
    functions = FunctionNames()
    functions.note("send", TASK)
    state = ready(resolve=functions.resolve, **options)
    state.tasks = (TASK,)
    return state


def blockers(state: PublishState) -> list[str]:
    return list(state.blockers)


def row(state: PublishState) -> dict[str, Any]:
    assert state.order is not None
    (only,) = state.order.frame.to_dict("records")
    return {str(name): value for name, value in only.items()}


def in_batch(frame: pd.DataFrame, **options: Any) -> PublishState:
    state = ready(**options)
    state.mode, state.batch = "batch", Batch.of(frame)
    return state


# --- one task ------------------------------------------------------------------------


def test_at_first_it_says_what_is_to_be_chosen() -> None:
    state = PublishState()
    assert blockers(state) == ["Choose a topic.", "Choose a task."]
    assert not state.can_publish
    assert not state.publish()
    assert state.order is None


def test_one_click_orders_one_task() -> None:
    state = ready()
    state.args, state.kwargs, state.priority, state.ttl = "[1]", '{"a": 2}', "7", "1.5"
    assert (blockers(state), state.can_publish, state.label) == ([], True, "Publish")
    assert state.publish()
    assert row(state) == {
        "topic": "emails",
        "task_name": TASK,
        "priority": 7,
        "ttl": 1.5,
        "delay": None,
        "args": [1],
        "kwargs": {"a": 2},
    }
    assert state.busy
    assert not state.can_publish


def test_while_it_publishes_a_second_click_does_nothing() -> None:
    state = ready()
    state.publish()
    first = state.order
    state.publish()
    assert state.order is first
    state.busy = False
    state.publish()
    assert state.order is not first


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"topic": "*"}, "'*' cannot be a topic"),
        ({"topic": "x" * 251}, "cannot be a topic"),
        ({"task": ""}, "Choose a task."),
        ({"kwargs": "{"}, "kwargs is not JSON: Expecting property name"),
        ({"priority": "256"}, "The priority is '256', not a whole number from 0 to 255."),
        ({"priority": "1.0"}, "The priority is '1.0'"),
        ({"ttl": "0"}, "The TTL is '0', not a number of seconds"),
        ({"ttl": "soon"}, "The TTL is 'soon'"),
        ({"delay": "-1"}, "The delay is '-1'"),
        ({"delay": "1e9"}, "up to 2592000"),
        ({"ttl": "1", "delay": "1"}, "a TTL or a delay, not both"),
    ],
)
def test_a_blocker_says_what_is_wrong(values: dict[str, str], problem: str) -> None:
    state = ready()
    for name, value in values.items():
        setattr(state, name, value)
    (blocker,) = blockers(state)
    assert problem in blocker
    state.publish()
    assert state.order is None


def test_a_delay_of_zero_goes_with_a_ttl() -> None:
    state = ready()
    state.ttl, state.delay = "1", "0"
    assert blockers(state) == []


def test_a_topic_is_asked_for_and_refused_when_it_is_missing() -> None:
    state = ready()
    state.topic = "emial"
    assert state.wanted_topics == ("emial",)
    assert blockers(state) == ["Looking whether there is a topic 'emial' …"]

    state.missing = ("emial",)

    (blocker,) = blockers(state)
    assert blocker.startswith("There is no topic 'emial'. Did you mean 'emails'?")
    assert "tick “Create the topic”" in blocker
    state.publish()
    assert state.order is None


def test_a_topic_is_created_only_where_that_is_ticked() -> None:
    state = ready()
    state.topic, state.missing = "brand-new", ("brand-new",)
    state.create = True
    assert blockers(state) == []
    state.publish()
    assert state.order is not None
    assert state.order.create


def test_a_topic_that_is_no_name_is_not_asked_for() -> None:
    state = ready()
    for name in ("", "*", "amq.x", "x" * 300):
        state.topic = name
        assert state.wanted_topics == ()


def test_an_unknown_task_is_refused_on_fp_and_one_that_was_seen_is_not() -> None:
    state = on_fp()
    state.task = "shop:sent"
    assert blockers(state) == []
    state.task = "shop_send"
    (blocker,) = blockers(state)
    assert "No message with a task named 'shop_send' has been seen." in blocker
    assert "Did you mean 'shop:send'?" in blocker
    assert "Name it as module:function." in blocker
    state.task = "send"
    state.publish()
    assert row(state)["task_name"] == TASK


def test_elsewhere_any_name_is_a_task() -> None:
    state = ready()
    state.task = "send"
    assert blockers(state) == []


def test_a_read_only_cluster_publishes_nothing() -> None:
    state = ready(read_only=True)
    (blocker,) = blockers(state)
    assert "read_only" in blocker
    state.publish()
    assert state.order is None


# --- a form --------------------------------------------------------------------------


def test_a_known_signature_is_a_form_and_others_are_json() -> None:
    state = ready(signatures=signatures)
    assert state.shows_form
    assert [field.name for field in state.fields] == ["to", "urgent"]
    assert blockers(state) == ["The argument 'to' is missing."]
    state.task = "shop:other"
    assert not state.shows_form
    assert (len(state.fields), blockers(state)) == (0, [])


def test_the_form_is_what_is_sent() -> None:
    state = ready(signatures=signatures)
    state.entered = {**state.entered, "to": "a@b", "urgent": True}
    state.publish()
    assert row(state)["kwargs"] == {"to": "a@b", "urgent": True}


def test_a_name_that_stands_for_no_known_function_may_have_a_signature_all_the_same() -> None:
    state = on_fp(signatures=lambda name: inspect.signature(send) if name == "bare" else None)
    state.task = "bare"
    assert [field.name for field in state.fields] == ["to", "urgent"]
    assert "named 'bare' has been seen" in blockers(state)[0]


def test_json_stays_json_where_there_is_no_form() -> None:
    state = ready()
    state.kwargs = '{"a": 1}'
    state.as_json = True
    assert (state.shows_form, state.kwargs) == (False, '{"a": 1}')


def test_going_on_in_json_keeps_what_was_entered() -> None:
    state = ready(signatures=signatures)
    state.entered = {**state.entered, "to": "ä@b"}
    state.as_json = True
    assert not state.shows_form
    assert state.kwargs == '{\n  "to": "ä@b"\n}'
    state.kwargs = "{}"
    assert blockers(state) == [
        "The arguments do not fit the function: missing a required argument: 'to'."
    ]


def test_another_task_begins_with_an_empty_form() -> None:
    state = ready(signatures=lambda _name: inspect.signature(send))
    state.entered = {**state.entered, "to": "a@b"}
    state.task = "shop:same_signature"
    assert state.entered["to"] == "a@b"
    state = ready(signatures=signatures)
    state.entered = {**state.entered, "to": "a@b"}
    state.task = "shop:other"
    state.task = TASK
    assert state.entered["to"] == ""


# --- a batch -------------------------------------------------------------------------

FIFTY = pd.DataFrame(
    {"topic": "emails", "task_name": TASK, "kwargs": [{"n": n} for n in range(50)]}
)


def test_a_batch_is_ordered_with_the_second_click() -> None:
    state = in_batch(FIFTY)
    assert (state.count, state.label) == (50, "Publish 50 tasks …")
    state.publish()
    assert state.order is None
    assert (state.armed, state.question) == (True, "Publish 50 tasks to emails?")
    state.confirm()
    assert state.order is not None
    assert len(state.order.frame) == 50
    assert not state.armed


@pytest.mark.parametrize("change", ["cancel", "edit", "other batch"])
def test_the_second_click_is_for_what_was_asked(change: str) -> None:
    state = in_batch(FIFTY)
    state.publish()
    match change:
        case "cancel":
            state.cancel()
        case "edit":
            state.priority = "1"
        case _:
            state.batch = Batch.of(FIFTY.head(2))
    assert not state.armed
    assert not state.confirm()
    assert state.order is None


def test_news_of_topics_does_not_take_the_question_away() -> None:
    state = in_batch(FIFTY)
    state.publish()
    state.topics = (*state.topics, "more")
    assert state.armed


def test_rows_without_topic_or_task_take_those_of_the_form() -> None:
    frame = pd.DataFrame({"topic": ["orders", None], "args": [[1], [2]], "priority": [None, 3]})
    state = in_batch(frame)
    state.priority = "9"
    state.publish()
    assert state.question == "Publish 2 tasks to 2 topics?"
    state.confirm()
    assert state.order is not None
    sent = state.order.frame
    assert sent["topic"].tolist() == ["orders", "emails"]
    assert sent["task_name"].tolist() == [TASK, TASK]
    assert sent["priority"].tolist() == [9, 3]
    assert "ttl" not in sent


def test_a_form_that_is_not_needed_does_not_stand_in_the_way() -> None:
    state = in_batch(FIFTY)
    state.topic, state.task, state.kwargs = "", "", "{"
    assert blockers(state) == []


def test_topics_and_tasks_of_the_rows_are_checked() -> None:
    state = on_fp()
    state.mode = "batch"
    state.batch = Batch.of(pd.DataFrame({"topic": ["emails", "gone"], "task_name": ["send", "x"]}))
    assert state.wanted_topics == ("emails", "gone")
    state.missing = ("gone",)
    first, second = blockers(state)
    assert "There is no topic 'gone'" in first
    assert "named 'x' has been seen" in second


def test_names_in_the_rows_are_resolved() -> None:
    state = on_fp()
    state.mode, state.batch = "batch", Batch.of(pd.DataFrame({"task_name": ["send"] * 2}))
    state.publish()
    state.confirm()
    assert state.order is not None
    assert state.order.frame["task_name"].tolist() == [TASK, TASK]


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (pd.DataFrame({"topic": ["a"], "prio": [1]}), "unknown column prio"),
        (pd.DataFrame({"topic": ["a"], "args": ["text"]}), "args in row 0 is str"),
        (pd.DataFrame({"topic": []}), "There is no task in the DataFrame."),
        (pd.DataFrame({"topic": [["a"]]}), "topic in row 0 is list"),
    ],
)
def test_a_frame_that_makes_no_tasks_is_told(frame: pd.DataFrame, problem: str) -> None:
    state = in_batch(frame)
    (blocker,) = blockers(state)
    assert problem in blocker


def test_a_file_is_read_as_csv_or_json_lines() -> None:
    csv = b'\xef\xbb\xbftask_name,kwargs\nshop:send,"{""n"": 1}"\n'
    lines = b'{"task_name": "shop:send", "kwargs": {"n": 1}}\n'
    for content in (csv, lines):
        batch = Batch.from_file("tasks", content)
        assert (len(batch), batch.problem, set(batch.lacks)) == (1, None, {"topic"})
        assert batch.frame["kwargs"].tolist() == [{"n": 1}]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "tasks.csv is not UTF-8"),
        (b"topic,oops\na,b\n", "Line 2 of the file has an unknown column oops"),
        (b"", "There is no task in tasks.csv."),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, problem: str) -> None:
    batch = Batch.from_file("tasks.csv", content)
    assert problem in str(batch.problem)


def test_a_batch_mode_without_a_batch_asks_for_one() -> None:
    state = ready()
    state.mode = "batch"
    assert blockers(state) == ["Choose a file with tasks."]


def test_the_frame_that_was_given_is_not_changed() -> None:
    frame = pd.DataFrame({"args": [[1], [2]]})
    before = frame.copy(deep=True)
    state = in_batch(frame)
    state.publish()
    state.confirm()
    pd.testing.assert_frame_equal(frame, before)


# --- topics of other workers ------------------------------------------------------------------


def test_a_queue_of_celery_takes_any_task_and_warns_of_one_that_nobody_has_seen() -> None:
    state = PublishState(resolve=refuse)
    state.topic, state.task, state.ttl, state.delay = "mail.dead", "send", "60", "5"
    assert state.wanted_topics == ("mail.dead",)
    state.set_trait("topics", ("mail.dead",))
    state.set_trait("dialects", {"mail.dead": CELERY})
    assert (state.blockers, state.warnings) == ((), ())
    state.set_trait("tasks", ("shop.send",))
    (warning,) = state.warnings
    assert "no task 'send' of Celery was seen here" in warning
    assert state.publish()
    assert state.order is not None
    assert state.order.frame["task_name"].tolist() == ["send"]


def test_a_plain_queue_takes_a_message_without_a_name() -> None:
    state = PublishState()
    state.topic = "bills"
    state.set_trait("topics", ("bills",))
    assert state.blockers == ("Choose a task.",)
    state.set_trait("dialects", {"bills": PLAIN})
    assert not state.blockers
    state.create = True
    (blocker,) = state.blockers
    assert "'bills' is a queue of other programs, whose programs declare" in blocker


def refuse(task: str) -> str:
    """Know no function of any task."""
    raise UnknownTask(task)
