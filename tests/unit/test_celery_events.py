"""Celery's events and answers: of a real worker of release 5.7, and of strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktools.core.cluster_view import ClusterView
from tasktools.core.dialects import celery_inspect, celery_notes
from tasktools.core.dialects.celery_errors import error_of
from tasktools.core.dialects.celery_events import CeleryEvents, Read
from tasktools.core.dialects.celery_workers import CeleryWorker
from tasktools.core.events import CounterDelta, Malformed, TaskEvent, WorkerEvent
from tasktools.core.models import ClusterState, PrefetchedTask, Source, Worker
from tests.unit.json_values import JSON
from tests.wire.samples import samples

SESSION = Path(__file__).parent / "celery_session.jsonl"
WORKER = "w1@host"
T = 1_800_000_000.0
FEW = settings(max_examples=100, deadline=None, derandomize=True)
KINDS = [
    *(f"task-{kind}" for kind in ["sent", "received", "started", "succeeded", "failed"]),
    *("task-retried", "task-rejected", "task-revoked", "task-progress"),
    *("worker-online", "worker-heartbeat", "worker-offline"),
]


class Listener:
    """A listener to a cluster of Celery: the translation, and the view behind it."""

    def __init__(self) -> None:
        self.celery = CeleryEvents()
        self.view = ClusterView()
        self.events_read: list[Read] = []
        self.now = T

    def events(self, at: float, *events: dict[str, Any]) -> Listener:
        """Hear *events*, one message."""
        body = events[0] if len(events) == 1 else list(events)
        return self._take(at, self.celery.read(json.dumps(body).encode(), at))

    def answer(self, at: float, method: str, body: object, asked: float | None = None) -> Listener:
        """Get an answer to *method*."""
        for worker, answer in celery_inspect.answers(method, json.dumps(body).encode()):
            asked_at = at if asked is None else asked
            report = self.celery.workers.answer(method, worker, answer, asked_at, at)
            self._take(at, [] if report is None else [report])
        return self

    def _take(self, at: float, events: list[Read]) -> Listener:
        self.now = at
        self.events_read += events
        for event in events:
            self.view.fold(at, event)
        return self

    def session(self, until: float = float("inf")) -> Listener:
        """Hear the recorded session, for *until* seconds of it."""
        rows = [json.loads(line) for line in SESSION.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            if row["at"] - rows[0]["at"] <= until:
                if "answer" in row:
                    self.answer(row["at"], row["answer"], row["body"])
                else:
                    body = row["body"]
                    self.events(row["at"], *(body if isinstance(body, list) else [body]))
        return self

    def state(self) -> ClusterState:
        """Return the cluster at the time of the last message."""
        return self.view.state(self.now, Source(name="events", ok=True))

    def worker(self, name: str = WORKER) -> Worker:
        """Return one worker of the state."""
        return next(worker for worker in self.state().workers if worker.worker_id == name)

    def prefetched(self) -> tuple[PrefetchedTask, ...]:
        """Return what workers hold."""
        return self.celery.workers.prefetched(lambda _worker: False)

    def ends(self) -> Iterator[TaskEvent]:
        """Yield the ends of tasks that were heard."""
        for event in self.events_read:
            if isinstance(event, TaskEvent) and event.kind != "task_started":
                yield event

    def notes(self, connected: tuple[str, ...] = ()) -> str:
        """Return the notes on what is not known."""
        workers = self.celery.workers
        return "; ".join(celery_notes.notes(self.state(), self.prefetched(), workers, connected))


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "hostname": WORKER, "pid": 7, "timestamp": T, **fields}


def beat(**fields: Any) -> dict[str, Any]:
    return event("worker-heartbeat", freq=2.0, active=0, processed=0, **fields)


def request(task_id: str, **fields: Any) -> dict[str, Any]:
    delivery = {"exchange": "", "routing_key": "mail"}
    return {
        "id": task_id,
        "name": "shop.add",
        "args": [1],
        "kwargs": {},
        "time_start": None,
        "delivery_info": delivery,
        **fields,
    }


# --- a real session ---------------------------------------------------------------------


def test_the_worker_of_a_real_session_is_known_with_all_that_it_tells() -> None:
    worker = Listener().session(until=9).worker()

    assert (worker.host, worker.pid, worker.version) == ("host", 18159, "5.7.0")
    assert (worker.role, worker.dialect, worker.is_tasktools) == ("worker", "celery", False)
    assert (worker.state, worker.running, worker.capacity) == ("alive", 2, 2)
    assert worker.topics == ("mail", "calls")
    assert (worker.succeeded, worker.failed) == (1, 1)
    assert worker.started_at == datetime.fromisoformat("2026-11-30T18:46:06.244432+00:00")
    assert worker.clock_offset == pytest.approx(0, abs=0.1)


def test_running_tasks_have_the_arguments_that_the_worker_answered() -> None:
    state = Listener().session(until=9).state()

    assert [(run.task_name, run.topic, run.kwargs) for run in state.running] == [
        ("shop.hold", "mail", {"customer": 7}),
        ("shop.hold", "mail", {"customer": 8}),
    ]
    assert all(run.args == ["/srv/shop/hold1"] and run.started_at for run in state.running)


def test_tasks_in_hand_are_known_and_those_with_an_eta_are_scheduled() -> None:
    prefetched = Listener().session(until=9).prefetched()

    assert [(task.task_name, task.args, task.eta is not None) for task in prefetched] == [
        ("shop.hold", ["/srv/shop/hold1"], False),
        ("shop.retry", ["k"], False),
        ("shop.reject", [], False),
        ("shop.add", [1], False),
        ("shop.add", [5], True),
    ]


def test_the_ends_of_a_real_session_are_failures_with_type_text_and_traceback() -> None:
    listener = Listener().session()
    failures = [end for end in listener.ends() if end.kind == "task_failed"]

    assert [(end.task_name, end.error_type, end.error, end.topic) for end in failures] == [
        ("shop.fail", "ValueError", "no such user bob", "mail"),
        ("shop.add", "TaskRevokedError", "expired", "mail"),
        ("shop.reject", "celery.exceptions.Reject", "('bad', False)", "mail"),
        *[("shop.retry", "KeyError", "'k'", "mail")] * 3,
    ]
    assert failures[0].traceback is not None
    assert failures[0].traceback.endswith("ValueError: no such user bob\n")
    assert (failures[0].args, failures[0].kwargs) == ("('bob',)", "{'password': 'hunter2'}")
    assert "hunter2" not in repr(failures[0])
    done = [end for end in listener.ends() if end.kind == "task_completed"]
    assert [end.task_name for end in done] == ["shop.add", *["shop.hold"] * 3]
    assert all(end.duration is not None for end in done)


def test_the_counters_of_a_real_session_agree_with_its_ends() -> None:
    state = Listener().session().state()

    counters = state.counters["mail"]
    assert (counters.succeeded, counters.failed) == (4, 3)
    assert (counters.requeued, counters.dead_lettered) == (2, 1)
    assert (state.workers[0].state, state.running) == ("stopped", ())


# --- workers ----------------------------------------------------------------------------


def test_a_worker_is_late_and_gone_by_its_own_interval_of_heartbeats() -> None:
    quick = Listener().events(T, beat())
    slow = Listener().events(T, {**beat(), "freq": 20.0})

    for seconds, states in [(9, ("alive", "alive")), (31, ("gone", "alive"))]:
        quick.now = slow.now = T + seconds
        assert (quick.worker().state, slow.worker().state) == states
    slow.now = T + 71
    assert slow.worker().state == "late"
    slow.now = T + 201
    assert slow.worker().state == "gone"


def test_the_queues_of_a_worker_are_not_known_before_it_has_named_them() -> None:
    listener = Listener().events(T, beat())
    assert not listener.worker().topics_known
    listener.answer(T + 1, "active_queues", {WORKER: []})
    assert listener.worker().topics_known  # it consumes none


def test_a_worker_that_is_silent_and_connected_is_late_and_a_note_says_why() -> None:
    listener = Listener().events(T, beat()).answer(T, "active", {WORKER: []})
    listener.now = T + 300
    listener.view.note_connected(WORKER, T + 299)

    assert listener.worker().state == "late"
    assert f"silent, and yet connected to RabbitMQ: {WORKER}" in listener.notes((WORKER,))

    listener.now = T + 340
    assert listener.worker().state == "gone"


def test_another_process_of_the_same_name_orphans_the_tasks_of_the_one_before() -> None:
    listener = Listener().events(T, beat()).events(T, event("task-started", uuid="a"))
    listener.events(T + 3, {**beat(), "pid": 8})

    state = listener.state()
    assert (state.running, [orphan.task.task_id for orphan in state.orphans]) == ((), ["a"])
    assert (state.workers[0].pid, state.workers[0].running) == (8, 0)


def test_stats_make_no_new_process_of_a_worker() -> None:
    listener = Listener().events(T, beat()).events(T, event("task-started", uuid="a"))
    stats = {"pid": 7, "uptime": 60, "pool": {"max-concurrency": 4}}
    listener.answer(T + 1, "stats", {WORKER: stats})

    assert [run.task_id for run in listener.state().running] == ["a"]
    assert (listener.worker().capacity, listener.worker().running) == (4, 1)


def test_an_answer_corrects_what_runs_and_what_is_in_hand() -> None:
    listener = Listener().events(T, beat())
    listener.events(T, event("task-received", uuid="held", name="shop.add", args="(1,)"))
    listener.events(T, *(event("task-started", uuid=name) for name in ("lost", "runs")))
    started = request("runs", time_start=T - 5)
    for method, requests in [("reserved", []), ("active", [started, request("unheard")])]:
        listener.answer(T + 10, method, {WORKER: requests})

    assert [run.task_id for run in listener.state().running] == ["runs", "unheard"]
    assert listener.prefetched() == ()


def test_an_answer_that_was_overtaken_by_an_event_changes_nothing() -> None:
    listener = Listener().events(T, beat())
    listener.events(T + 9, event("task-started", uuid="new"))
    listener.events(T + 9, event("task-succeeded", uuid="done", runtime=1.0))
    listener.answer(T + 10, "active", {WORKER: [request("done")]})

    assert [run.task_id for run in listener.state().running] == ["new"]


def test_a_try_that_was_received_before_the_last_one_ended_is_not_lost() -> None:
    listener = Listener().events(T, beat())
    received = event("task-received", uuid="a", name="shop.add", args="(1,)", kwargs="{}")
    listener.events(T, received, event("task-started", uuid="a"))
    listener.events(T + 1, received, event("task-retried", uuid="a", exception="KeyError(1)"))

    assert [task.task_id for task in listener.prefetched()] == ["a"]
    listener.events(T + 2, event("task-started", uuid="a"))
    assert [run.task_name for run in listener.state().running] == ["shop.add"]


def test_tries_whose_events_overlap_all_have_their_name() -> None:
    """A pool's other process may begin the next try before the end of this one is told."""
    listener = Listener().events(T, beat())
    received = event("task-received", uuid="a", name="shop.add", args="(1,)", kwargs="{}")
    started, retried = event("task-started", uuid="a"), event("task-retried", uuid="a")
    listener.events(T, received, started, received, started, retried)
    listener.events(T, event("task-failed", uuid="a", exception="KeyError(1)"))

    assert [(end.task_name, end.args) for end in listener.ends()] == [("shop.add", "(1,)")] * 2


