"""Limits of topics, that hold up the work."""

from __future__ import annotations

from tests.faults.registry import Story, fault
from tests.faults.world import World


@fault("limit_orphaned", "limit_orphaned:emails", peer=0, ours=1)
def limit_orphaned(world: World) -> Story:
    """A connection that does nothing has the only permit."""
    yield
    world.publisher.run(
        lambda channel: channel.queue_declare("tasktools.permit.emails.0", exclusive=True)
    )
    with world.connect() as cluster:
        cluster.configure_topic("emails", concurrency_limit=1)
    yield lambda: world.ready("emails") > 3


@fault("limit_saturated", "limit_saturated:emails", peer=0, ours=1)
def limit_saturated(world: World) -> Story:
    """A limit that is too low, beside workers that have places free."""
    world.emails.task = {"delay": 0.6}
    yield
    with world.connect() as cluster:
        cluster.configure_topic("emails", concurrency_limit=1)
    world.emails.rate = 3
    yield lambda: world.ready("emails") > 5


@fault("topic_paused", "topic_paused:emails", peer=0, ours=1)
def topic_paused(world: World) -> Story:
    """A limit of none at all."""
    yield
    with world.connect() as cluster:
        cluster.configure_topic("emails", concurrency_limit=0)
    yield lambda: world.ready("emails") > 5
