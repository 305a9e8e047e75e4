"""A run: the cluster is watched, the fault is injected, the facts are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import tasktools as tt
from tasktools.diagnosis.gather import gather
from tasktools.testing import RabbitMQNode
from tests.faults.records import Header, Injection, Look, Recording
from tests.faults.registry import Fault, Truth
from tests.faults.world import World

LOOK_SECONDS: Final = 5.0
_TRUE_WITHIN: Final = 60.0  # seconds after a watch, until which the fault has to be there


def run(
    fault: Fault,
    node: RabbitMQNode,
    version: str,
    file: Path,
    folder: Path,
    peer: Path,
    *,
    loud: bool = False,
) -> None:
    """Inject *fault* on *node* and keep the facts in *file*.

    With *loud*, something changes beside it that has nothing to do with it. *folder* takes what
    the workers log.
    """
    head = Header(fault=fault.name, version=version, loud=loud)
    with World(node, fault.name, folder, peer) as world, Recording(file, head) as recording:
        start(world, fault)
        change = _prepare_loud(world) if loud else None
        story = fault.inject(world)
        next(story)
        options = {} if fault.management else {"management_url": False}
        cluster = world.watched(**options)
        world.heals(cluster.close)
        watch = _Watch(cluster, recording)
        watch.go(fault.baseline)
        if change is not None:
            change()
        truth = next(story, None)
        at = time.time()
        asking = _Asking(truth)
        watch.go(fault.watch)
        recording.injection(Injection(at=at, is_true=asking.answer(fault.watch + _TRUE_WITHIN)))
        with world.watched(**options) as fresh:
            watch = _Watch(fresh, recording, cold=True)
            watch.go(LOOK_SECONDS)


def start(world: World, fault: Fault) -> None:
    """Start the workers of *fault*, and the usual traffic."""
    if fault.peer + fault.ours:
        world.declare("emails")
        world.declare("reports")
    for _ in range(fault.peer):
        world.start_peer()
    for _ in range(fault.ours):
        world.start_ours()
    if workers := fault.peer + fault.ours:
        world.wait_consumed(emails=workers, reports=workers)
        world.emails.rate, world.reports.rate = 2.0, 0.5


def _prepare_loud(world: World) -> Callable[[], object]:
    """Prepare a topic beside all others; returns what changes there, loudly."""
    world.declare("pictures")
    old = world.start_ours("pictures")
    world.wait_consumed(pictures=1)
    world.traffic("pictures", 1.0, delay=0.05)

    def change() -> None:
        with world.connect() as cluster:
            cluster.configure_topic("pictures", max_retries=3)
            cluster.mark("deploy of pictures 1.4")
        world.publish("pictures", 200, delay=0.05)
        world.start_ours("pictures")
        time.sleep(8)
        old.stop()

    return lambda: world.once(change)


class _Watch:
    """Looks of one client, one every 5 s."""

    def __init__(self, cluster: tt.Cluster, recording: Recording, *, cold: bool = False) -> None:
        self._cluster, self._recording, self._cold = cluster, recording, cold

    def go(self, seconds: float) -> None:
        """Look now and every 5 s, the last time after *seconds*."""
        began = time.monotonic()
        for n in range(int(seconds / LOOK_SECONDS) + 1):
            time.sleep(max(0.0, began + n * LOOK_SECONDS - time.monotonic()))
            started = time.monotonic()
            facts = gather(self._cluster)
            took = time.monotonic() - started
            self._recording.look(Look(facts=facts, seconds=took, cold=self._cold))


class _Asking:
    """Asks the broker, beside the watch, whether the fault is there."""

    def __init__(self, truth: Truth | None) -> None:
        self._truth = truth
        self._over = threading.Event()
        self._is_true = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while self._truth is not None and not self._over.is_set():
            if self._truth():
                self._is_true.set()
                return
            self._over.wait(1.0)

    def answer(self, seconds: float) -> bool | None:
        """Return whether it was true once, waiting for at most *seconds*."""
        if self._truth is None:
            return None
        self._is_true.wait(seconds)
        self._over.set()
        self._thread.join(30)
        return self._is_true.is_set()
