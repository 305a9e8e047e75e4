"""Tasks that hang or take long, and more work than workers."""

from __future__ import annotations

import threading
import time

from tasktools.testing import eventually
from tests.faults.registry import Story, fault
from tests.faults.world import World

FOREVER = 10_000.0


@fault("hung", "workers_hung")
def hung(world: World) -> Story:
    """Tasks that never end have all places of the worker."""
    yield
    world.publish("emails", 6, delay=FOREVER)
    yield lambda: world.queue("emails").get("messages_unacknowledged", 0) > 5


@fault("hung_ours", "workers_hung", peer=0, ours=1)
def hung_ours(world: World) -> Story:
    yield
    world.publish("emails", 6, delay=FOREVER)
    yield lambda: world.ready("emails") > 5


@fault("never_acknowledged", "nothing_acknowledged:bills", within=45)
def never_acknowledged(world: World) -> Story:
    """A program that takes messages and settles none; no event tells of it."""
    world.declare("bills")
    yield
    world.consume("bills", action="hold", prefetch=10)
    world.traffic("bills", 2)
    yield lambda: world.queue("bills").get("messages_unacknowledged", 0) == 10


@fault("task_stuck", "task_stuck", within=35)
def task_stuck(world: World) -> Story:
    """One task that never ends, among many that do."""
    yield
    world.publish("emails", delay=FOREVER)
    yield lambda: world.ready("emails") < 5


@fault("slower", "service_time_risen", baseline=40)
def slower(world: World) -> Story:
    """Tasks that take twenty times as long as before."""
    world.emails.rate = 1.5
    yield
    world.emails.task = {"delay": 2.0}
    yield lambda: True


@fault("slower_ours", "service_time_risen", peer=0, ours=1, baseline=40)
def slower_ours(world: World) -> Story:
    world.emails.rate = 1.5
    yield
    world.emails.task = {"delay": 2.0}
    yield lambda: True


@fault("hoarding", "prefetch_hoarding:emails")
def hoarding(world: World) -> Story:
    """A consumer without a prefetch takes what all could share."""
    yield
    world.consume("emails", prefetch=0, pause=0.7)
    world.publish("emails", 300, delay=0.1)
    yield lambda: world.queue("emails").get("messages_unacknowledged", 0) > 80


@fault("held_beside_idle", "prefetch_too_high:emails", peer=0, ours=1)
def held_beside_idle(world: World) -> Story:
    """Long tasks have all places of a worker, which holds messages of its other topic besides; the
    next worker that comes has places free, and does not get them."""
    world.reports.rate = 0
    yield
    world.publish("reports", 4, delay=120.0)
    eventually(lambda: world.queue("emails").get("messages_unacknowledged", 0) >= 4, timeout=60)
    world.start_ours()
    world.wait_consumed(emails=2, reports=2)
    yield lambda: world.queue("emails").get("messages_unacknowledged", 0) >= 4


@fault("surge", "publisher_surge", baseline=45)
def surge(world: World) -> Story:
    """Twenty times as many tasks as before."""
    yield
    world.emails.rate = 40
    yield lambda: world.ready("emails") > 50


@fault("too_few", "too_few_workers:emails", peer=0, ours=2, within=40, baseline=30)
def too_few(world: World) -> Story:
    """One of two workers is stopped in good order, and the other one is not enough."""
    world.emails.rate = 12
    world.emails.task = {"delay": 0.45}
    yield
    world.ours[0].stop()
    yield lambda: world.ready("emails") > 30


@fault("too_few_peers", "too_few_workers:emails", within=40, baseline=30)
def too_few_peers(world: World) -> Story:
    """Twice as many tasks as before, which is no surge, and one worker for them."""
    world.emails.rate = 8
    world.emails.task = {"delay": 0.4}
    yield
    world.emails.rate = 16
    yield lambda: world.ready("emails") > 30


@fault("own_replay", "own_replay:emails", within=45)
def own_replay(world: World) -> Story:
    """An operator replays dead letters faster than the workers can do them."""
    world.publish("emails", 900, key="dlx.emails", exchange="fp.dlx", delay=1.0)
    time.sleep(65)  # until their minute is over
    cluster = world.connect()
    world.heals(cluster.close)
    over = threading.Event()
    world.heals(over.set)
    plan = cluster.plan_replay(cluster.dead_letters("emails", limit=900), rate=15)
    yield
    world.once(lambda: cluster.run(plan, reason="a fault", progress=False, cancelled=over))
    yield lambda: world.ready("emails") > 50


@fault("head_of_line", "head_of_line:emails", within=330, peer=0, ours=1)
def head_of_line(world: World) -> Story:
    """Tasks of hours have half of the places; the rest is not quite enough for the others."""
    world.emails.task = {"delay": 5.0}
    world.emails.rate = 0.5
    yield
    world.publish("emails", 2, delay=FOREVER)
    yield lambda: world.ready("emails") > 5


@fault("utilisation_high", "utilisation_high:bills", within=630, peer=0)
def utilisation_high(world: World) -> Story:
    """Work for all places of a worker, without a pause: what comes is what it can do."""
    world.start_peer("bills")
    world.wait_consumed(bills=1)
    world.publish("bills", 24, delay=20.0)
    world.traffic("bills", 0.2, delay=20.0)
    yield
    yield lambda: world.queue("bills").get("messages_unacknowledged", 0) > 4


@fault("uneven", "uneven:bills", within=150)
def uneven(world: World) -> Story:
    """A peer has fetched all that waits; the next one that comes gets none of it."""
    world.start_peer("bills", 1)
    world.wait_consumed(bills=1)
    yield
    world.publish("bills", 32, delay=20.0)
    eventually(lambda: world.ready("bills") == 0, timeout=60)
    world.start_peer("bills", 1)
    world.wait_consumed(bills=2)
    yield lambda: world.queue("bills").get("messages_unacknowledged", 0) > 20


def _long_tasks(world: World, seconds: float) -> None:
    """Start a worker of ours of a quorum queue, with tasks that take so long, as usual there."""
    world.start_ours("bills", 32)
    world.wait_consumed(bills=1)
    world.publish("bills", 12, task="report", delay=seconds)


@fault("ack_timeout", "ack_timeout:bills", within=930, peer=0, ours=1)
def ack_timeout(world: World) -> Story:
    """A task of hours, among some of minutes: RabbitMQ will take it back after half an hour."""
    world.declare("bills", x_queue_type="quorum")
    _long_tasks(world, 190.0)
    world.traffic("bills", 0.05, task="report", delay=190.0)
    yield
    world.publish("bills", task="report", delay=FOREVER)
    yield lambda: world.queue("bills").get("messages_unacknowledged", 0) > 1


@fault("ack_timeout_near", "ack_timeout:bills", within=45, peer=0, ours=1, since=(4, 3))
def ack_timeout_near(world: World) -> Story:
    """The same on a queue with a timeout of its own, of a minute."""
    world.declare("bills", x_queue_type="quorum", x_consumer_timeout=60_000)
    _long_tasks(world, 15.0)
    yield
    world.publish("bills", task="report", delay=FOREVER)
    yield lambda: world.queue("bills").get("messages_unacknowledged", 0) == 1
