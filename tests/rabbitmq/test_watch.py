"""``tasktools failures --watch`` on a real broker, with a worker whose tasks fail meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tasktools as tt
from tasktools.core import events
from tasktools.testing import eventually
from tasktools.testing.factories import peer_heartbeat, task_event
from tests.conftest import Connect
from tests.support import Raw
from tests.vhosts import Vhost


@pytest.fixture
def watch(vhost: Vhost) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `tasktools failures --watch` in a process of its own, which is listening."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "tasktools.cli", "failures", *options],
            env={**os.environ, "BROKER_DSN": vhost.dsn, "BROKER_MANAGEMENT_URL": "off"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert child.stderr is not None
        assert "Listening for" in child.stderr.readline()
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def fail(raw: Raw, n: int) -> None:
    event: Any = task_event("task_failed", f"t{n}", error=f"no customer {n}", topic="emails")
    raw.channel.basic_publish("fp.workers", "", events.encode(event))


def heard_events(cluster: tt.Cluster) -> int:
    return len(cluster.failures())


def test_it_shows_groups_of_what_fails_while_it_listens(
    watch: Callable[..., subprocess.Popen[str]], connect: Connect, raw: Raw
) -> None:
    """Issue 11, new user: `failures` on a live cluster only refused."""
    beside = connect()
    heard_events(beside)
    table, document = watch("--watch", "1h"), watch("--watch", "12s", "--json")
    for n in range(12):
        fail(raw, n)
    assert eventually(lambda: heard_events(beside) == 12)
    stdout, _ = document.communicate(timeout=60)
    printed = json.loads(stdout)
    assert [row["error"] for row in printed["rows"]] == [
        f"no customer {n}" for n in range(11, -1, -1)
    ]
    assert [group["count"] for group in printed["groups"]] == [12]
    assert printed["notes"][0].startswith("events received from 20")
    assert document.returncode == 0
    # By now the other has heard them, too: Ctrl-C shows what was heard up to now.
    table.send_signal(signal.SIGINT)
    stdout, stderr = table.communicate(timeout=60)
    assert (table.returncode, "Traceback" in stderr) == (0, False)
    first, _, rest = stdout.partition("\n")
    assert first.startswith("events received from 20")
    assert "earlier failures are not known" in first
    assert "no customer <n>" in rest
    assert "12" in rest.splitlines()[1]


def test_nothing_that_fails_is_an_answer_too(
    watch: Callable[..., subprocess.Popen[str]],
) -> None:
    """Issue 11, new user: nothing failed meanwhile."""
    child = watch("--watch", "0.5")
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 0
    assert stdout.startswith("events received from 20")
    assert "There are no failures." in stderr


def test_status_says_how_to_know_why_tasks_failed(vhost: Vhost, connect: Connect, raw: Raw) -> None:
    """Issue 11, new user: `status` counted failures, and said nothing of how to know why."""
    cluster = connect()
    heard_events(cluster)
    is_over = threading.Event()

    def beat() -> None:
        with_failures = peer_heartbeat("worker-1")  # which says that 3 have failed
        while not is_over.wait(0.5):
            raw.channel.basic_publish("fp.workers", "", with_failures)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        status = subprocess.run(
            [sys.executable, "-m", "tasktools.cli", "status", "--dsn", vhost.dsn],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        is_over.set()
        beating.join()
    assert "3 tasks failed since the workers started; why: tasktools failures --watch" in (
        status.stderr
    )