def test_a_try_that_begins_without_being_received_is_known_by_the_one_before() -> None:
    """An answer that came between the events of two tries described the wrong one of them."""
    listener = Listener().events(T, beat())
    received = event("task-received", uuid="a", name="shop.add", args="(1,)", kwargs="{}")
    started = event("task-started", uuid="a")
    listener.events(T, received, started, event("task-retried", uuid="a", exception="E()"))
    listener.events(T + 1, started)

    (running,) = listener.state().running
    assert (running.task_name, running.args) == ("shop.add", "(1,)")
    listener.events(T + 2, event("task-failed", uuid="a", exception="E()"))
    assert [(end.task_name, end.args) for end in listener.ends()] == [("shop.add", "(1,)")] * 2


def test_what_a_worker_that_stopped_held_is_forgotten() -> None:
    listener = Listener().events(T, beat(), event("task-received", uuid="a", name="shop.add"))
    listener.events(T + 1, event("worker-offline"))

    assert (listener.worker().state, listener.prefetched()) == ("stopped", ())


def test_a_worker_without_events_of_tasks_has_no_counts_and_a_note() -> None:
    listener = Listener()
    for second, processed in enumerate([0, 1, 2]):
        listener.events(T + second, {**beat(), "processed": processed, "active": 1})
    answer = request("a", kwargs={"customer": 7})
    listener.answer(T + 3, "active", {WORKER: [answer]})

    worker = listener.worker()
    assert (worker.succeeded, worker.failed, worker.running) == (None, None, 1)
    assert listener.state().running[0].kwargs == {"customer": 7}
    assert "1 of 1 workers of Celery send no events of their tasks" in listener.notes()
    assert "worker_send_task_events" in listener.notes()


