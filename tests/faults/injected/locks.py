"""Locks without holders, schedulers, clocks and layouts."""

from __future__ import annotations

from tasktools.testing import eventually
from tests.faults.registry import Story, fault
from tests.faults.world import World

_LOCKED = {"extra_context": {"lock_name": "nightly"}}


@fault("lock_orphaned", "lock_orphaned", "worker_gone", "worker_late", within=40, peer=0)
def lock_orphaned(world: World) -> Story:
    """A worker is killed that has a lock; another one has its topic."""
    holder = world.start_peer("emails")
    world.wait_consumed(emails=1)
    yield
    world.publish("emails", payload=_LOCKED, delay=10_000.0)
    eventually(lambda: world.token_is_out("nightly"), timeout=60)
    world.start_peer("emails")
    world.wait_consumed(emails=2)
    holder.kill()
    yield lambda: world.token_is_out("nightly")


@fault("token_lost", "lock_token_lost")
def token_lost(world: World) -> Story:
    """The token of a lock that nobody holds is gone."""
    world.publish("emails", payload=_LOCKED)
    eventually(lambda: world.ready("tw.lock.nightly") == 1, timeout=60)
    yield
    world.publisher.run(lambda channel: channel.queue_purge("tw.lock.nightly"))
    yield lambda: world.token_is_out("nightly")


@fault("lock_held_long", "lock_held_long:nightly", within=330, baseline=90, peer=0)
def lock_held_long(world: World) -> Story:
    """A lock that was held for moments is held for minutes, by a task that may take so long."""
    world.start_ours("bills", 16)
    world.wait_consumed(bills=1)
    world.publish("bills", 12, task="report", delay=70.0)
    is_usual = True

    def lock_for_a_moment() -> None:
        if is_usual:
            world.publish("bills", payload=_LOCKED, delay=0.3)

    world.repeat(5, lock_for_a_moment)
    yield
    is_usual = False
    world.publish("bills", task="report", payload=_LOCKED, delay=10_000.0)
    yield lambda: world.token_is_out("nightly")


@fault("beat_missing", "beat_missing")
def beat_missing(world: World) -> Story:
    """The scheduler is killed."""
    beat = world.made_worker("beat-1", "maintenance", role="worker+beat")
    yield
    beat.stop()


@fault("beat_double", "beat_double")
def beat_double(world: World) -> Story:
    """Two schedulers, each of which publishes every scheduled task."""
    world.made_worker("beat-1", "maintenance", role="worker+beat")
    yield
    world.made_worker("beat-2", "maintenance", role="worker+beat")


@fault("clock_off", "clock_off")
def clock_off(world: World) -> Story:
    """A worker whose clock is a minute fast."""
    yield
    world.made_worker("fast-worker", "maintenance", offset=60.0)


@fault("two_layouts", "two_layouts")
def two_layouts(world: World) -> Story:
    """Publishers that use the exchanges of both layouts."""
    yield
    arguments = {
        "x-dead-letter-exchange": "taskworker.dlx",
        "x-dead-letter-routing-key": "dlx.letters",
    }
    declare = world.publisher.declare
    declare("letters.dead", "taskworker.dlx", "dlx.letters", {})
    declare("letters", "taskworker.tasks", "letters", arguments)
    world.consume("letters")
    world.traffic("letters", 2, exchange="taskworker.tasks")
    yield lambda: world.counted("letters", "ack") > 5
