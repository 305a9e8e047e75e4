"""Processes that hold something and can be killed; a ledger, and dead letters to replay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.models import QueueType
from tasktools.testing import RabbitMQNode
from tests.rabbitmq import replays
from tests.support import Raw
from tests.vhosts import Vhost

HOLDER = """
import sys, threading
from tasktools.brokers.rabbitmq import RabbitMQBroker
broker = RabbitMQBroker(sys.argv[1], management_url=False)
{act}
print("ready", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def process(vhost: Vhost) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a Python process that connects and acts; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(act: str) -> subprocess.Popen[str]:
        code = HOLDER.format(act=act)
        child = subprocess.Popen(
            [sys.executable, "-c", code, vhost.dsn], stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


@pytest.fixture(params=replays.KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Of both queues of `topic`."""
    return request.param


@pytest.fixture
def topic(
    kind: QueueType, cluster: tt.Cluster, raw: Raw, rabbitmq: RabbitMQNode, vhost: Vhost
) -> str:
    """A topic whose dead-letter queue is of the same kind, and may be looked at."""
    replays.make_topic(cluster, raw, kind, rabbitmq, vhost)
    return replays.TOPIC