def test_a_worker_that_ran_before_we_listened_is_counted_since_then_and_a_note_says_so() -> None:
    listener = Listener().events(T, {**beat(), "processed": 40})
    assert listener.worker().succeeded is None  # whether it sends events is not known yet

    listener.events(T, event("task-succeeded", uuid="a"))
    listener.events(T + 2, {**beat(), "processed": 41})
    assert listener.worker().succeeded == 1
    listener.view.listen(T)
    assert "succeeded and failed are counted from" in listener.notes()


# --- topics -----------------------------------------------------------------------------


def queues(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "exchange": {"name": "shop"}, "routing_key": name} for name in names]


@pytest.mark.parametrize(
    ("consumed", "delivery", "topic"),
    [
        (["mail", "calls"], {"exchange": "", "routing_key": "calls"}, "calls"),
        (["mail", "calls"], {"exchange": "shop", "routing_key": "mail"}, "mail"),
        (["mail", "calls"], {"exchange": "other", "routing_key": "x"}, None),
        (["mail"], {"exchange": "other", "routing_key": "x"}, "mail"),
        (["mail"], None, "mail"),
    ],
)
def test_the_topic_of_a_task_is_the_queue_that_brought_it(
    consumed: list[str], delivery: object, topic: str | None
) -> None:
    listener = Listener().answer(T, "active_queues", {WORKER: queues(*consumed)})
    listener.answer(T, "active", {WORKER: [request("a", delivery_info=delivery)]})

    assert [run.topic for run in listener.state().running] == [topic]
    assert ("queue of 1 running" in listener.notes()) is (topic is None)


