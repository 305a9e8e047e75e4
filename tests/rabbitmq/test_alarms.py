"""A memory or disk alarm: everything answers within its time and says what stands in the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.brokers.base import Broker
from tasktools.cli import main
from tasktools.testing import RabbitMQNode, eventually, worker_event
from tests.rabbitmq import replays
from tests.support import Raw
from tests.timing import within

TIMEOUT: Final = 5.0  # seconds: that of `connect`
COUNT: Final = 400
ALARM: Final = r"the broker blocks publishers: memory alarm on \S+ since \d\d:\d\d:\d\d UTC"


class Alarming:
    """A node whose memory alarm can be switched."""

    def __init__(self, node: RabbitMQNode) -> None:
        self.node = node
        self.dsn, self.management_url = node.dsn, node.management_url
        self._is_on = False

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Have a memory alarm."""
        self.switch(is_on=True)
        try:
            yield
        finally:
            self.switch(is_on=False)

    def switch(self, *, is_on: bool) -> None:
        """Begin or end a memory alarm, and wait until the broker knows."""
        if is_on != self._is_on:
            limit = ["absolute", "1MB"] if is_on else ["0.6"]
            self.node.ctl("set_vm_memory_high_watermark", *limit)
            eventually(lambda: is_on == ("memory" in self.node.alarms()))
        self._is_on = is_on

    def connect(self, **options: Any) -> tt.Cluster:
        """Connect as guest."""
        options.setdefault("management_url", self.management_url)
        return tt.connect(self.dsn, **options)


@pytest.fixture(scope="module")
def started() -> Iterator[Alarming]:
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        alarming = Alarming(node)
        with alarming.connect() as cluster:
            cluster.publish("work", "shop:send", create=True)
        raw = Raw(node.dsn)
        for body in replays.tasks(3):
            raw.put("work.dead", body)
        raw.connection.close()
        yield alarming


@pytest.fixture
def node(started: Alarming) -> Alarming:
    """A node without an alarm."""
    started.switch(is_on=False)
    return started


@pytest.fixture
def blocked(started: Alarming) -> Alarming:
    """The node with an alarm, a task of the topic `work` and three dead letters."""
    started.switch(is_on=True)
    return started


def timed(call: Callable[[], Any], limit: float = TIMEOUT + 1) -> Any:
    """Return what *call* returns, which must be within *limit* seconds."""
    with within(limit):
        return call()


def notes(frame: Any) -> str:
    return "; ".join(frame.attrs["notes"])


