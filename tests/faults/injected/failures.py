"""Tasks that fail."""

from __future__ import annotations

from tests.faults.registry import Story, fault
from tests.faults.world import World


@fault("dead_growing", "dead_growing:emails", peer=0, ours=1)
def dead_growing(world: World) -> Story:
    """Tasks that fail, on a worker of ours, which dead-letters them."""
    yield
    world.emails.task = {"error": "smtp.example.org did not answer"}
    yield lambda: world.ready("emails.dead") > 10


@fault("failing", "failing:emails")
def failing(world: World) -> Story:
    """Tasks that fail on a peer, which acknowledges them."""
    yield
    world.emails.task = {"error": "smtp.example.org did not answer"}
    yield lambda: world.ready("emails") < 5


@fault("rejected_by_a_stranger", "dead_growing:bills")
def rejected_by_a_stranger(world: World) -> Story:
    """A program that rejects what it takes; no event tells of it."""
    world.declare("bills")
    world.consume("bills", action="reject", pause=0.1)
    yield
    world.traffic("bills", 3)
    yield lambda: world.ready("bills.dead") > 10


@fault("retry_storm", "failing:bills", "retry_storm:bills", within=45, baseline=40)
def retry_storm(world: World) -> Story:
    """Tasks that fail and are tried again after a second, 100 times each."""
    world.declare("bills")
    world.start_ours("bills", 8)
    world.wait_consumed(bills=1)
    retried = {"max_retries": 100, "retry_delay": 1}
    yield
    world.publish("bills", 10, payload=retried, error="smtp.example.org did not answer")
    yield lambda: world.counted("bills", "ack") > 30
