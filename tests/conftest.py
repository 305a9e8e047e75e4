"""The fixtures of every tier: a private node, a cluster on it, and no threads left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pika.exceptions import AMQPError
from xdist.scheduler import LoadScopeScheduling

import tasktools as tt
from tasktools.testing import RabbitMQNode
from tests.support import Proxy, Raw
from tests.vhosts import Vhost, fresh_vhost

Connect = Callable[..., tt.Cluster]

# A shell ignores SIGINT in `make test &`; the processes that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Give each process a module (or class) at a time, but all browser tests to one process.

    They share a JupyterLab. A notebook test is a whole run of nbval: each is dealt
    out alone. What is named first on the command line starts first.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        if folder == "browser":
            return folder
        return nodeid if folder == "notebooks" else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Use our scheduling for `--dist loadscope`."""
    return Scheduling(config, log) if config.getoption("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQNode]:
    """One node for the session. A missing server fails, it never skips.

    `TASKTOOLS_RABBITMQ_ROOT` names a root with another version (`make test-versions`).
    """
    root = os.environ.get("TASKTOOLS_RABBITMQ_ROOT")
    with RabbitMQNode(root=Path(root) if root else None) as node:
        yield node


@pytest.fixture
def vhost(rabbitmq: RabbitMQNode) -> Iterator[Vhost]:
    """A fresh vhost for the test."""
    with fresh_vhost(rabbitmq) as vhost:
        yield vhost


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves one of our threads running."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 5
    while left := [t for t in threading.enumerate() if _is_ours(t) and t not in before]:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left behind: {[thread.name for thread in left]}")
        time.sleep(0.01)


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("tasktools")


@pytest.fixture(autouse=True)
def no_broker_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the machine's own configuration."""
    for name in ("BROKER_DSN", "BROKER_TYPE", "BROKER_MANAGEMENT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def ledger_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of the test's own."""
    file = tmp_path / "ledger.db"
    monkeypatch.setenv("TASKTOOLS_LEDGER", str(file))
    return file


@pytest.fixture
def proxy(vhost: Vhost) -> Iterator[Proxy]:
    """A proxy before the broker."""
    proxy = Proxy(urlsplit(vhost.dsn).port or 5672)
    yield proxy
    proxy.close()


@pytest.fixture
def cut_cluster(connect: Connect, vhost: Vhost, proxy: Proxy) -> tt.Cluster:
    """A cluster whose line to the broker goes through the proxy."""
    return connect(proxy.through(vhost.dsn))


@pytest.fixture
def connect(vhost: Vhost) -> Iterator[Connect]:
    """Connect to the vhost; every cluster is closed at the end."""
    opened: list[tt.Cluster] = []

    def connect(dsn: str | None = None, **options: Any) -> tt.Cluster:
        options.setdefault("management_url", vhost.management_url)
        cluster = tt.connect(dsn or vhost.dsn, **options)
        opened.append(cluster)
        return cluster

    yield connect
    for cluster in opened:
        cluster.close()


@pytest.fixture
def cluster(connect: Connect) -> tt.Cluster:
    return connect()


@pytest.fixture
def raw(vhost: Vhost) -> Iterator[Raw]:
    """Plain pika on the same vhost."""
    raw = Raw(vhost.dsn)
    yield raw
    with contextlib.suppress(AMQPError):  # a test may have restarted the broker
        raw.connection.close()


@pytest.fixture
def version(cluster: tt.Cluster) -> tuple[int, int]:
    """Major and minor version of the server under test."""
    major, minor, *_ = (cluster.broker.server_version or "").split(".")
    return int(major), int(minor)
