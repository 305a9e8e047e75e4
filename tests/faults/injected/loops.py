"""Messages that go round for ever."""

from __future__ import annotations

from tests.faults.registry import Story, fault
from tests.faults.world import Program, World


def rate(world: World, queue: str, counter: str) -> float:
    """Return by how much a counter of *queue* grows a second."""
    stats = world.queue(queue).get("message_stats", {})
    return float(stats.get(f"{counter}_details", {}).get("rate", 0))


@fault("bad_json", "redelivery_loop:emails")
def bad_json(world: World) -> Story:
    """A message that the peer cannot read: it takes it again and again."""
    yield
    world.publish("emails", body=b"hello")
    yield lambda: rate(world, "emails", "redeliver") > 10


@fault("nack_loop", "redelivery_loop:bills")
def nack_loop(world: World) -> Story:
    """A program that gives back what it takes, at once."""
    world.declare("bills")
    yield
    world.consume("bills", action="nack", pause=0.02)
    world.publish("bills", 3)
    yield lambda: rate(world, "bills", "redeliver") > 10


@fault("quorum_loop", "redelivery_loop:bills", "delivery_limit_near:bills")
def quorum_loop(world: World) -> Story:
    """The same with a pause, on a quorum queue without a limit."""
    world.declare("bills", x_queue_type="quorum", x_delivery_limit=1000)
    yield
    world.consume("bills", action="nack", pause=0.5)
    world.publish("bills", 3)
    yield lambda: rate(world, "bills", "redeliver") > 1


@fault("delivery_limit_near", "delivery_limit_near:bills", "redelivery_loop:bills")
def delivery_limit_near(world: World) -> Story:
    """Messages that come back until the queue's limit ends them."""
    world.declare("bills", x_queue_type="quorum", x_delivery_limit=60)
    yield
    world.consume("bills", action="nack", pause=0.5, prefetch=10)
    world.publish("bills", 3)
    yield lambda: rate(world, "bills", "redeliver") > 1


@fault("bad_payload", "republish_loop:emails")
def bad_payload(world: World) -> Story:
    """A payload with a key too many: the peer publishes it anew for ever."""
    yield
    world.publish("emails", payload={"one_more": 1})
    yield lambda: rate(world, "emails", "publish") > 10


@fault("poison_task", "poison_task", "restart_loop", within=60, peer=0, ours=1)
def poison_task(world: World) -> Story:
    """A task that ends the process of each worker that begins it, a second later."""

    def start() -> Program:
        return world.start_ours("emails,reports", 4, "--poison-limit", "0")

    world.supervise(start, world.ours[0])
    yield
    world.publish("emails", kill=True, delay=1.0)
    yield lambda: len(world.ours) > 4
