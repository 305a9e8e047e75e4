"""Faults of the node and of queues."""

from __future__ import annotations

from tests.faults.clients import Publisher
from tests.faults.registry import Story, fault
from tests.faults.world import World

_KILL = """
Name = rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>),
[begin
   case rabbit_amqqueue:lookup(Name) of
     {{ok, Queue}} -> exit(amqqueue:get_pid(Queue), kill);
     _ -> ok
   end,
   timer:sleep(150)
 end || _ <- lists:seq(1, 12)].
"""


@fault("memory_alarm", "node_alarm", solo=True)
def memory_alarm(world: World) -> Story:
    yield
    world.node.ctl("set_vm_memory_high_watermark", "0.00001")
    world.heals(lambda: world.node.ctl("set_vm_memory_high_watermark", "0.6"))
    yield lambda: world.node.request("GET", "/api/nodes")[0]["mem_alarm"]


@fault("disk_alarm", "node_alarm", solo=True)
def disk_alarm(world: World) -> Story:
    yield
    world.node.ctl("set_disk_free_limit", "100000GB")
    world.heals(lambda: world.node.ctl("set_disk_free_limit", "50MB"))
    yield lambda: world.node.request("GET", "/api/nodes")[0]["disk_free_alarm"]


@fault("queue_down", "queue_down:bills")
def queue_down(world: World) -> Story:
    """A queue whose process ends until its supervisor gives up."""
    world.declare("bills")
    yield
    world.publish("bills", 5)
    world.node.ctl("eval", _KILL.format(vhost=world.vhost, queue="bills"))
    alive = f"""
        {{ok, Queue}} = rabbit_amqqueue:lookup(
            rabbit_misc:r(<<"{world.vhost}">>, queue, <<"bills">>)),
        is_process_alive(amqqueue:get_pid(Queue)).
    """
    yield lambda: world.node.ctl("eval", alive).strip() == "false"


@fault("full_refuses", "queue_full:emails")
def full_refuses(world: World) -> Story:
    """More tasks than the queue may hold; publishers are refused."""
    world.policy("emails", max_length=60, overflow="reject-publish")
    yield
    world.emails.task = {"delay": 1.0}
    world.emails.rate = 25
    yield lambda: world.ready("emails") >= 57


@fault("full_drops", "queue_full:emails")
def full_drops(world: World) -> Story:
    """More tasks than the queue may hold; the oldest are lost."""
    world.policy("emails", max_length=60)
    yield
    world.emails.task = {"delay": 1.0}
    world.emails.rate = 25
    yield lambda: world.ready("emails") >= 57


@fault("full_idle", "queue_full:bills", "no_consumer:bills", peer=0)
def full_idle(world: World) -> Story:
    """Nobody consumes, until the queue is full."""
    world.declare("bills", x_max_length=20, x_overflow="reject-publish")
    yield
    world.traffic("bills", 5)
    yield lambda: world.ready("bills") == 20


@fault("descriptors", "near", open_files=1000)
def descriptors(world: World) -> Story:
    """Clients keep open more and more connections."""

    def open_more(count: int) -> None:
        for _ in range(count):
            world.heals(Publisher(world.dsn).close)

    open_more(600)
    yield
    open_more(180)
    yield lambda: world.node.request("GET", "/api/nodes")[0]["fd_used"] > 800


@fault("churn", "churn", within=720, own_node=True)
def churn(world: World) -> Story:
    """A client connects anew all the time, beside many that keep their connections."""
    for _ in range(100):
        world.heals(Publisher(world.dsn).close)
    yield

    for _ in range(8):
        world.repeat(0.4, lambda: Publisher(world.dsn).close())

    def is_there() -> bool:
        rates = world.node.request("GET", "/api/overview")["churn_rates"]
        return bool(rates["connection_closed"] > 50)

    yield is_there
