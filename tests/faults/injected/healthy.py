"""Healthy clusters, however they look: nothing is found there."""

from __future__ import annotations

import random
import time

from tests.faults.registry import Story, healthy
from tests.faults.world import World


@healthy("ok_steady", watch=60, ours=1)
def ok_steady(world: World) -> Story:
    """Peers and ours side by side; one task in twenty fails."""
    dice = random.Random(1)

    def change() -> None:
        error = "no such address" if dice.random() < 0.05 else None
        world.emails.task = {"delay": dice.uniform(0.05, 0.5), "error": error}

    world.repeat(0.4, change)
    yield


@healthy("ok_bursts", watch=60)
def ok_bursts(world: World) -> Story:
    """For ten seconds of every thirty, three times as much."""
    yield

    def burst() -> None:
        world.emails.rate = 6.6
        time.sleep(10)
        world.emails.rate = 2

    world.repeat(20, burst)


@healthy("ok_batch", watch=40)
def ok_batch(world: World) -> Story:
    """300 tasks at once."""
    yield
    world.publish("emails", 300, delay=0.02)


@healthy("ok_long", watch=60, ours=1)
def ok_long(world: World) -> Story:
    """Tasks that take 20 to 30 s, as usual there."""
    world.reports.rate = 0
    world.repeat(6, lambda: world.publish("reports", delay=random.uniform(20, 30)))
    time.sleep(60)  # so that what is usual can be known
    yield


@healthy("ok_idle", watch=60)
def ok_idle(world: World) -> Story:
    """A night without tasks."""
    yield
    world.emails.rate = world.reports.rate = 0


@healthy("ok_lock", watch=45)
def ok_lock(world: World) -> Story:
    """A lock that is held for 30 s, by a task of which nobody knows how long it takes."""
    world.reports.rate = 0
    yield
    world.publish("reports", payload={"extra_context": {"lock_name": "nightly"}}, delay=30.0)


@healthy("ok_lock_wanted", watch=60)
def ok_lock_wanted(world: World) -> Story:
    """Three tasks after each other that want the same lock, for 15 s each."""
    world.emails.rate = world.reports.rate = 0
    yield
    locked = {"extra_context": {"lock_name": "nightly"}}
    world.publish("emails", 3, payload=locked, delay=15.0)


@healthy("ok_deploy", watch=80, peer=2, ours=1)
def ok_deploy(world: World) -> Story:
    """Workers are replaced, one after the other."""
    yield

    def deploy() -> None:
        for old in world.peers[:2]:
            world.start_peer()
            time.sleep(12)
            old.stop()
        old = world.ours[0]
        world.start_ours()
        time.sleep(8)
        old.stop()

    world.once(deploy)


@healthy("ok_scale_down", watch=50, peer=2, ours=1)
def ok_scale_down(world: World) -> Story:
    """One of two peers is stopped, and one of ours; the rest is enough."""
    yield
    world.peers[0].stop()
    world.ours[0].stop()


@healthy("ok_looks", watch=45, peer=0, ours=1)
def ok_looks(world: World) -> Story:
    """An operator looks at dead letters and at a queue, again and again."""
    world.publish("emails", 60, key="dlx.emails", exchange="fp.dlx")
    time.sleep(65)  # until they are no growth any more
    cluster = world.connect()
    world.heals(cluster.close)
    yield
    world.repeat(5, lambda: cluster.dead_letters("emails"))


@healthy("ok_purge", watch=40)
def ok_purge(world: World) -> Story:
    """Somebody purges a queue, once."""
    yield
    world.publish("emails", 200, delay=0.3)
    time.sleep(2)
    world.publisher.run(lambda channel: channel.queue_purge("emails"))


@healthy("ok_stranger", watch=45)
def ok_stranger(world: World) -> Story:
    """A fast program of somebody else works on a topic of its own; no event tells of it."""
    world.declare("bills")
    world.consume("bills", prefetch=50)
    yield
    world.traffic("bills", 40)


@healthy("ok_no_ack", watch=45)
def ok_no_ack(world: World) -> Story:
    """The same, without acknowledgements."""
    world.declare("bills")
    world.consume("bills", no_ack=True)
    yield
    world.traffic("bills", 20)


@healthy("ok_fast_topic", watch=45, peer=0, ours=1)
def ok_fast_topic(world: World) -> Story:
    """Tasks that take no time, 30 a second."""
    yield
    world.emails.task = {}
    world.emails.rate = 30
