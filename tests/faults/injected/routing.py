"""Messages that are lost on their way."""

from __future__ import annotations

import time

from tests.faults.registry import Story, fault
from tests.faults.world import World


@fault("unroutable", "unroutable")
def unroutable(world: World) -> Story:
    """A publisher with a key that no queue takes."""
    yield
    world.traffic("emails", 3, key="email")
    yield lambda: any(
        channel.get("message_stats", {}).get("drop_unroutable", 0) > 5
        for channel in world.node.request("GET", "/api/channels")
        if channel["vhost"] == world.vhost
    )


@fault("rejected_for_good", "no_dead_lettering:bills")
def rejected_for_good(world: World) -> Story:
    """A queue without dead-lettering, from which messages are rejected."""
    world.declare_bare("bills")
    world.consume("bills", action="reject", pause=0.1)
    yield
    world.traffic("bills", 4)
    yield lambda: world.counted("bills", "deliver") > 10


@fault("unbound", "dead_letters_unbound:bills")
def unbound(world: World) -> Story:
    """Dead letters that no queue takes, as its binding is gone."""
    world.declare("bills")
    world.consume("bills", action="reject", pause=0.1)
    yield
    world.publisher.run(lambda channel: channel.queue_unbind("bills.dead", "fp.dlx", "dlx.bills"))
    world.traffic("bills", 4)
    yield lambda: world.counted("bills", "deliver") > 10


@fault("ttl_unseen", "vanishing:bills")
def ttl_unseen(world: World) -> Story:
    """Tasks that expire before they are delivered, and are lost."""
    world.declare_bare("bills")
    world.consume("bills", pause=1.0)
    yield
    world.policy("bills", message_ttl=1000)
    world.traffic("bills", 5)
    yield lambda: world.counted("bills", "publish") > 40


@fault("ttl_to_dead", "vanishing:bills")
def ttl_to_dead(world: World) -> Story:
    """Tasks that expire into the dead letters."""
    world.declare("bills")
    world.consume("bills", pause=1.0)
    yield
    world.policy("bills", message_ttl=1000)
    world.traffic("bills", 5)
    yield lambda: world.ready("bills.dead") > 10


@fault("dead_full", "dead_letters_expiring")
def dead_full(world: World) -> Story:
    """A dead-letter queue that is full, so that the oldest are dropped."""
    world.declare("bills")
    world.policy("bills.dead", max_length=20)
    world.publish("bills", 15, key="dlx.bills", exchange="fp.dlx")
    time.sleep(65)  # until they are no growth any more
    yield
    world.publish("bills", 7, key="dlx.bills", exchange="fp.dlx")
    yield lambda: world.ready("bills.dead") == 20


@fault("forgotten_topic", "forgotten_topic:bills", peer=0)
def forgotten_topic(world: World) -> Story:
    """Messages lie in a topic that nobody has consumed for a day, as a recording tells."""
    world.declare("bills")
    world.publish("bills", 5)
    time.sleep(65)  # until the minute in which they came is over
    world.record_a_day()
    world.start_peer("emails")
    world.wait_consumed(emails=1)
    world.emails.rate = 2.0
    yield
    yield lambda: world.ready("bills") == 5
