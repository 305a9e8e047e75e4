"""From the environment or an argument to a cluster; what cannot be is said before any contact."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.dsn import DSN

SECRET = "s3cr3t-word"


def test_nothing_configured_says_what_to_set() -> None:
    with pytest.raises(tt.NotConfigured, match="BROKER_DSN"):
        tt.connect()


def test_the_environment_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_DSN", "memory://")
    with tt.connect(default="demo://") as cluster:
        assert not cluster.broker.demo
    with tt.connect("demo://") as cluster:
        assert cluster.broker.demo
        assert "DEMO" in repr(cluster)
        assert cluster.workers().attrs["demo"] == "DEMO"


def test_the_type_alone_is_enough_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "memory")
    with tt.connect() as cluster:
        assert cluster.broker.address == "memory://"


def test_a_type_that_contradicts_the_dsn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "memory")
    monkeypatch.setenv("BROKER_DSN", f"amqp://ops:{SECRET}@rabbit/")
    with pytest.raises(tt.MalformedDSN, match="BROKER_TYPE") as caught:
        tt.connect()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "rabbit",
        f"http://ops:{SECRET}@rabbit/",
        f"amqp://ops:{SECRET}@/",
        f"amqp://ops:{SECRET}@rabbit:port/",
        f"amqp://ops:{SECRET}@rabbit:99999/",
        f"amqp://ops:{SECRET}@rabbit/a/b",
        f"amqp://ops:{SECRET}@rabbit/?heartbeat=1",
        f"amqp://ops:{SECRET}@rabbit/?cafile=x",
        f"amqps://ops:{SECRET}@rabbit/?cafile=/no/such/file",
        "demo://?no=such",
        f"ops:{SECRET}@rabbit:5672/prod",
        f"amqp:/ops:{SECRET}@rabbit/",
        f"amqp://ops:12/{SECRET}@rabbit/",
        f"amqp://ops:99?{SECRET}@rabbit/prod",
        f"amqp://ops:99#{SECRET}@rabbit/prod",
    ],
)
def test_a_malformed_dsn_is_told_without_its_password(dsn: str) -> None:
    with pytest.raises(tt.MalformedDSN, match=r"nothing was (contacted|opened)") as caught:
        tt.connect(dsn)
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_dsn_without_a_scheme_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "rabbitmq")
    monkeypatch.setenv("BROKER_DSN", f"ops:{SECRET}@rabbit:5672/prod")
    with pytest.raises(tt.MalformedDSN) as caught:
        tt.connect()
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_layout_that_does_not_exist_is_told() -> None:
    with pytest.raises(tt.MalformedDSN, match="no layout"):
        tt.connect("memory://", layout="odd")


def test_a_dsn_is_read_with_all_its_parts_and_shown_without_the_password() -> None:
    dsn = DSN.parse(f"amqps://o%40ps:{SECRET}%2F@[::1]:5999/my%2Fhost")
    assert (dsn.host, dsn.port, dsn.vhost, dsn.user) == ("::1", 5999, "my/host", "o@ps")
    assert dsn.password == f"{SECRET}/"
    assert SECRET not in f"{dsn} {dsn!r}"


def test_a_short_dsn_has_the_usual_defaults() -> None:
    dsn = DSN.parse("amqp://rabbit")
    assert (dsn.port, dsn.vhost, dsn.user, dsn.tls) == (5672, "/", "guest", False)


def test_importing_tasktools_loads_neither_pika_nor_plotly_nor_widgets() -> None:
    code = (
        "import tasktools, sys; "
        "print([m for m in ('pika', 'requests', 'plotly', 'ipywidgets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
