"""Workers that are gone, frozen, restarting, or not consuming."""

from __future__ import annotations

import time

from tests.faults.registry import Story, fault
from tests.faults.world import World


@fault("frozen", "worker_frozen")
def frozen(world: World) -> Story:
    """The only worker stands still."""
    yield
    world.peers[0].freeze()
    yield lambda: world.consumers("emails") == 1


@fault("frozen_beside", "worker_frozen", peer=2)
def frozen_beside(world: World) -> Story:
    """One of two workers stands still."""
    yield
    world.peers[0].freeze()
    yield lambda: world.consumers("emails") == 2


@fault("frozen_ours", "worker_frozen", peer=0, ours=1)
def frozen_ours(world: World) -> Story:
    yield
    world.ours[0].freeze()
    yield lambda: world.consumers("emails") > 0


@fault("killed", "workers_gone:emails")
def killed(world: World) -> Story:
    """The only worker is killed."""
    yield
    world.peers[0].kill()
    yield lambda: world.consumers("emails") == 0 and world.ready("emails")


@fault("killed_ours", "workers_gone:emails", peer=0, ours=1)
def killed_ours(world: World) -> Story:
    yield
    world.ours[0].kill()
    yield lambda: world.consumers("emails") == 0 and world.ready("emails")


@fault("killed_idle", "worker_gone", "worker_late", within=40)
def killed_idle(world: World) -> Story:
    """The only worker of a topic without tasks is killed."""
    idle = world.start_peer("bills")
    world.wait_consumed(bills=1)
    yield
    idle.kill()
    yield lambda: world.consumers("bills") == 0


@fault("restart_loop", "restart_loop", within=60)
def restart_loop(world: World) -> Story:
    """A worker that is killed soon after each start, and started again."""
    yield
    start = world.start_peer
    world.supervise(lambda: start("reports", dies_after=3), start("reports", dies_after=3))
    yield lambda: len(world.peers) > 4


@fault("restarts_often", "restarts_often", within=60)
def restarts_often(world: World) -> Story:
    """A worker that is stopped in good order again and again."""
    yield

    def restart() -> None:
        worker = world.start_ours("reports")
        world.wait_consumed(reports=2)
        time.sleep(4)
        worker.stop()
        worker.process.wait(30)

    world.repeat(1, restart)
    yield lambda: len(world.ours) > 4


@fault("old_release", "advertised_not_consumed")
def old_release(world: World) -> Story:
    """A worker of an old release, that says `*` and consumes nothing."""
    world.made_worker("old-worker", "*")
    world.declare("bills")
    yield
    world.traffic("bills", 2)
    yield lambda: world.ready("bills") > 5


@fault("no_consumer", "no_consumer:bills")
def no_consumer(world: World) -> Story:
    """A topic that is published to and nobody consumes."""
    world.declare("bills")
    yield
    world.traffic("bills", 2)
    yield lambda: world.ready("bills") > 5


@fault("unknown_topic", "unknown_topic:emials")
def unknown_topic(world: World) -> Story:
    """A topic that is written wrong."""
    yield
    world.declare("emials")
    world.publish("emials", 5)
    yield lambda: world.ready("emials") == 5