def test_the_topic_of_a_task_is_that_of_tasks_of_the_same_name_if_its_worker_has_it() -> None:
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail", "calls")})
    listener.answer(T, "active", {WORKER: [request("a")]})

    def topic_of(task_id: str, name: str) -> str | None:
        received = event("task-received", uuid=task_id, name=name)
        listener.events(T, received, event("task-started", uuid=task_id))
        return listener.state().running[-1].topic

    assert (topic_of("b", "shop.add"), topic_of("c", "shop.other")) == ("mail", None)
    elsewhere = request("d", name="shop.other", delivery_info={"exchange": "", "routing_key": "x"})
    listener.answer(T, "active", {"w2@host": [elsewhere]})
    assert topic_of("e", "shop.other") is None  # its worker does not consume x
    called = request("f", delivery_info={"exchange": "", "routing_key": "calls"})
    listener.answer(T, "active", {WORKER: [called]})
    assert topic_of("g", "shop.add") is None  # both queues have had it


def test_the_topic_that_a_producer_tells_holds_although_it_is_later_than_the_worker() -> None:
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail", "calls")})
    sent = event("task-sent", uuid="a", name="shop.add", queue="mail")
    listener.events(T, sent, event("task-received", uuid="a", name="shop.add"))
    listener.events(T, event("task-started", uuid="a"))
    assert listener.state().running[-1].topic == "mail"

    received = event("task-received", uuid="b", name="shop.add")
    listener.events(T, received, event("task-started", uuid="b"))
    assert listener.state().running[-1].topic is None
    listener.events(T, {**sent, "uuid": "b", "queue": "calls"})
    listener.events(T + 2, {**beat(), "active": 2})
    assert listener.state().running[-1].topic == "calls"