LOOKS: Final[dict[str, Callable[[tt.Cluster], Any]]] = {
    "workers": lambda cluster: cluster.workers(),
    "topics": lambda cluster: cluster.topics(),
    "stats": lambda cluster: cluster.stats(),
    "locks": lambda cluster: cluster.locks(),
    "active_tasks": lambda cluster: cluster.active_tasks(),
    "topic_settings": lambda cluster: cluster.topic_settings(),
    "dead_letters": lambda cluster: cluster.dead_letters("work"),
    "peek": lambda cluster: cluster.peek("work"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_during_an_alarm_answers_in_time_and_names_the_alarm(
    blocked: Alarming, name: str
) -> None:
    """Issue 11, row 4: looks never wait for an alarm, and their notes name it and its node."""
    with timed(blocked.connect) as cluster:
        for _ in range(2):
            frame = timed(lambda: LOOKS[name](cluster))
            assert re.search(ALARM, notes(frame))
        assert "too many" not in notes(frame)


def test_a_disk_alarm_is_told_as_a_memory_alarm_is(node: Alarming) -> None:
    """Issue 11, row 4: looks name it, and publishing gives up in time and says why."""
    node.node.ctl("set_disk_free_limit", "1000000GB")
    try:
        with node.connect() as cluster:
            words = r"the broker blocks publishers: disk space alarm on \S+ since"
            eventually(lambda: re.search(words, notes(cluster.stats())), timeout=30)
            assert len(timed(lambda: cluster.dead_letters("work"))) == 3
            with pytest.raises(tt.PublishingBlocked, match=r"Nothing was sent: .* low on disk"):
                timed(lambda: cluster.publish("work", "shop:send"))
            node.node.ctl("set_disk_free_limit", "50MB")
            eventually(lambda: not re.search(words, notes(cluster.stats())), timeout=30)
            cluster.publish("work", "shop:send")
            cluster.broker.purge("work")
            cluster.publish("work", "shop:send")
    finally:
        node.node.ctl("set_disk_free_limit", "50MB")


def test_without_events_nobody_is_said_to_have_been_asked(blocked: Alarming) -> None:
    """Issue 11, misleading: nobody can be asked during an alarm, nor can anybody answer."""
    with blocked.connect() as cluster:
        frame = cluster.workers()
        assert "no events: the broker blocks publishers" in notes(frame)
        assert "asked" not in notes(frame)


def test_looks_go_on_answering_after_a_publish_was_blocked(blocked: Alarming) -> None:
    """Issue 11, row 4: a blocked publish fails alone, with nothing sent."""
    with blocked.connect() as cluster:
        with pytest.raises(tt.PublishingBlocked, match="Nothing was sent: the broker blocks"):
            timed(lambda: cluster.publish("work", "shop:send"))
        topics = timed(cluster.topics).set_index("topic")
        assert topics.loc["work", ["queued", "dead_letter"]].tolist() == [1, 3]
        assert len(timed(lambda: cluster.dead_letters("work"))) == 3


def test_without_management_rights_the_broker_itself_tells_of_the_alarm(blocked: Alarming) -> None:
    """Issue 11, row 4: connection.blocked is enough to know of an alarm."""
    with blocked.connect(management_url=False, topics=["work"]) as cluster:
        frame = timed(lambda: cluster.dead_letters("work"))
        assert "the broker blocks publishers: low on memory since" in notes(frame)
        assert len(frame) == 3
        assert "no events" in notes(timed(cluster.workers))


CHANGES: Final[dict[str, Callable[[tt.Cluster], Any]]] = {
    "publish": lambda cluster: cluster.publish("work", "shop:send"),
    "configure_topic": lambda cluster: cluster.configure_topic("work", concurrency_limit=1),
    "acquire_lock": lambda cluster: cluster.broker.acquire_lock("backup"),
    "broadcast": lambda cluster: cluster.broker.broadcast(worker_event()),
}
"""The operations that need a message to be taken."""


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("has_management", [True, False])
def test_what_must_publish_is_refused_in_time_and_says_why(
    blocked: Alarming, name: str, *, has_management: bool
) -> None:
    """Issue 11, row 4: each thing of ours that publishes gives up in time and names the alarm."""
    options = {} if has_management else {"management_url": False}
    with blocked.connect(**options) as cluster:
        with pytest.raises(tt.PublishingBlocked, match="blocks publishers: low on memory since"):
            timed(lambda: CHANGES[name](cluster), 2 * TIMEOUT)
        timed(cluster.close)


@pytest.mark.parametrize("command", ["status", "workers", "topics", "tasks", "dead"])
def test_the_command_line_answers_during_an_alarm_and_names_it(
    blocked: Alarming, command: str
) -> None:
    """Issue 11, row 4: the notes of an alarm reach the command line."""
    names = ["work"] if command in ("tasks", "dead") else []
    options = ["--dsn", blocked.dsn, "--management-url", blocked.management_url]
    answer = timed(lambda: CliRunner().invoke(main, [command, *names, *options]), 2 * TIMEOUT)
    assert answer.exit_code == 0, answer.output
    assert re.search(ALARM, answer.stderr)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["table", "json"])
def test_a_plan_on_the_command_line_says_that_no_message_would_be_taken(
    blocked: Alarming, options: list[str]
) -> None:
    """Issue 11, row 4: before a run is begun, and not only once it stands still."""
    access = ["--dsn", blocked.dsn, "--management-url", blocked.management_url]
    replay = CliRunner().invoke(main, ["replay", "work", *access, *options])
    assert replay.exit_code == 0, replay.output
    assert re.search(rf"warning: {ALARM}", replay.stdout)
    discard = CliRunner().invoke(main, ["discard", "work", "--no-archive", *access, *options])
    assert discard.exit_code == 0, discard.output
    assert "warning" not in discard.stdout


def test_failures_that_could_not_be_heard_are_told_with_the_time_and_the_reason(
    blocked: Alarming,
) -> None:
    """Issue 11, misleading: the command line named a method of Python, and neither of them."""
    access = ["--dsn", blocked.dsn, "--management-url", blocked.management_url]
    answer = CliRunner().invoke(main, ["failures", "--watch", "2s", *access])
    assert answer.exit_code == 0, answer.output
    gap = r"1 gap: \S+ \S+ UTC to \S+ \S+ UTC \(events: no events.*the broker blocks publishers"
    assert re.search(gap, answer.stderr)
    assert "There are no" not in answer.stderr


def test_an_alarm_is_on_the_timeline_and_a_mark_made_in_it_too(
    node: Alarming, tmp_path: Path
) -> None:
    """Issue 13, item 4: an operator marks above all in an incident; nothing can be sent in one."""
    with node.connect() as cluster, cluster.record(tmp_path / "ops.db", every=0.2) as recorder:
        with node.alarm():
            eventually(lambda: not cluster.stats().attrs["sources"]["events"]["ok"])
            mark = timed(lambda: cluster.mark("freed memory"))
            assert mark.attrs["sent"] is False
            assert re.search(ALARM, notes(mark))
            ticks = recorder.ticks
            eventually(lambda: recorder.ticks > ticks + 2)
        eventually(lambda: cluster.stats().attrs["sources"]["events"]["ok"])
        ticks = recorder.ticks
        eventually(lambda: recorder.ticks > ticks + 2)
    with tt.connect(f"sqlite:///{tmp_path / 'ops.db'}") as recorded:
        frame = tt.timeline(recorded)
    assert frame.loc[frame["kind"] == "mark", "sentence"].tolist() == ["freed memory"]
    alarms = frame[frame["kind"] == "alarm"]
    assert len(alarms) >= 1
    words = "the broker blocks publishers: low on memory"
    assert [text for text in alarms["sentence"] if not text.startswith(words)] == []
    marked = frame.loc[frame["kind"] == "mark", "at"].iloc[0]
    assert alarms["at"].min() <= marked <= alarms["until"].max()
    assert set(alarms["severity"]) == {"critical"}


def test_publishing_many_during_an_alarm_sends_nothing_and_says_why(blocked: Alarming) -> None:
    """Issue 11, row 4: before a batch it is known whether messages are taken."""
    tasks = pd.DataFrame({"topic": ["work"] * 3, "task_name": ["shop:send"] * 3})
    with (
        blocked.connect() as cluster,
        pytest.raises(tt.PublishingBlocked, match="Nothing was sent"),
    ):
        timed(lambda: cluster.publish_many(tasks))


# --- runs, which live through an alarm ------------------------------------------------------


class Running:
    """A run of a plan in a thread, with what it said. It stands still at its first message until
    `go_on`, so that it has not ended when an alarm comes, however long that takes."""

    def __init__(self, cluster: tt.Cluster, plan: tt.Plan) -> None:
        self.notices: list[str] = []
        self.ended = 0
        self.go_on = threading.Event()
        self.cancelled = threading.Event()
        self._executor = ThreadPoolExecutor(1)
        self._outcome = self._executor.submit(
            cluster.run,
            plan,
            reason="INC-4",
            progress=self._advance,
            notice=self.notices.append,
            cancelled=self.cancelled,
        )

    def _advance(self, count: int) -> None:
        self.ended += count
        assert self.go_on.wait(100)

    def outcome(self, limit: float) -> Any:
        """Return the outcome, which must come within *limit* seconds."""
        try:
            return self._outcome.result(limit)
        finally:
            self.cancelled.set()
            self.go_on.set()
            self._executor.shutdown()


@pytest.fixture
def replaying(node: Alarming) -> Iterator[tuple[tt.Cluster, tt.Plan, Raw]]:
    """A cluster, and a slow plan to replay 400 dead letters on it."""
    raw = Raw(node.dsn)
    with node.connect() as cluster:
        cluster.create_topic("slow")
        for queue in ("slow", "slow.dead"):
            raw.channel.queue_purge(queue)
        for body in replays.tasks(COUNT):
            raw.put("slow.dead", body)
        try:
            yield cluster, cluster.plan_replay(cluster.dead_letters("slow"), rate=100), raw
        finally:
            raw.channel.queue_purge("slow.dead")  # others count the dead letters of the node
            raw.connection.close()


def test_a_run_says_that_an_alarm_holds_it_up_and_goes_on_after_it(
    node: Alarming, replaying: tuple[tt.Cluster, tt.Plan, Raw]
) -> None:
    """Issue 11, row 4: a run waits for the end of an alarm, says so, and loses nothing."""
    cluster, plan, raw = replaying
    running = Running(cluster, plan)
    eventually(lambda: running.ended > 0)
    with node.alarm():
        running.go_on.set()
        eventually(lambda: running.notices)
        assert re.match("waiting: the broker blocks publishers: low on memory", running.notices[0])
        ended = running.ended
    outcome = running.outcome(60)
    assert ended < COUNT
    assert running.notices[1:] == [""]
    assert outcome["outcome"].tolist() == ["replayed"] * COUNT
    assert not outcome["possible_duplicate"].any()
    assert sorted(raw.bodies("slow")) == sorted(replays.tasks(COUNT))
    assert raw.depth("slow.dead") == 0


def test_a_cancelled_run_ends_in_time_during_an_alarm_and_loses_nothing(
    node: Alarming, replaying: tuple[tt.Cluster, tt.Plan, Raw]
) -> None:
    """Issue 11, row 4: a cancel ends a run within 5 s, and what is in doubt is marked."""
    cluster, plan, raw = replaying
    running = Running(cluster, plan)
    eventually(lambda: running.ended > 0)
    with node.alarm():
        running.go_on.set()
        eventually(lambda: running.notices)
        running.cancelled.set()
        broken_off = timed(lambda: running.outcome(60), 5)
        assert set(broken_off["outcome"]) <= {"replayed", "in doubt", "not sent"}
        assert "not sent" in set(broken_off["outcome"])
        ended = int((broken_off["outcome"] == "replayed").sum())
        eventually(lambda: raw.depth("slow.dead") == COUNT - ended)
    outcome = cluster.run(plan, reason="INC-4", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"] * COUNT
    arrived = Counter(raw.bodies("slow"))
    sent = replays.tasks(COUNT)
    assert set(arrived) == set(sent)
    marked = [
        body for body, twice in zip(sent, outcome["possible_duplicate"], strict=True) if twice
    ]
    assert {body for body in arrived if arrived[body] > 1} <= set(marked)
    assert raw.depth("slow.dead") == 0


def beat(broker: Broker, worker: str) -> None:
    """Send the heartbeats of a worker until an alarm keeps them back."""
    with contextlib.suppress(tt.BrokerError):
        while True:
            broker.broadcast(worker_event("register", worker))
            time.sleep(0.5)


def is_heard(workers: pd.DataFrame) -> bool:
    """Whether worker events can reach who made this frame."""
    return bool(workers.attrs["sources"]["events"]["ok"])


def states_once_heard(cluster: tt.Cluster) -> list[str]:
    """Return the states of the workers at the first look at which their events are heard."""

    def states() -> list[str] | None:
        workers = cluster.workers()
        return workers["state"].tolist() if is_heard(workers) else None

    return eventually(states, timeout=90)


def test_workers_are_not_called_gone_because_an_alarm_silenced_them(node: Alarming) -> None:
    """Issue 11, row 4: while nobody can send a heartbeat, silence says nothing of a worker.

    Somebody looks all the time: a connection hears of an alarm when it publishes, and the switch
    takes longer on a busy machine than a worker may be silent.
    """
    with node.connect() as cluster, node.connect() as other, ThreadPoolExecutor(2) as pool:
        cluster.workers()
        beating = pool.submit(beat, other.broker, "quiet")
        eventually(lambda: cluster.workers()["worker_id"].tolist() == ["quiet"])
        silenced = pool.submit(eventually, lambda: not is_heard(cluster.workers()), 90)
        with node.alarm():
            silenced.result()
            beating.result()
            frame = cluster.workers()
            assert frame["state"].tolist() == ["alive"]
            assert "no events" in notes(frame)
            states = pool.submit(states_once_heard, cluster)
        assert states.result() == ["alive"]


def test_the_dashboard_names_an_alarm_and_forgets_it_afterwards(node: Alarming) -> None:
    """Issue 11, row 4: the notes of an alarm reach the board."""
    with node.connect() as cluster:
        board = tt.widgets.dashboard(cluster)
        try:
            with node.alarm():
                eventually(lambda: re.search(ALARM, board.state.problem))
            eventually(lambda: not board.state.problem)
        finally:
            board.close()


def test_a_dashboard_made_during_an_alarm_calls_nobody_missing(blocked: Alarming) -> None:
    """Issue 11, row 4: nobody was heard, which is not that nobody works and nothing runs."""
    with blocked.connect() as cluster:
        board = tt.widgets.dashboard(cluster)
        try:
            eventually(lambda: board.state.tiles)
            assert board.state.tile("dead_letters").value == 3
            assert board.state.tile("workers").value is None
            assert board.state.tile("oldest").value is None
        finally:
            board.close()


def test_a_board_that_is_still_reading_during_an_alarm_is_waited_for(blocked: Alarming) -> None:
    """Issue 11, walk: the alarm's words ended `idle` before another window was read."""
    with blocked.connect() as cluster:
        board = tt.widgets.dashboard(cluster)
        try:
            eventually(lambda: board.state.problem)
            assert not board.state.at_work
            board.state.paused = True  # so that the feed has no say in it
            board.state.reading = "reading the last 24h: 50%"
            assert board.state.at_work
        finally:
            board.close()


def test_unacked_during_an_alarm_is_what_consumers_hold(node: Alarming) -> None:
    """Issue 11, walk: an alarm hides no delivery that a worker holds."""
    with node.connect() as cluster:
        cluster.publish("held", "shop:send", create=True)
        delivery = eventually(lambda: cluster.broker.claim("held", "w"))
        with node.alarm():
            eventually(lambda: cluster.topics().set_index("topic").loc["held", "unacked"] == 1)
        cluster.broker.ack(delivery.id)


def test_a_run_on_the_command_line_says_that_an_alarm_holds_it_up(
    blocked: Alarming, tmp_path: Path
) -> None:
    """Issue 11, row 4: a run that stands still says so where there is no progress bar, too."""
    errors = tmp_path / "errors"
    options = ["--dsn", blocked.dsn, "--management-url", blocked.management_url]
    command = [sys.executable, "-m", "tasktools.cli", "replay", "work", "--yes", "--reason", "4"]
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=stderr
        ) as replaying,
    ):
        eventually(lambda: "waiting: the broker blocks" in errors.read_text(), timeout=60)
        replaying.send_signal(signal.SIGINT)
        assert replaying.wait(30) == 1
    assert "not sent" in errors.read_text()
