"""The first look at a busy cluster, against what its tasks wrote down themselves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import tasktools as tt
from tasktools.core.events import Event, TaskEvent
from tasktools.testing import eventually
from tests.timing import contention

CONNECTS: Final = 20
AT_ONCE: Final = 4
TASK: Final = 0.3  # seconds
LATE: Final = 1.0  # seconds by which an event of a busy peer may come late
MOST_LATE: Final = 15.0  # the same on a busy machine, where it is measured


class Bursts(NamedTuple):
    """Tasks that begin and end: the file in which they wrote it, and when events told of ends."""

    log: Path
    ends: list[float]

    def lateness(self) -> float:
        """Return by how many seconds at most the event of an end was late."""
        ended = [at for at, step in steps(self.log) if step < 0]
        late = (came - at for at, came in zip(ended, self.ends, strict=False))
        return max(late, default=0.0)


def steps(log: Path) -> list[tuple[float, int]]:
    """Return when the number of running tasks changed, and by how much."""
    lines = (line.split() for line in log.read_text().splitlines())
    return sorted((float(at), 1 if what == "began" else -1) for what, at in lines)


def most_running(changes: list[tuple[float, int]], since: float, until: float) -> int:
    """Return how many tasks ran at once at most."""
    now = most = 0
    for at, step in changes:
        if at > until:
            break
        if at >= since:
            most = max(most, now)
        now += step
    return max(most, now)


@pytest.fixture
def bursts(peer: Any, connect: Callable[..., tt.Cluster]) -> Iterator[Bursts]:
    """The peer's two workers, which run eight tasks at once and then one after the other."""
    feeder = connect()
    ends: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, TaskEvent) and event.kind != "task_started":
            ends.append(time.time())

    feeder.broker.listen(hear)
    eventually(lambda: len(feeder.workers()) == 2)
    eventually(lambda: feeder.topics()["consumers"].eq(2).sum() == 2)
    ended = threading.Event()

    def feed() -> None:
        while not ended.is_set():
            for _ in range(8):
                feeder.publish("emails", "peer_tasks:logged", kwargs={"delay": TASK})
            for _ in range(12):
                if ended.wait(2 * TASK):
                    return
                feeder.publish("emails", "peer_tasks:logged", kwargs={"delay": TASK})

    thread = threading.Thread(target=feed)
    thread.start()
    eventually(lambda: len(steps(peer.log)) > 40)
    yield Bursts(peer.log, ends)
    ended.set()
    thread.join()


def test_the_first_look_never_shows_more_than_runs(
    bursts: Bursts, connect: Callable[..., tt.Cluster]
) -> None:
    """Issue 11, row 10: 20 fresh connects to a busy cluster never show more than the truth + 1."""
    looks: list[tuple[Any, float, int, float]] = []

    def look(number: int) -> None:
        time.sleep(0.37 * (number % AT_ONCE))  # another moment between two heartbeats for each
        cluster = connect()
        first = cluster.workers() if number % 2 else cluster.stats()
        middle = time.time()
        topics = cluster.topics().set_index("topic")["running"]
        looks.append((first, middle, int(topics["emails"]), time.time()))
        cluster.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(look, range(CONNECTS)))
    changes = steps(bursts.log)
    # A heartbeat is late by as much again: what a worker runs is in it as it was a while before.
    late = max(LATE, 2 * bursts.lateness() + 1)
    assert late < MOST_LATE
    late *= contention()  # what was heard waits as long for a look that is held up
    for first, middle, by_topic, until in looks:
        assert first["running"].notna().all(), first.attrs["notes"]
        assert first["running"].le(first["capacity"]).all()
        assert first["utilisation"].le(1).all()
        # The answer is that of the end of the look, from what was heard by then: also a heartbeat
        # that was made before the look began, and came in it.
        truth = most_running(changes, middle - late, middle)
        assert first["running"].sum() <= truth + 1
        assert by_topic <= most_running(changes, middle - late, until) + 1


def test_until_its_heartbeat_came_it_is_missing_what_a_worker_runs(
    bursts: Bursts, connect: Callable[..., tt.Cluster]
) -> None:
    """Issue 11, row 10: what is not yet known is missing, not 0, and a note says so."""
    del bursts
    cluster = connect()
    state = cluster.broker.cluster_state()
    if len(state.workers) < 2:  # the node that is asked has not answered yet
        state = eventually(
            lambda: s if len((s := cluster.broker.cluster_state()).workers) == 2 else None
        )
    unheard = [worker for worker in state.workers if worker.uncertain]
    assert all(worker.running is None for worker in unheard)
    assert state.settled == (not unheard)
    if unheard:
        assert unheard[0].worker_id in (state.events.note or "")
    assert cluster.workers()["running"].notna().all()