def test_what_became_of_a_task_is_counted_once_its_producer_names_the_queue() -> None:
    """Its event may be later than all that the worker tells."""
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail", "calls")})
    for kind in ("task-received", "task-started", "task-failed"):
        listener.events(T, event(kind, uuid="a", name="shop.add", exception="Reject()"))
    listener.events(T, event("task-rejected", uuid="a", requeue=False))
    assert not listener.state().counters
    listener.events(T, event("task-sent", uuid="a", name="shop.add", queue="calls"))
    assert listener.state().counters["calls"].dead_lettered == 1
    listener.events(T + 2, {**beat(), "active": 0})
    assert listener.state().counters["calls"].failed == 1


@pytest.mark.parametrize("named", ["before", "between", "after"])
def test_each_try_of_a_retried_task_is_counted_whenever_its_queue_is_named(named: str) -> None:
    """Each try is sent, by the producer or a worker, and told of on connections of their own."""
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail", "calls")})
    sent = event("task-sent", uuid="a", name="shop.add", queue="calls")
    received = event("task-received", uuid="a", name="shop.add")
    started, retried = event("task-started", uuid="a"), event("task-retried", uuid="a")
    tries = [received, started, retried, received, started, retried, received, started]
    position = {"before": 0, "between": 4, "after": 8}[named]
    for each in [*tries[:position], sent, *tries[position:]]:
        listener.events(T, each)
    listener.events(T, event("task-failed", uuid="a", exception="E()"))
    listener.events(T + 2, {**beat(), "active": 0})

    counters = listener.state().counters["calls"]
    assert (counters.requeued, counters.failed) == (2, 1)
    assert all(end.topic in {None, "calls"} for end in listener.ends())


def test_what_a_stopped_worker_had_answered_does_not_revive_it() -> None:
    """Answers come over another queue than events, and so they may come later."""
    listener = Listener().events(T, beat())
    listener.events(T + 2, event("worker-offline"))
    listener.answer(T + 2.1, "active_queues", {WORKER: queues("mail")}, asked=T + 1.9)
    assert listener.worker().state == "stopped"
    listener.answer(T + 5, "active_queues", {WORKER: queues("mail")}, asked=T + 4.9)
    assert (listener.worker().state, listener.worker().topics) == ("alive", ("mail",))


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exception", "traceback", "error"),
    [
        ("ValueError('no such user')", None, ("ValueError", "no such user")),
        ('ValueError("it\'s \\"so\\"")', None, ("ValueError", 'it\'s "so"')),
        ("ValueError('two\\nlines')", None, ("ValueError", "two\nlines")),
        ("KeyError('k')", None, ("KeyError", "'k'")),
        ("OSError(2, 'No such file')", None, ("OSError", "2, 'No such file'")),
        ("Timeout()", None, ("Timeout", None)),
        ("<unprintable>", None, (None, "<unprintable>")),
        ("Bad('x')", 'T\n  File "a"\n    b\nshop.Bad: x\ny', ("shop.Bad", "x\ny")),
        ("Bad('x')", 'T\n  File "a"\n    b\ncelery.Retry: Bad', ("Bad", "x")),
        (None, None, (None, None)),
        ("eval('a')(1)", None, ("eval", "'a')(1")),
    ],
)
def test_an_error_is_read_and_never_evaluated(
    exception: str | None, traceback: str | None, error: tuple[str | None, str | None]
) -> None:
    assert error_of(exception, traceback) == error


def test_a_rejection_that_no_failure_announced_is_one() -> None:
    """Before release 5.7, Celery tells only that the task was rejected."""
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail")})
    listener.events(T, event("task-started", uuid="a"))
    listener.events(T, event("task-rejected", uuid="a", requeue=True))

    (end,) = listener.ends()
    assert (end.error_type, end.error) == ("Reject", "its message was requeued")
    assert (
        CounterDelta(sender_id=WORKER, topic="mail", counter="error", delta=1)
        in listener.events_read
    )


