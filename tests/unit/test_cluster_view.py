"""The cluster as its events tell it, second by second."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tasktools.core import cluster_view, events
from tasktools.core.clock import moment
from tasktools.core.cluster_view import ClusterView
from tasktools.core.duration_histogram import Histogram
from tasktools.core.events import (
    Command,
    CounterDelta,
    Event,
    Malformed,
    Question,
    SettingsReply,
    SettingsUpdate,
    TaskOnWorker,
    Unknown,
    WorkerEvent,
    WorkerList,
)
from tasktools.core.models import (
    ClusterState,
    RunningTask,
    Source,
    TopicCounters,
    TopicSettings,
    Worker,
)
from tasktools.testing import lock_event, peer_heartbeat, task_event, worker_event, worker_report

T = 1_800_000_000.0
HOUR = 3600.0


class Story:
    """A view, and the events that it is told at seconds after `T`."""

    def __init__(self) -> None:
        self.view = ClusterView()

    def at(self, second: float, *heard_events: Event | Unknown | Malformed) -> Story:
        for event in heard_events:
            self.view.fold(T + second, event)
        return self

    def state(self, second: float) -> ClusterState:
        return self.view.state(T + second, Source(name="events", ok=True))

    def worker(self, second: float, worker_id: str = "worker-1") -> Worker:
        return next(w for w in self.state(second).workers if w.worker_id == worker_id)

    def running(self, second: float) -> dict[str, str]:
        return {task.task_id: task.worker_id for task in self.state(second).running}


@pytest.fixture
def story() -> Story:
    return Story()


def hearsay(worker_id: str = "worker-1", **report: Any) -> WorkerList:
    return WorkerList(sender_id="node", workers=(worker_report(worker_id, **report),))


# --- silence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("silence", "state"),
    [
        (0.0, "alive"),
        (9.999, "alive"),
        (10.0, "late"),
        (30.0, "late"),
        (30.001, "gone"),
        (3599.0, "gone"),
    ],
)
def test_a_silent_worker_is_late_then_gone(story: Story, silence: float, state: str) -> None:
    worker = story.at(0, worker_event()).worker(silence)
    assert worker.state == state
    assert worker.silence == pytest.approx(silence)


def test_a_worker_gone_for_an_hour_is_forgotten(story: Story) -> None:
    story.at(0, worker_event())
    assert len(story.state(HOUR).workers) == 1
    assert story.state(HOUR + 1).workers == ()


def test_a_worker_that_stopped_is_shown_for_an_hour(story: Story) -> None:
    story.at(0, worker_event()).at(100, worker_event("unregister"))
    assert story.worker(100 + HOUR).state == "stopped"
    assert story.state(101 + HOUR).workers == ()


def test_a_heartbeat_ends_the_silence(story: Story) -> None:
    story.at(0, worker_event())
    assert story.worker(29).state == "late"
    assert story.at(29, worker_event()).worker(30).state == "alive"


def test_a_worker_that_was_gone_comes_back(story: Story) -> None:
    story.at(0, worker_event(running=["a"]))
    assert story.worker(60).state == "gone"
    story.at(61, worker_event(running=["a"]))
    assert (story.worker(61).state, story.running(61)) == ("alive", {"a": "worker-1"})


@pytest.mark.parametrize("wrong_by", [-9 * HOUR, 0.0, 9 * HOUR])
def test_silence_is_judged_by_our_clock_however_wrong_theirs_is(
    story: Story, wrong_by: float
) -> None:
    event = worker_event(started_at=T + wrong_by - 60, last_heartbeat=T + wrong_by)
    worker = story.at(0, event).worker(1)
    assert worker.state == "alive"
    assert worker.silence == pytest.approx(1)
    assert worker.clock_offset == pytest.approx(wrong_by)
    assert worker.last_seen == moment(T)


def test_our_own_deafness_is_nobodys_silence(story: Story) -> None:
    story.at(0, worker_event(running=["a"]), task_event("task_started", "b", "unheard"))
    story.view.forgive(600)
    assert story.worker(605).state == "alive"
    assert story.running(605) == {"a": "worker-1", "b": "unheard"}


def test_only_a_worker_that_is_known_can_stop(story: Story) -> None:
    assert story.at(0, worker_event("unregister")).state(0).workers == ()


# --- hearsay ------------------------------------------------------------------------


def test_what_others_say_is_uncertain(story: Story) -> None:
    worker = story.at(0, hearsay()).worker(0)
    assert (worker.uncertain, worker.last_seen, worker.clock_offset) == (True, None, None)


def test_the_own_beat_makes_it_certain(story: Story) -> None:
    worker = story.at(0, hearsay()).at(2, worker_event()).worker(3)
    assert (worker.uncertain, worker.last_seen) == (False, moment(T + 2))
    assert worker.silence == pytest.approx(1)


def test_hearsay_counts_the_silence_that_it_tells_of(story: Story) -> None:
    story.at(0, hearsay(last_heartbeat=T - 25))
    assert story.worker(0).state == "late"
    assert story.worker(6).state == "gone"


@pytest.mark.parametrize("wrong_by", [-9 * HOUR, -31.0, 1.0, 9 * HOUR])
def test_hearsay_by_a_wrong_clock_tells_of_no_silence(story: Story, wrong_by: float) -> None:
    assert story.at(0, hearsay(last_heartbeat=T + wrong_by)).worker(0).silence == 0


def test_what_others_say_that_a_worker_runs_does_not_count(story: Story) -> None:
    """Issue 11, row 10: tasks known by hearsay count once their worker has named them."""
    tasks = tuple(TaskOnWorker(task_id=f"old-{n}", topic="emails") for n in range(4))
    story.view.listen(T)
    story.at(0, hearsay(running=4, running_tasks=tasks))
    story.at(0.5, task_event("task_started", "new", "worker-1"))
    assert (story.worker(0.5).running, story.state(0.5).settled) == (None, False)
    assert "worker-1" in (story.state(0.5).events.note or "")
    story.at(1, worker_event(running=["new"]))
    assert (story.worker(1).running, story.running(1)) == (1, {"new": "worker-1"})
    assert (story.state(1).settled, story.state(1).events.note) == (True, None)


def test_a_register_does_not_make_hearsay_true(story: Story) -> None:
    """Issue 11, row 10: `register` says nothing of what runs, so that stays missing."""
    task = TaskOnWorker(task_id="old", topic="emails")
    story.at(0, hearsay(running=1, running_tasks=(task,)))
    register = WorkerEvent(
        kind="register",
        sender_id="node",
        worker=worker_report(running=None, running_tasks=None),
    )
    story.at(1, register)
    assert (story.worker(1).running, story.running(1)) == (None, {})


def test_after_a_gap_what_workers_run_is_told_anew(story: Story) -> None:
    """Issue 11, row 10: what ended while we could not listen is unknown until a heartbeat."""
    story.at(0, worker_event(running=["a"]))
    story.view.listen(T + 5)
    assert (story.worker(5).running, story.state(5).settled) == (None, False)
    assert story.state(5).listening_since == moment(T + 5)
    assert story.state(9).settled, "nobody is waited for longer than a heartbeat"
    story.at(6, worker_event(running=["b"]))
    assert (story.worker(6).running, story.running(6)) == (1, {"b": "worker-1"})


def test_never_more_runs_than_a_worker_has_capacity_for(story: Story) -> None:
    """Issue 11, row 10: where ends were missed, the oldest tasks are those that ended."""
    story.at(0, worker_event(running=[], capacity=2))
    for n in range(4):
        story.at(1 + n, task_event("task_started", f"task-{n}", "worker-1"))
    assert (story.worker(5).running, set(story.running(5))) == (2, {"task-2", "task-3"})


def test_a_capacity_that_was_lowered_hides_nothing_that_still_runs(story: Story) -> None:
    story.at(0, worker_event(running=["a", "b", "c"], capacity=2))
    assert (story.worker(1).running, set(story.running(1))) == (3, {"a", "b", "c"})


def test_hearsay_never_overrules_what_a_worker_said_itself(story: Story) -> None:
    story.at(0, worker_event(capacity=4)).at(1, hearsay(capacity=99, last_heartbeat=T + 1))
    assert (story.worker(12).capacity, story.worker(12).state) == (4, "late")


def test_hearsay_does_not_wake_the_dead(story: Story) -> None:
    story.at(0, worker_event()).at(1, worker_event("unregister")).at(2, hearsay())
    assert story.worker(3).state == "stopped"


def test_the_freshest_hearsay_counts(story: Story) -> None:
    story.at(0, hearsay(last_heartbeat=T - 20), hearsay(last_heartbeat=T - 5))
    story.at(0, hearsay(last_heartbeat=T - 15))
    assert story.worker(0).silence == pytest.approx(5)


def test_a_view_is_settled_once_all_workers_spoke_themselves(story: Story) -> None:
    assert not story.view.is_settled
    story.at(0, hearsay("a"), hearsay("b"))
    assert not story.view.is_settled
    story.at(1, worker_event("heartbeat", "a"))
    assert not story.view.is_settled
    story.at(2, worker_event("unregister", "b"))
    assert story.view.is_settled


# --- ours and peers -----------------------------------------------------------------


def test_a_peer_is_not_ours_and_does_not_say_whether_it_drains(story: Story) -> None:
    worker = story.at(0, events.parse(peer_heartbeat())).worker(0)
    assert (worker.is_tasktools, worker.draining) == (False, None)


def test_a_worker_of_ours_is_ours_and_says_whether_it_drains(story: Story) -> None:
    for second, draining in enumerate((False, True, False)):
        story.at(second, worker_event(tasktools="0.1.0", draining=draining))
        worker = story.worker(second)
        assert (worker.is_tasktools, worker.draining) == (True, draining)


def test_hearsay_tells_of_ours_as_well(story: Story) -> None:
    worker = story.at(0, hearsay(tasktools="0.1.0", draining=True)).worker(0)
    assert (worker.is_tasktools, worker.draining, worker.uncertain) == (True, True, True)


def test_a_worker_that_registers_anew_is_what_it_says_now(story: Story) -> None:
    story.at(0, worker_event(tasktools="0.1.0", draining=True))
    story.at(1, worker_event("register", started_at=T + 1))
    assert (story.worker(1).is_tasktools, story.worker(1).draining) == (False, None)


# --- running tasks ------------------------------------------------------------------


def test_a_task_runs_from_its_start_to_its_end(story: Story) -> None:
    story.at(0, task_event("task_started", "a"))
    assert story.state(0).running == (
        RunningTask(task_id="a", worker_id="worker-1", topic="emails", started_at=moment(T)),
    )
    assert story.at(5, task_event("task_completed", "a")).running(5) == {}


def test_a_failure_without_a_start_does_no_harm(story: Story) -> None:
    assert story.at(0, task_event("task_failed", "a")).running(0) == {}


def test_a_start_without_a_worker_is_no_running_task(story: Story) -> None:
    assert story.at(0, task_event("task_started", "a", worker_id=None)).running(0) == {}  # type: ignore[arg-type]


def test_a_heartbeat_tells_of_tasks_whose_start_was_missed(story: Story) -> None:
    listed = TaskOnWorker(task_id="a", task_name="send_email", topic="emails")
    (task,) = story.at(0, worker_event(running=[listed])).state(0).running
    assert (task.task_name, task.topic, task.started_at) == ("send_email", "emails", None)


def test_a_heartbeat_adds_the_name_and_keeps_the_start(story: Story) -> None:
    listed = TaskOnWorker(task_id="a", task_name="send_email", topic="emails")
    story.at(0, task_event("task_started", "a")).at(3, worker_event(running=[listed]))
    (task,) = story.state(3).running
    assert (task.task_name, task.started_at) == ("send_email", moment(T))


def test_a_task_that_a_heartbeat_no_longer_lists_has_ended(story: Story) -> None:
    story.at(0, worker_event(running=["a", "b"])).at(3, worker_event(running=["b"]))
    assert story.running(3) == {"b": "worker-1"}


def test_a_heartbeat_written_before_a_start_does_not_end_the_task(story: Story) -> None:
    story.at(0, task_event("task_started", "a")).at(0.5, worker_event(running=[]))
    assert story.running(1) == {"a": "worker-1"}
    assert story.at(3.5, worker_event(running=[])).running(4) == {}


def test_a_heartbeat_written_before_an_end_does_not_revive_the_task(story: Story) -> None:
    story.at(0, task_event("task_started", "a")).at(5, task_event("task_completed", "a"))
    assert story.at(5.5, worker_event(running=["a"])).running(6) == {}


def test_a_task_that_runs_again_long_after_its_end_is_running(story: Story) -> None:
    story.at(0, task_event("task_completed", "a")).at(60, worker_event(running=["a"]))
    assert story.running(60) == {"a": "worker-1"}


def test_a_task_started_again_at_once_is_running(story: Story) -> None:
    story.at(0, task_event("task_failed", "a")).at(0.1, task_event("task_started", "a"))
    assert story.running(1) == {"a": "worker-1"}


def test_a_heartbeat_without_telemetry_ends_no_task(story: Story) -> None:
    story.at(0, worker_event(running=["a"])).at(3, worker_event(running_tasks=None))
    assert story.running(3) == {"a": "worker-1"}


def test_tasks_of_a_worker_killed_are_not_running_once_it_is_gone(story: Story) -> None:
    story.at(0, worker_event(running=["a"]))
    assert story.running(30) == {"a": "worker-1"}
    assert story.running(30.001) == {}
    assert story.worker(31).running == 0


def test_tasks_of_a_worker_that_stopped_are_not_running(story: Story) -> None:
    story.at(0, worker_event(running=["a"])).at(1, worker_event("unregister"))
    assert (story.running(1), story.worker(1).running) == ({}, 0)


def test_a_task_redelivered_to_another_worker_runs_there(story: Story) -> None:
    story.at(0, worker_event(running=["a"]), worker_event("heartbeat", "worker-2"))
    story.at(5, task_event("task_started", "a", "worker-2"))
    assert story.running(6) == {"a": "worker-2"}
    assert (story.worker(6).running, story.worker(6, "worker-2").running) == (0, 1)


def test_the_death_of_its_first_worker_does_not_end_a_task_that_moved(story: Story) -> None:
    story.at(0, worker_event(running=["a"]))
    for second in range(5, 41, 3):
        story.at(second, worker_event("heartbeat", "worker-2", running=["a"]))
    assert story.worker(41).state == "gone"
    assert story.running(41) == {"a": "worker-2"}


def test_a_task_that_two_workers_claim_to_run_does_not_jump_between_them(story: Story) -> None:
    story.at(0, worker_event(running=["a"]), worker_event("heartbeat", "worker-2"))
    story.at(5, task_event("task_started", "a", "worker-2"))
    for second in range(6, 20, 3):
        story.at(second, worker_event(running=["a"]))
        assert story.running(second) == {"a": "worker-2"}
        story.at(second + 1, worker_event("heartbeat", "worker-2", running=["a"]))


def test_a_worker_started_anew_runs_nothing_of_its_former_life(story: Story) -> None:
    story.at(0, worker_event(started_at=T - 100, running=["a"]))
    story.at(1, worker_event("register", started_at=T + 1, running_tasks=None))
    assert story.running(1) == {}
    assert story.worker(1).started_at == moment(T + 1)


def test_a_process_whose_name_another_takes_is_known_for_an_hour(story: Story) -> None:
    """A worker of Celery that is killed and started anew has the name that it had before."""
    for began in (0, 12, 24):
        story.at(began, worker_event(pid=100 + began)).at(began + 5, worker_event(pid=100 + began))
    lives = [(each.first_seen, each.last_seen) for each in story.state(30).replaced]
    assert lives == [(moment(T), moment(T + 5)), (moment(T + 12), moment(T + 17))]
    assert story.worker(30).first_seen == moment(T + 24)
    assert len(story.state(HOUR + 10).replaced) == 1
    assert story.state(HOUR + 30).replaced == ()


def test_a_register_without_telemetry_keeps_what_the_heartbeat_told(story: Story) -> None:
    story.at(0, worker_event(running=["a"], succeeded=7, failed=2))
    event = worker_event("register", running_tasks=None, succeeded=None, failed=None)
    worker = story.at(1, event).worker(1)
    assert (worker.running, worker.succeeded, worker.failed) == (1, 7, 2)


def test_a_task_of_a_worker_never_heard_is_forgotten_in_time(story: Story) -> None:
    story.at(0, task_event("task_started", "a", "nobody"))
    assert story.running(30) == {"a": "nobody"}
    assert story.running(31) == {}


def test_the_figure_of_running_tasks_is_that_of_the_tasks_shown(story: Story) -> None:
    story.at(0, worker_event(running=["a", "b"])).at(1, task_event("task_completed", "a"))
    assert story.worker(1).running == 1


def test_without_telemetry_the_figure_is_what_the_worker_says(story: Story) -> None:
    assert story.at(0, worker_event(running=3)).worker(0).running == 3


# --- what a diagnosis needs -----------------------------------------------------------


def orphans(story: Story, second: float) -> dict[str, float]:
    return {each.task.task_id: each.silent_since - T for each in story.state(second).orphans}


def test_tasks_of_a_worker_that_is_gone_are_orphans(story: Story) -> None:
    story.at(0, worker_event(running=["a"]))
    assert orphans(story, 30) == {}
    assert orphans(story, 31) == {"a": 0.0}
    assert orphans(story, HOUR + 32) == {}


def test_an_orphan_that_begins_elsewhere_or_ends_is_none(story: Story) -> None:
    story.at(0, worker_event(running=["a", "b", "c"]))
    assert set(orphans(story, 40)) == {"a", "b", "c"}
    story.at(41, worker_event("heartbeat", "worker-2", running=["a"]))
    story.at(42, task_event("task_completed", "b"))
    assert set(orphans(story, 42)) == {"c"}


def test_tasks_of_a_worker_that_said_goodbye_are_no_orphans(story: Story) -> None:
    story.at(0, worker_event(running=["a"])).at(1, worker_event("unregister"))
    assert orphans(story, 40) == {}
    assert story.worker(40).stopped_at == moment(T + 1)


def test_a_goodbye_that_another_says_for_a_dead_worker_is_none(story: Story) -> None:
    story.at(0, worker_event(running=["a"]))
    story.at(14, msgspec.structs.replace(worker_event("unregister"), sender_id="standby"))
    assert orphans(story, 14) == {"a": 0.0}
    worker = story.worker(14)
    assert (worker.state, worker.stopped_at) == ("stopped", None)


def test_a_worker_that_starts_anew_leaves_orphans(story: Story) -> None:
    story.at(0, worker_event(started_at=T - 100, running=["a"]))
    story.at(9, worker_event("register", started_at=T + 8, running_tasks=None))
    assert orphans(story, 9) == {"a": 0.0}


def test_only_so_many_orphans_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_view, "_MAX_ORPHANS", 2)
    story = Story()
    story.at(0, worker_event(running=["a", "b", "c"], capacity=3))
    assert len(orphans(story, 40)) == 2


def test_each_heartbeat_tells_how_long_tasks_took_since_the_last(story: Story) -> None:
    first, later = ({"send": Histogram(n, 0.1 * n, {0.5: n})} for n in (10, 14))
    story.at(0, worker_event(durations=first))
    story.at(3, worker_event(durations=later))
    (reading,) = story.state(3).recent_durations
    assert (reading.at, reading.span, reading.worker_id) == (T + 3, 3.0, "worker-1")
    assert reading.by_name["send"].count == 4
    assert story.state(124).recent_durations == ()


def test_when_a_worker_was_first_heard_is_kept(story: Story) -> None:
    story.at(0, hearsay())
    assert story.worker(0).first_seen is None
    for second in (2, 5):
        story.at(second, worker_event())
    assert story.worker(6).first_seen == moment(T + 2)


def test_what_a_diagnosis_needs_moves_with_the_clock(story: Story) -> None:
    story.at(0, worker_event(running=["a"], durations={"send": Histogram(1, 0.1, {})}))
    story.at(3, worker_event(running=["a"], durations={"send": Histogram(2, 0.2, {})}))
    assert set(orphans(story, 40)) == {"a"}
    story.view.shift(1000)
    state = story.state(1041)
    assert orphans(story, 1041) == {"a": 1003.0}
    assert state.recent_durations[0].at == T + 1003
    assert state.workers[0].first_seen == moment(T + 1000)


# --- locks, settings, counters ------------------------------------------------------


def test_a_lock_is_held_from_when_we_heard_of_it(story: Story) -> None:
    (lock,) = story.at(0, lock_event(acquired_at=T - 9 * HOUR)).state(1).locks
    assert (lock.lock, lock.worker_id, lock.acquired_at) == ("nightly", "worker-1", moment(T))


def test_a_released_lock_is_gone(story: Story) -> None:
    assert story.at(0, lock_event()).at(1, lock_event("lock_released")).state(1).locks == ()


@pytest.mark.parametrize(("second", "orphaned"), [(5, False), (20, False), (31, True)])
def test_a_lock_is_orphaned_when_its_holder_is_gone(
    story: Story,
    second: float,
    orphaned: bool,  # noqa: FBT001
) -> None:
    (lock,) = story.at(0, worker_event(), lock_event()).state(second).locks
    assert lock.orphaned is orphaned


def test_whether_a_lock_of_an_unknown_holder_is_orphaned_is_not_known(story: Story) -> None:
    assert story.at(0, lock_event()).state(0).locks[0].orphaned is None


def test_when_a_lock_was_last_heard_of_is_known(story: Story) -> None:
    assert story.view.last_lock_event("nightly") is None
    story.at(0, lock_event()).at(5, lock_event("lock_released"))
    assert story.view.last_lock_event("nightly") == T + 5
    assert story.view.last_lock_event("other") is None
    assert story.at(9, lock_event()).view.last_lock_event("nightly") == T + 9


def test_an_update_of_settings_overrules_a_reply(story: Story) -> None:
    stored, believed = TopicSettings(concurrency_limit=2), TopicSettings(concurrency_limit=9)
    story.at(0, SettingsUpdate(sender_id="n", topic="emails", settings=stored))
    story.at(1, SettingsReply(sender_id="m", settings={"emails": believed, "reports": believed}))
    assert story.state(1).settings == {"emails": stored, "reports": believed}


def test_counters_are_those_of_all_workers(story: Story) -> None:
    for n in (1, 2):
        finished, failed = {"emails": 10 * n}, {"emails": n}
        event = worker_event(
            worker_id=f"worker-{n}", finished_per_topic=finished, failed_per_topic=failed
        )
        story.at(0, event)
    assert story.state(0).counters["emails"] == TopicCounters(
        succeeded=27, failed=3, requeued=0, dead_lettered=0
    )


def test_requeues_and_dead_letters_are_counted_since_we_listen(story: Story) -> None:
    for counter, delta in (("error", 2), ("error", 1), ("skipped", 4), ("completed", 9)):
        wrong: Any = counter
        story.at(0, CounterDelta(sender_id="n", topic="emails", counter=wrong, delta=delta))
    counters = story.state(0).counters["emails"]
    assert (counters.requeued, counters.dead_lettered) == (3, 4)
    assert (counters.succeeded, counters.failed) == (None, None)


def test_topics_are_all_that_anybody_spoke_of(story: Story) -> None:
    story.at(0, worker_event(topics=("a", "*"), finished_per_topic={"b": 1}))
    story.at(0, task_event("task_started", topic="c"), task_event("task_failed", topic="d"))
    assert story.state(0).topics == {"a", "b", "c", "d"}


# --- nonsense and limits ------------------------------------------------------------


def test_what_is_no_event_is_counted(story: Story) -> None:
    story.at(0, Unknown(name="x"), Malformed(why="y"), Unknown(name="z"))
    assert (story.view.unknown, story.view.malformed) == (2, 1)


def test_a_question_changes_nothing(story: Story) -> None:
    before = story.state(0)
    assert story.at(0, Question(kind="who_is_alive", sender_id="x")).state(0) == before


@pytest.mark.parametrize("kind", ["worker_command", "tasktools_command"])
def test_an_order_changes_nothing_until_it_is_obeyed(story: Story, kind: Any) -> None:
    before = story.at(0, worker_event()).state(0)
    order = Command(kind=kind, sender_id="x", target="worker-1", action="drain")
    assert story.at(0, order).state(0) == before
    assert (story.view.unknown, story.view.malformed) == (0, 0)


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.999999", "0001-01-01T00:00:00", "x", 5, None]
)
def test_a_worker_at_the_end_of_time_is_shown(story: Story, time: Any) -> None:
    story.at(0, events.parse(peer_heartbeat(started_at=time, last_heartbeat=time)))
    assert story.worker(0).state == "alive"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MAX_WORKERS", "_MAX_TASKS", "_MAX_TOPICS", "_MAX_LOCKS"):
        monkeypatch.setattr(cluster_view, name, 3)


@pytest.mark.usefixtures("few")
def test_beyond_the_limit_the_most_silent_worker_is_forgotten(story: Story) -> None:
    for second, name in enumerate("abcd"):
        story.at(second, worker_event("heartbeat", name, running=[f"task-of-{name}"]))
    story.at(4, worker_event("heartbeat", "b")).at(5, worker_event("heartbeat", "e"))
    assert {worker.worker_id for worker in story.state(5).workers} == {"b", "d", "e"}
    assert story.view.forgotten >= 2


@pytest.mark.usefixtures("few")
def test_beyond_the_limit_the_oldest_task_is_forgotten(story: Story) -> None:
    for name in "abcde":
        story.at(0, task_event("task_started", name))
    assert set(story.running(0)) == {"c", "d", "e"}
    assert story.view.forgotten == 2


@pytest.mark.usefixtures("few")
def test_beyond_the_limit_the_oldest_lock_is_forgotten(story: Story) -> None:
    for name in "abcde":
        story.at(0, lock_event(lock=name))
    assert [lock.lock for lock in story.state(0).locks] == ["c", "d", "e"]
    assert [story.view.last_lock_event(name) for name in "bc"] == [None, T]


@pytest.mark.usefixtures("few")
def test_beyond_the_limit_no_topic_is_added(story: Story) -> None:
    for name in "abcde":
        story.at(0, SettingsUpdate(sender_id="n", topic=name, settings=TopicSettings()))
        story.at(0, CounterDelta(sender_id="n", topic=name, counter="error", delta=1))
    state = story.state(0)
    assert state.topics == state.settings.keys() == state.counters.keys() == {"a", "b", "c"}
