"""Composing messages that no peer can choke on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasktools.core.clock import ManualClock, moment
from tasktools.core.dialects.fastpluggy import FASTPLUGGY, TASKWORKER
from tasktools.core.dialects.peer_form import PAYLOAD_FIELDS
from tasktools.core.errors import InvalidTask, InvalidTopic, UnknownTask
from tasktools.core.models import Outgoing, Properties, TaskMessage
from tasktools.core.tasks import codec
from tasktools.core.tasks.compose import MAX_SECONDS, Composer, FunctionNames, check_topic
from tasktools.core.topic_rules import check_name
from tasktools.testing import task_body, task_payload

TASK = "demo_tasks:send_email"


@pytest.fixture
def composer() -> Composer:
    return Composer(lambda _topic: FASTPLUGGY, ManualClock(), FunctionNames())


def of_document() -> Composer:
    return Composer(lambda _topic: TASKWORKER, ManualClock(), FunctionNames())


def payload_of(message: Outgoing) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(message.body)["payload"]
    return payload


def learn(functions: FunctionNames, func_name: Any) -> None:
    body = task_body(payload=task_payload() | {"func_name": func_name})
    functions.learn(codec.decode(body, Properties()))


def test_a_message_for_a_peer_has_exactly_its_fields(composer: Composer) -> None:
    assert payload_of(composer.compose("emails", {"task_name": TASK})).keys() == (
        PAYLOAD_FIELDS.keys()
    )


def test_a_message_is_read_again_as_it_was_meant(composer: Composer) -> None:
    message = composer.compose("emails", {"task_name": TASK, "args": [1], "kwargs": {"a": "ä"}})
    task = codec.decode(message.body, message.properties)
    assert (task.dialect, task.problem, task.topic) == ("fastpluggy", None, "emails")
    assert (task.func_name, task.task_name) == (TASK, "send_email")
    assert (task.args, task.kwargs, task.attempts) == ([1], {"a": "ä"}, 0)
    assert task.published_at == moment(ManualClock().time())
    assert task.message_id == message.message_id == message.properties.message_id


def test_a_full_payload_of_a_peer_passes_unchanged(composer: Composer) -> None:
    payload = task_payload()
    assert payload_of(composer.compose("emails", payload)) == payload


def test_headers_are_in_the_body_and_never_in_the_payload(composer: Composer) -> None:
    message = composer.compose("emails", {"task_name": TASK}, {"priority": "high"})
    assert json.loads(message.body)["headers"] == {"priority": "high"}
    assert message.properties.headers == {}


def test_message_ids_count_up_and_differ_between_composers(composer: Composer) -> None:
    ids = {composer.compose("emails", {"task_name": TASK}).message_id for _ in range(3)}
    other = Composer(lambda _topic: FASTPLUGGY, ManualClock(), FunctionNames())
    ids.add(other.compose("emails", {"task_name": TASK}).message_id)
    assert len(ids) == 4


@pytest.mark.parametrize("key", ["colour", "retries", "id", "x-priority"])
def test_a_key_that_a_peer_does_not_know_is_refused(composer: Composer, key: str) -> None:
    with pytest.raises(InvalidTask, match=key):
        composer.compose("emails", {"task_name": TASK, key: 1})


@pytest.mark.parametrize("field", PAYLOAD_FIELDS)
def test_a_field_of_the_wrong_type_is_refused(composer: Composer, field: str) -> None:
    with pytest.raises(InvalidTask):
        composer.compose("emails", task_payload() | {field: {1, 2}})


@pytest.mark.parametrize("field", ["max_retries", "retry_delay"])
def test_true_is_no_number(composer: Composer, field: str) -> None:
    with pytest.raises(InvalidTask, match=field):
        composer.compose("emails", {"task_name": TASK, field: True})


@pytest.mark.parametrize("func_name", ["send_email", "demo_tasks:", ":x", "a b:c", "m:f; drop"])
def test_a_function_that_is_no_module_and_name_is_refused(
    composer: Composer, func_name: str
) -> None:
    with pytest.raises(InvalidTask, match="module:function"):
        composer.compose("emails", {"task_name": "send_email", "func_name": func_name})


def test_an_unknown_name_is_refused_for_a_peer(composer: Composer) -> None:
    with pytest.raises(UnknownTask, match="send_email"):
        composer.compose("emails", {"task_name": "send_email"})


def test_a_name_that_was_seen_is_known(composer: Composer) -> None:
    learn(composer.functions, TASK)
    message = composer.compose("emails", {"task_name": "send_email"})
    assert payload_of(message)["func_name"] == TASK


def test_a_name_of_two_functions_is_refused(composer: Composer) -> None:
    learn(composer.functions, TASK)
    learn(composer.functions, "other:send_email")
    with pytest.raises(UnknownTask, match="any of demo_tasks:send_email, other:send_email"):
        composer.compose("emails", {"task_name": "send_email"})


@pytest.mark.parametrize("func_name", ["not a function", "", None, 5])
def test_nothing_is_learned_from_a_message_without_a_function(func_name: Any) -> None:
    functions = FunctionNames()
    learn(functions, func_name)
    with pytest.raises(UnknownTask):
        functions.resolve("send_email")


def test_only_so_many_names_are_remembered() -> None:
    functions = FunctionNames()
    for n in range(10_001):
        functions.learn(
            TaskMessage(dialect="fastpluggy", task_name=f"t{n}", func_name=f"tasks:t{n}")
        )
    assert functions.resolve("t10000") == "tasks:t10000"
    with pytest.raises(UnknownTask):
        functions.resolve("t0")


def test_the_document_takes_any_name_and_any_key() -> None:
    payload = payload_of(of_document().compose("emails", {"task_name": "send", "colour": "red"}))
    assert payload.pop("task_id")
    assert payload == {"task_name": "send", "args": [], "kwargs": {}, "colour": "red"}


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"task_name": ""},
        {"task_name": TASK, "args": (1,)},
        {"task_name": TASK, "kwargs": None},
        {"task_name": TASK, "task_id": ""},
        {"task_name": TASK, "kwargs": {"when": object()}},
        {"task_name": TASK, "kwargs": {"ratio": float("inf")}},
        {"task_name": TASK, "kwargs": {"broken": "\ud800"}},
    ],
)
def test_what_is_no_task_is_refused_in_both_layouts(
    composer: Composer, payload: dict[str, Any]
) -> None:
    for each in (composer, of_document()):
        with pytest.raises(InvalidTask):
            each.compose("emails", payload)


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("", "empty"),
        ("*", "wildcard"),
        ("#", "wildcard"),
        ("mail.*", "wildcard"),
        ("#.mail", "wildcard"),
        ("a.#.b", "wildcard"),
        ("amq.x", "programs"),
        ("tasktools.settings.fp", "programs"),
        ("tasktools.lock.x", "programs"),
        ("fp.node.x", "programs"),
        ("tw.lock.x", "programs"),
        ("x" * 251, "251 bytes"),
        ("ä" * 126, "252 bytes"),
        ("\ud800", "UTF-8"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\x85b", "control character"),
        ("mail.dead", "dead-letter queue of 'mail'"),
        (".dead", "dead-letter queue"),
    ],
)
def test_a_name_that_can_be_no_topic_is_refused_with_the_reason(topic: str, why: str) -> None:
    """Issue 11, misleading: `create_topic("mail.*")` got a copy of every task."""
    with pytest.raises(InvalidTask, match=why):
        check_topic(topic)
    with pytest.raises(InvalidTopic, match=why):
        check_name(topic)


@pytest.mark.parametrize(
    "topic", ["a*b", "a#", "mail", "ä.ö", "dead", "x.deadly", "dlx.x", "a b", "tasktools.x"]
)
def test_a_name_that_only_looks_odd_is_a_topic(topic: str) -> None:
    check_topic(topic)


def test_a_name_of_250_bytes_is_a_topic() -> None:
    check_topic("ä" * 125)


@pytest.mark.parametrize("priority", [-1, 256])
def test_a_priority_out_of_range_is_refused(composer: Composer, priority: int) -> None:
    with pytest.raises(InvalidTask, match="priority"):
        composer.compose("emails", {"task_name": TASK}, priority=priority)


@pytest.mark.parametrize("priority", [None, 0, 255])
def test_a_priority_is_a_property(composer: Composer, priority: int | None) -> None:
    message = composer.compose("emails", {"task_name": TASK}, priority=priority)
    assert message.properties.priority == priority


# --- time to live and delay -----------------------------------------------------------


def test_without_a_time_to_live_or_a_delay_a_message_has_none(composer: Composer) -> None:
    message = composer.compose("emails", {"task_name": TASK})
    assert (message.properties.expiration, message.delay) == (None, 0.0)


@pytest.mark.parametrize(
    ("ttl", "expiration"),
    [(1, "1000"), (2.5, "2500"), (0.0014, "1"), (0.0001, "1"), (MAX_SECONDS, "2592000000")],
)
def test_a_time_to_live_is_the_expiration_in_whole_milliseconds(
    composer: Composer, ttl: float, expiration: str
) -> None:
    message = composer.compose("emails", {"task_name": TASK}, ttl=ttl)
    assert message.properties.expiration == expiration


@pytest.mark.parametrize("delay", [0.001, 5, MAX_SECONDS])
def test_a_delay_goes_with_the_message_and_is_none_of_its_properties(
    composer: Composer, delay: float
) -> None:
    message = composer.compose("emails", {"task_name": TASK}, delay=delay)
    assert message.delay == delay
    assert (message.properties.expiration, message.properties.headers) == (None, {})


@pytest.mark.parametrize("ttl", [0, -1, MAX_SECONDS + 1, float("nan"), float("inf")])
def test_a_time_to_live_that_is_none_is_refused(composer: Composer, ttl: float) -> None:
    with pytest.raises(InvalidTask, match=r"ttl is .* nothing was published"):
        composer.compose("emails", {"task_name": TASK}, ttl=ttl)


@pytest.mark.parametrize("delay", [-0.001, MAX_SECONDS + 1, float("nan"), float("inf")])
def test_a_delay_that_is_none_is_refused(composer: Composer, delay: float) -> None:
    with pytest.raises(InvalidTask, match=r"delay is .* nothing was published"):
        composer.compose("emails", {"task_name": TASK}, delay=delay)


def test_a_time_to_live_and_a_delay_do_not_go_together(composer: Composer) -> None:
    with pytest.raises(InvalidTask, match="a ttl or a delay, not both"):
        composer.compose("emails", {"task_name": TASK}, ttl=5, delay=1)
    assert composer.compose("emails", {"task_name": TASK}, ttl=5, delay=0).delay == 0