def test_a_rejected_task_is_one_failure_whichever_event_comes_first() -> None:
    """With `acks_on_failure_or_timeout` off `task-rejected` comes before `task-failed`; where the
    task raises `Reject`, behind it."""
    listener = Listener().answer(T, "active_queues", {"w0@shop": queues("mail")})
    for sample in samples("celery", "events"):
        body = sample.value
        listener.events(T, *(body if isinstance(body, list) else [body]))
    listener.events(T + 10, beat())

    ends = [(end.task_name, end.error_type, end.topic) for end in listener.ends()]
    late, *refused = sorted(end for end in ends if end[0] in {"shop.fail_late", "shop.refuse"})
    assert late == ("shop.fail_late", "ValueError", "mail")
    assert refused == [("shop.refuse", "celery.exceptions.Reject", "mail")] * 2
    assert listener.state().counters["mail"].dead_lettered == 3


@pytest.mark.parametrize("next_event", ["worker-heartbeat", "task-received", "task-started"])
def test_a_rejection_that_no_failure_follows_is_one(next_event: str) -> None:
    """Before release 5.7, a task that asks to be rejected is not told of as failed."""
    listener = Listener().answer(T, "active_queues", {WORKER: queues("mail")})
    listener.events(T, event("task-started", uuid="a", name="shop.add"))
    listener.events(T, event("task-rejected", uuid="a", requeue=False))
    assert not list(listener.ends())
    later = T + (10 if next_event == "worker-heartbeat" else 0.1)
    listener.events(later, event(next_event, uuid="a", freq=2.0))
    (end,) = listener.ends()
    assert (end.error_type, end.error) == ("Reject", "its message was not requeued")
    assert (end.worker_id, end.topic) == (WORKER, "mail")
    listener.events(T + 20, beat())
    assert len(list(listener.ends())) == 1


# --- strangers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"", b"null", b"7", b"[7]", b"\xff", b'{"type": ', b"[" * 100_000, b'{"type": 1e999}']
)
def test_a_body_that_is_no_event_is_malformed_or_nothing(body: bytes) -> None:
    read = CeleryEvents().read(body, T)
    assert all(isinstance(event, Malformed) for event in read)


@FEW
@given(st.lists(st.dictionaries(st.sampled_from(sorted(beat())), JSON), max_size=3), JSON)
def test_no_event_of_a_stranger_raises(events: list[dict[str, Any]], value: Any) -> None:
    listener = Listener()
    for kind in KINDS:
        fields = dict.fromkeys(("uuid", "name", "args", "exception", "traceback", "eta"), value)
        for each in [*events, fields, {**fields, "uuid": "a", "hostname": WORKER}]:
            body = json.dumps([{**each, "type": kind}]).encode()
            listener._take(T, listener.celery.read(body, T))
    assert listener.state().workers is not None
    assert all(isinstance(task.task_name, str | None) for task in listener.prefetched())


@FEW
@given(JSON)
def test_no_answer_of_a_stranger_raises(value: Any) -> None:
    listener = Listener()
    for method in celery_inspect.METHODS:
        for body in (value, {WORKER: value}, {WORKER: [value]}, {WORKER: {"pool": value}}):
            listener.answer(T, method, body)
    listener.answer(T, "scheduled", {WORKER: [{"eta": value, "request": request("a", args=value)}]})
    assert all(task.worker_id == WORKER for task in listener.prefetched())


def test_arguments_are_kept_only_while_they_are_short() -> None:
    listener = Listener()
    listener.answer(T, "active", {WORKER: [request("a", args=["x" * 30_000])]})
    assert [run.args for run in listener.state().running] == [None]

    long_text = event("task-received", uuid="b", name="n", args="x" * 30_000)
    listener.events(T, long_text, event("task-started", uuid="b"))
    assert len(listener.state().running[-1].args) == 2_000


