"""Cases with too little evidence: nothing is found there, at most suspected."""

from __future__ import annotations

import time

from tests.faults.registry import Story, unclear
from tests.faults.world import World


@unclear("few_ends")
def few_ends(world: World) -> Story:
    """A task runs for half a minute, on a topic of which no other has ended."""
    world.reports.rate = 0
    yield
    world.publish("reports", delay=10_000.0)


@unclear("cold_task", baseline=0, watch=25)
def cold_task(world: World) -> Story:
    """A task has run for a while when the watching begins."""
    world.publish("reports", delay=10_000.0)
    time.sleep(30)
    yield


@unclear("few_failures")
def few_failures(world: World) -> Story:
    """Four tasks fail, and then no more."""
    yield
    world.publish("emails", 4, error="no route to host")


@unclear("small_growth")
def small_growth(world: World) -> Story:
    """Fifteen tasks more than the workers can do at once."""
    yield
    world.publish("emails", 15, delay=2.0)


@unclear("stale_backlog")
def stale_backlog(world: World) -> Story:
    """Messages lie in a topic that nobody consumes, and no new ones come."""
    world.declare("bills")
    world.publish("bills", 5)
    time.sleep(65)  # until the minute of the series is over
    yield


@unclear("loop_without_management", "redelivery_loop", "blind", management=False)
def loop_without_management(world: World) -> Story:
    """A message is redelivered for ever, and AMQP does not tell."""
    world.declare("bills")
    yield
    world.consume("bills", action="nack", pause=0.02)
    world.publish("bills", 1)


_COLLECTORS = """
[sys:{action}(whereis(Name)) || Name <- registered(),
 lists:suffix("_metrics_collector", atom_to_list(Name))].
"""


@unclear("statistics_stale", "statistics_stale", watch=70, own_node=True, has_loud=True)
def statistics_stale(world: World) -> Story:
    """The collectors of statistics stand still: the management API goes on answering
    with the last values, as if they were new."""
    yield
    world.node.ctl("eval", _COLLECTORS.format(action="suspend"))
    world.heals(lambda: world.node.ctl("eval", _COLLECTORS.format(action="resume")))


@unclear("old_dead_letters")
def old_dead_letters(world: World) -> Story:
    """Dead letters lie there, and no new ones come."""
    world.publish("emails", 50, key="dlx.emails", exchange="fp.dlx")
    time.sleep(65)
    yield


@unclear("short_silence", peer=2)
def short_silence(world: World) -> Story:
    """A worker stands still for six seconds."""
    yield

    def pause() -> None:
        world.peers[0].freeze()
        time.sleep(6)
        world.peers[0].thaw()

    world.once(pause)


@unclear("token_held")
def token_held(world: World) -> Story:
    """A lock's token is away when the watching begins: held, or lost."""
    world.reports.rate = 0
    world.publish("reports", payload={"extra_context": {"lock_name": "nightly"}}, delay=10_000.0)
    yield


@unclear("two_restarts", watch=50)
def two_restarts(world: World) -> Story:
    """A second worker is killed and started again, once."""
    second = world.start_ours()
    world.wait_consumed(emails=2)
    yield
    second.kill()
    world.start_ours()


@unclear("clock_a_little_off")
def clock_a_little_off(world: World) -> Story:
    """A worker's clock is a second fast, which may be the way of its messages."""
    yield
    world.made_worker("fast-worker", "maintenance", offset=1.0)


@unclear("hidden_hoarder", "blind", management=False)
def hidden_hoarder(world: World) -> Story:
    """A consumer holds messages that it works on, which AMQP does not tell."""
    world.declare("bills")
    yield
    world.consume("bills", prefetch=0, pause=0.5)
    world.publish("bills", 100)
