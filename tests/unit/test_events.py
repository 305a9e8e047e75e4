"""Worker events: parsed without trust, written as a peer writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core import events
from tasktools.core.clock import moment
from tasktools.core.events import (
    Command,
    CounterDelta,
    Event,
    LockEvent,
    Malformed,
    Question,
    SettingsReply,
    SettingsUpdate,
    TaskEvent,
    TaskOnWorker,
    Unknown,
    WorkerEvent,
    WorkerList,
    WorkerReport,
)
from tasktools.core.marks import Mark
from tasktools.core.models import RetryRule, TopicSettings
from tasktools.testing import peer_heartbeat
from tests.unit.json_values import JSON

FEW = settings(max_examples=50, deadline=None, derandomize=True)
KINDS = [
    "register",
    "heartbeat",
    "unregister",
    "who_is_alive",
    "worker_list",
    "task_started",
    "task_completed",
    "task_failed",
    "lock_acquired",
    "lock_released",
    "config_request",
    "config_reply",
    "config_update",
    "counter_delta",
    "worker_command",
    "tasktools_command",
    "tasktools_mark",
]
FIELDS = [
    "worker",
    "workers",
    "task_info",
    "lock",
    "configs",
    "config",
    "topic",
    "counter",
    "delta",
    "worker_id",
    "task_id",
    "task_name",
    "host",
    "pid",
    "capacity",
    "running",
    "running_hint",
    "topics",
    "started_at",
    "last_heartbeat",
    "meta",
    "role",
    "hb",
    "telemetry",
    "running_tasks",
    "events_by_status",
    "failed_total",
    "completed_per_topic",
    "duration",
    "error",
    "locked_by",
    "concurrency_limit",
    "dead_letter_enabled",
    "tasktools",
    "draining",
    "prefetch",
    "retries",
    "max_retries",
    "retry_delay",
    "requested_topics",
    "target_worker_id",
    "action",
    "params",
    "mark",
    "id",
    "text",
    "who",
]
LIES: st.SearchStrategy[Any] = st.recursive(
    JSON,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6)
    ),
    max_leaves=30,
)

NAMES = st.text(min_size=1, max_size=8)
COUNTS = st.integers(0, 2**40)
TIMES = st.integers(0, 4_000_000_000).map(float)
TASKS = st.builds(TaskOnWorker, task_id=NAMES, task_name=st.none() | NAMES, topic=st.none() | NAMES)
PER_TOPIC = st.dictionaries(NAMES, COUNTS, max_size=3)
RULES = st.builds(RetryRule, max_retries=st.none() | COUNTS, retry_delay=st.floats(0, 1e6))
REPORT: dict[str, Any] = {
    "worker_id": NAMES,
    "host": st.none() | NAMES,
    "pid": st.none() | COUNTS,
    "role": st.none() | NAMES,
    "capacity": st.none() | COUNTS,
    "running": st.none() | COUNTS,
    "topics": st.lists(NAMES, max_size=3).map(tuple),
    "started_at": st.none() | TIMES,
    "last_heartbeat": st.none() | TIMES,
    "running_tasks": st.lists(TASKS, max_size=3).map(tuple),
    "succeeded": st.none() | COUNTS,
    "failed": st.none() | COUNTS,
    "finished_per_topic": PER_TOPIC,
    "failed_per_topic": PER_TOPIC,
    "requested_topics": st.lists(NAMES | st.just("*"), max_size=3).map(tuple),
}
REPORTS = st.builds(WorkerReport, **REPORT) | st.builds(
    WorkerReport,
    **REPORT,
    tasktools=NAMES,
    draining=st.none() | st.booleans(),
    prefetch=PER_TOPIC,
    retries=st.dictionaries(NAMES, RULES, max_size=3),
)
SETTINGS = st.builds(
    TopicSettings,
    concurrency_limit=st.none() | COUNTS,
    max_retries=st.none() | COUNTS,
    dead_letter_enabled=st.booleans(),
    retention_seconds=st.none() | COUNTS,
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(WorkerEvent, kind=st.sampled_from(KINDS[:3]), sender_id=NAMES, worker=REPORTS),
    st.builds(Question, sender_id=NAMES),
    st.builds(WorkerList, sender_id=NAMES, workers=st.lists(REPORTS, max_size=2).map(tuple)),
    st.builds(
        LockEvent,
        sender_id=NAMES,
        lock=NAMES,
        task_id=st.none() | NAMES,
        locked_by=st.none() | NAMES,
        acquired_at=st.none() | TIMES,
    ),
    st.builds(SettingsUpdate, sender_id=NAMES, topic=NAMES, settings=SETTINGS),
    st.builds(SettingsReply, sender_id=NAMES, settings=st.dictionaries(NAMES, SETTINGS)),
    st.builds(CounterDelta, sender_id=NAMES, topic=NAMES, delta=COUNTS),
    st.builds(
        Command,
        sender_id=NAMES,
        target=st.none() | NAMES,
        action=NAMES,
        params=st.dictionaries(NAMES, NAMES | COUNTS, max_size=2),
    ),
    st.builds(
        Mark,
        sender_id=NAMES,
        mark=NAMES,
        text=st.sampled_from(["deploy 1.4", "ü" * 200]),
        who=st.none() | NAMES,
    ),
)
TASK_EVENTS = [
    TaskEvent(kind="task_started", sender_id="n", task_id="t", worker_id="w", started_at=5.0),
    TaskEvent(kind="task_started", sender_id="n", task_id="t", topic="emails"),
    TaskEvent(kind="task_completed", sender_id="n", task_id="t", worker_id="w", duration=1.5),
    TaskEvent(kind="task_completed", sender_id="n", task_id="t"),
    TaskEvent(kind="task_failed", sender_id="n", task_id="t", error="no", error_type="ValueError"),
]


def dumps(**event: Any) -> bytes:
    return json.dumps(event).encode()


def parsed_worker(**worker: Any) -> WorkerReport:
    event = events.parse(peer_heartbeat(**worker))
    assert isinstance(event, WorkerEvent)
    return event.worker


@FEW
@given(st.binary())
def test_parsing_never_raises_for_any_bytes(body: bytes) -> None:
    assert isinstance(events.parse(body), Unknown | Malformed)


@FEW
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), LIES, max_size=6))
def test_parsing_never_raises_for_any_event(kind: str, fields: dict[str, Any]) -> None:
    parsed = events.parse(json.dumps({**fields, "event": kind, "sender_id": "x"}).encode())
    if not isinstance(parsed, Unknown | Malformed):
        assert isinstance(events.encode(parsed), bytes)


@FEW
@given(EVENTS)
def test_what_was_encoded_is_parsed_as_it_was(event: Event) -> None:
    assert events.parse(events.encode(event)) == event


@pytest.mark.parametrize("event", TASK_EVENTS)
def test_a_task_event_is_parsed_as_it_was(event: TaskEvent) -> None:
    assert events.parse(events.encode(event)) == event


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b'"\xff"', b"[]", b"5", b"{}", b'{"event": 5}', b"[" * 100_000]
)
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    assert isinstance(events.parse(body), Malformed)


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith(("who", "config_re"))])
def test_an_event_without_what_makes_it_one_is_malformed_or_empty(kind: str) -> None:
    parsed = events.parse(dumps(event=kind))
    assert isinstance(parsed, Malformed | Unknown) or parsed == WorkerList(sender_id="", workers=())


def test_a_kind_that_is_not_known_is_told_by_its_name() -> None:
    assert events.parse(dumps(event="from_the_future")) == Unknown(name="from_the_future")


def test_a_peers_running_of_zero_is_not_believed() -> None:
    assert parsed_worker().running == 1


def test_without_telemetry_the_hint_is_believed() -> None:
    assert parsed_worker(meta={}, running_hint=3).running == 3


def test_without_telemetry_the_running_tasks_are_unknown() -> None:
    assert parsed_worker(meta={}).running_tasks is None


def test_failed_tasks_do_not_count_as_succeeded() -> None:
    worker = parsed_worker()
    assert (worker.succeeded, worker.failed) == (5, 3)
    assert (worker.finished_per_topic, worker.failed_per_topic) == ({"emails": 8}, {"emails": 3})


def test_running_tasks_without_an_id_are_left_out() -> None:
    tasks = [{"task_id": "a"}, {"task_id": 5}, "b", None]
    worker = parsed_worker(meta={"hb": {"telemetry": {"running_tasks": tasks}}})
    assert worker.running_tasks == (TaskOnWorker(task_id="a"),)


def test_a_list_of_workers_leaves_out_what_is_none() -> None:
    parsed = events.parse(dumps(event="worker_list", workers=[{"worker_id": "a"}, {}, 5]))
    assert isinstance(parsed, WorkerList)
    assert [worker.worker_id for worker in parsed.workers] == ["a"]


@pytest.mark.parametrize("counter", ["finished", None, 5, ["error"], {}])
def test_a_counter_of_another_name_is_malformed(counter: Any) -> None:
    encoded = dumps(event="counter_delta", topic="emails", counter=counter, delta=1)
    assert isinstance(events.parse(encoded), Malformed)


def test_an_order_is_read_as_a_peer_writes_it() -> None:
    params = {"topic": "emails", "prefetch": 3}
    encoded = dumps(
        event="worker_command",
        sender_id="node",
        target_worker_id="worker-1",
        action="update_prefetch",
        params=params,
    )
    order = Command(
        kind="worker_command",
        sender_id="node",
        target="worker-1",
        action="update_prefetch",
        params=params,
    )
    assert events.parse(encoded) == order
    assert json.loads(events.encode(order)) == json.loads(encoded)


@pytest.mark.parametrize("params", [None, 5, "x", ["topic"]])
def test_an_order_with_odd_parameters_has_none(params: Any) -> None:
    parsed = events.parse(dumps(event="tasktools_command", action="drain", params=params))
    assert parsed == Command(kind="tasktools_command", sender_id="", target=None, action="drain")


@pytest.mark.parametrize("action", [None, 5, {}, ["drain"]])
def test_an_order_without_an_action_is_malformed(action: Any) -> None:
    encoded = dumps(event="worker_command", target_worker_id="w", action=action)
    assert isinstance(events.parse(encoded), Malformed)


def test_only_a_worker_of_ours_says_what_it_is_and_whether_it_drains() -> None:
    assert (parsed_worker().tasktools, parsed_worker().draining) == (None, None)
    own_worker = parsed_worker(meta={"tasktools": "0.1.0", "draining": True})
    assert (own_worker.tasktools, own_worker.draining) == ("0.1.0", True)
    lies = parsed_worker(meta={"tasktools": 5, "draining": "yes"})
    assert (lies.tasktools, lies.draining) == (None, None)


def test_an_encoded_heartbeat_has_the_shape_of_a_peers() -> None:
    theirs = json.loads(peer_heartbeat(at=1_800_000_000.0))
    event = events.parse(peer_heartbeat(at=1_800_000_000.0))
    assert isinstance(event, WorkerEvent)
    document = json.loads(events.encode(event))
    assert document.keys() == theirs.keys()
    assert document["worker"].keys() == theirs["worker"].keys()
    assert document["worker"]["running"] == 0
    assert document["worker"]["last_heartbeat"] == moment(1_800_000_000.0).isoformat()