def test_workers_and_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasktools.core.dialects.celery_workers._MAX_TASKS", 10)
    listener = Listener()
    for number in range(30):
        listener.events(T, event("task-received", uuid=f"{number}", name="n"))

    worker: CeleryWorker = listener.celery.workers.known[WORKER]
    assert (len(listener.celery.workers.tasks), len(worker.held)) == (10, 10)
    assert [task.task_id for task in listener.prefetched()] == [f"{n}" for n in range(20, 30)]


def held_and_running(listener: Listener) -> dict[str, tuple[list[str], list[str]]]:
    """Return the ids of the tasks that each worker holds, and of those that it runs."""
    known = listener.celery.workers.known
    return {name: (list(worker.held), list(worker.running)) for name, worker in known.items()}


def test_a_task_that_is_delivered_to_another_worker_is_taken_from_the_first() -> None:
    """Issue 11, "resource use": each id that was seen with two workers was kept for ever."""
    listener = Listener()
    first, other = {"hostname": "a@h", "name": "n"}, {"hostname": "b@h", "name": "n"}
    listener.events(T, event("task-received", uuid="held", **first))
    listener.events(T, event("task-received", uuid="held", **other))
    listener.events(T, event("task-started", uuid="begun", **first))
    listener.events(T, event("task-started", uuid="begun", **other))
    assert held_and_running(listener) == {"a@h": ([], []), "b@h": (["held"], ["begun"])}

    listener.events(T, event("task-received", uuid="again", **first))
    listener.events(T, event("task-started", uuid="again", **first))
    listener.events(T, event("task-received", uuid="again", **other))
    assert held_and_running(listener)["a@h"] == ([], ["again"])  # it may be running in both
    assert held_and_running(listener)["b@h"] == (["held", "again"], ["begun"])
    for uuid in ("held", "begun", "again"):
        listener.events(T, event("task-started", uuid=uuid, **other))
        listener.events(T, event("task-succeeded", uuid=uuid, **other))
    assert held_and_running(listener) == {"a@h": ([], []), "b@h": ([], [])}
    assert not listener.celery.workers.tasks


def test_the_next_try_runs_on_although_the_end_of_the_one_before_is_heard_late() -> None:
    listener = Listener()
    listener.events(T, event("task-started", uuid="a", hostname="a@h"))
    listener.events(T, event("task-received", uuid="a", hostname="b@h", name="n"))
    listener.events(T, event("task-started", uuid="a", hostname="b@h"))
    listener.events(T, event("task-retried", uuid="a", hostname="a@h"))
    assert held_and_running(listener) == {"a@h": ([], []), "b@h": ([], ["a"])}
    assert list(listener.celery.workers.tasks) == ["a"]


def test_names_that_no_broker_would_take_and_endless_topics_are_not_kept() -> None:
    """Issue 11, "resource use": names of 100 kB and 20,000 queues of one worker were."""
    listener, long = Listener(), "x" * 256
    listener.events(T, beat(hostname=long), event("task-started", uuid=long))
    listener.events(T, *[beat(hostname=f"{n}@h") for n in range(1_001)])
    assert [type(each) for each in listener.events_read] == [Malformed] * 3
    listener.events(T, beat(sw_ver=long), event("task-received", uuid="a", name=long))
    listener.answer(T, "active", {long: [{"id": "b"}], "": [], WORKER: [{"id": long}]})
    workers = listener.celery.workers
    assert list(workers.known) == [WORKER]
    assert workers.known[WORKER].version == workers.tasks["a"].name == long[:254] + "…"

    for n in range(1_100):
        listener.events(T, event("task-sent", uuid=f"{n}", name="n", queue=f"q{n}"))
        listener.events(T, event("task-failed", uuid=f"{n}"))
    counts = workers.known[WORKER]
    assert (len(counts.finished_per_topic), len(counts.failed_per_topic)) == (1_000, 1_000)


def test_our_clock_that_was_set_moves_all_times() -> None:
    listener = Listener().events(T, beat(), event("task-started", uuid="a"))
    listener.celery.workers.shift(100.0)
    listener.view.shift(100.0)
    listener.answer(T + 101, "active", {WORKER: []})

    assert [run.task_id for run in listener.state().running] == ["a"]  # it began just now
    assert isinstance(listener.events_read[0], WorkerEvent)
