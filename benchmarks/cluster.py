"""The times that an operator waits: publishing a batch, listing topics, importing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pika
import requests

import tasktools as tt
from benchmarks.measure import (
    Result,
    at_least,
    at_most,
    in_turns,
    median_seconds,
    processor_seconds_of_children,
)
from tasktools.testing import RabbitMQNode, eventually

_BODY = 650
_COLUMNS = (
    "name,type,arguments,effective_policy_definition,messages_ready,messages_unacknowledged,"
    "consumers,message_stats.publish_details.rate,message_stats.ack_details.rate"
)


def publish_many(node: RabbitMQNode, *, tasks: int, one_by_one: int) -> Result:
    """`publish_many` of a frame against a loop of one-by-one confirmed publishes."""
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        cluster.publish("bench", "bench_tasks:send", create=True)
        frame = pd.DataFrame(
            {
                "topic": "bench",
                "task_name": "bench_tasks:send",
                "kwargs": [{"number": n, "text": "x" * 150} for n in range(tasks)],
            }
        )
        body = cluster.broker.composer.compose(
            "bench", {"task_name": "bench_tasks:send", "kwargs": frame["kwargs"][0]}
        ).body
        body = body.ljust(_BODY)

        def publish_pipelined() -> None:
            assert set(cluster.publish_many(frame)["outcome"]) == {"confirmed"}

        mine, theirs = in_turns(
            publish_pipelined, lambda: _one_by_one(node.dsn, body, one_by_one), rounds=3
        )
        cluster.broker.purge("bench")
    rate, loop_rate = tasks / mine, one_by_one / theirs
    return at_least(
        f"publish_many of {tasks:,} tasks of {len(body)} bytes, against one-by-one confirms",
        rate / loop_rate,
        5,
        f"{rate:,.0f} against {loop_rate:,.0f} a second",
    )


def _one_by_one(dsn: str, body: bytes, count: int) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(dsn))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=2, message_id="bench")
    for _ in range(count):
        channel.basic_publish("fp.tasks", "bench", body, properties, mandatory=True)
    connection.close()


def topics(node: RabbitMQNode, *, count: int, rounds: int) -> Iterator[Result]:
    """`topics()` against one plain management request, and against raw passive declares."""
    names = [f"bench.topic.{n:04}" for n in range(count)]
    with tt.connect(node.dsn, management_url=node.management_url) as cluster:
        for name in names:
            cluster.broker.ensure_topic(name)

        def plain_request() -> list[dict[str, Any]]:
            answer = requests.get(
                f"{node.management_url}/api/queues/%2F",
                params={"columns": _COLUMNS},
                auth=("guest", "guest"),
                timeout=60,
            )
            queues: list[dict[str, Any]] = answer.json()
            assert len(queues) >= 2 * count
            return queues

        eventually(lambda: all("messages_ready" in queue for queue in plain_request()))  # known
        own, other = in_turns(_shows(cluster, count), plain_request, rounds)
        yield at_most(
            f"topics() of {count:,} topics, against one plain management request",
            own / other,
            2,
            f"{own:.3f} s against {other:.3f} s",
        )
    with tt.connect(node.dsn, management_url=False, topics=names) as cluster:
        queues = [*names, *(f"{name}.dead" for name in names)]
        connection = pika.BlockingConnection(pika.URLParameters(node.dsn))
        channel = connection.channel()

        def raw() -> None:
            for queue in queues:
                channel.queue_declare(queue, passive=True)

        own, other = in_turns(_shows(cluster, count), raw, rounds)
        connection.close()
        yield at_most(
            f"topics() of {count:,} topics without it, against the raw passive declares",
            own / other,
            1.5,
            f"{own:.3f} s against {other:.3f} s",
        )


def _shows(cluster: tt.Cluster, count: int) -> Callable[[], None]:
    def show() -> None:
        frame = cluster.topics()
        assert len(frame) >= count
        assert frame["queued"].notna().all()

    return show


def import_time(*, rounds: int) -> Iterator[Result]:
    """`import tasktools`, and the way to an open cluster, each against `import pandas`; the
    processor time of commands.

    Each in a fresh interpreter, in processor time: a busy machine doubles the seconds of either.
    None of them loads pandas.
    """
    pandas = _running("import pandas")
    for what, code in (
        ("import tasktools", "import tasktools"),
        ("import tasktools.worker and its runner", "import tasktools.worker.runner"),
        ("import tasktools and open memory://", _OPEN_MEMORY),
    ):
        _running(code)()  # compiled and in the file cache from here on
        own, other = in_turns(_running(code), pandas, rounds, processor_seconds_of_children)
        yield at_most(
            f"{what}, against import pandas",
            own / other,
            1.1,
            f"{own:.2f} s against {other:.2f} s",
        )
    for command, bound in (("--help", 0.3), ("topics --dsn memory://", 0.5)):
        seconds = median_seconds(_command(command), rounds, processor_seconds_of_children)
        yield at_most(
            f"processor seconds of tasktools {command}",
            seconds,
            bound,
            "user and system, the interpreter's start included",
        )


_OPEN_MEMORY = "import tasktools; tasktools.connect('memory://').close()"


def _running(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)


def _command(line: str) -> Callable[[], object]:
    program = [sys.executable, "-m", "tasktools.cli", *line.split()]
    return lambda: subprocess.run(program, check=True, capture_output=True)
