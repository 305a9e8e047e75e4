"""Looks at a queue that others publish to and consume."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.rabbitmq import replays
from tests.rabbitmq.replays import DEAD
from tests.support import Raw
from tests.timing import within
from tests.vhosts import Vhost

LONGEST_LOOK = 15.0  # seconds; 5 are promised, of a machine that has not much else to do
LONGEST_RUN = 30.0  # seconds; its consumer would need 200 and more

OTHERS = """
import sys, time, pika
queue, rate_out, rate_in = sys.argv[2], 50, 42
if sys.argv[3] == "publisher":
    rate_out, rate_in = 0, 300
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.basic_qos(prefetch_count=10)
if sys.argv[3] == "consumer":
    tags = []
    channel.basic_consume(queue, lambda _c, method, _p, _b: tags.append(method.delivery_tag))
print("ready", flush=True)
begun = time.monotonic()
acknowledged = published = 0
while True:
    connection.process_data_events(0.01)
    now = time.monotonic() - begun
    while published < now * rate_in:
        published += 1
        channel.basic_publish("", queue, b"new %d" % published)
    if sys.argv[3] == "consumer":
        while tags and acknowledged < now * rate_out:
            acknowledged += 1
            channel.basic_ack(tags.pop(0))
    else:
        while acknowledged < now * rate_out:
            acknowledged += 1
            channel.basic_get(queue, auto_ack=True)
"""

Others = Callable[[str, str], None]


@pytest.fixture
def others(vhost: Vhost) -> Iterator[Others]:
    """Start somebody who publishes 42 messages a second to a queue and takes 50, as a `consumer`
    or one by one (`getter`); or a `publisher` of 300."""
    started: list[subprocess.Popen[str]] = []

    def start(queue: str, how: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", OTHERS, vhost.dsn, queue, how], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def dead_tasks(topic: str, vhost: Vhost) -> int:
    """Put tasks into the dead-letter queue of the topic; returns how many."""
    replays.put_tasks(vhost, replays.tasks(1_500))
    return 1_500


@pytest.mark.parametrize("how", ["consumer", "getter", "publisher"])
def test_a_look_at_a_queue_in_use_ends_in_time(
    how: str, topic: str, dead_tasks: int, cluster: tt.Cluster, others: Others
) -> None:
    """Issue 11, row 17: the patience for what comes back began anew whenever the count changed."""
    others(DEAD, how)
    if how == "consumer":
        eventually(lambda: cluster.broker.queue_facts(DEAD).consumers == 1)
    with within(LONGEST_LOOK, "the look"):
        frame = cluster.dead_letters(topic)
    assert len(frame) > dead_tasks / 2
    with within(LONGEST_LOOK, "the look"):
        frame = cluster.dead_letters(topic, limit=5)
    assert len(frame) == 5


@pytest.mark.parametrize("how", ["consumer", "publisher"])
def test_a_run_on_a_queue_in_use_ends(
    how: str, topic: str, dead_tasks: int, cluster: tt.Cluster, raw: Raw, others: Others
) -> None:
    """Issue 11, row 17: it lasted as long as the consumer needed for the whole queue."""
    plan = cluster.plan_replay(cluster.dead_letters(topic).iloc[::2])
    others(DEAD, how)
    if how == "consumer":
        eventually(lambda: cluster.broker.queue_facts(DEAD).consumers == 1)
    with within(LONGEST_RUN, "the run"):
        outcome = cluster.run(plan, reason="others are at it")
    counts = outcome["outcome"].value_counts()
    assert set(counts.index) <= {"replayed", "gone"}
    assert raw.depth(topic) == counts["replayed"] > dead_tasks / 10


@pytest.mark.parametrize("kind", replays.KINDS)
def test_queued_tasks_are_seen_beside_their_workers(
    kind: str, cluster: tt.Cluster, raw: Raw, others: Others
) -> None:
    """Issue 11, row 17: the same for `active_tasks`, also with a limit."""
    raw.declare("emails", x_queue_type=kind)
    raw.fill("emails", 1_500)
    others("emails", "consumer")
    eventually(lambda: cluster.broker.queue_facts("emails").consumers == 1)
    for limit in (1_000, 5):
        with within(LONGEST_LOOK, "the look"):
            frame = cluster.active_tasks("emails", limit=limit)
        assert len(frame) == limit
