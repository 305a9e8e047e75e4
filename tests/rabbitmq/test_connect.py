"""Bad input: each kind has an error of its own, one sentence, host and port, never the password."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import tasktools as tt
from tasktools.brokers.rabbitmq.connection.connection import Connection
from tasktools.brokers.rabbitmq.connection.dsn import DSN
from tasktools.testing import RabbitMQNode
from tests.timing import within

SECRET = "s3cr3t-word"


def failure(dsn: str, **options: Any) -> tt.TaskToolsError:
    """Return the error of connecting to *dsn*, which must come within 5 s."""
    with within(5.5, "to fail"), pytest.raises(tt.TaskToolsError) as caught:
        tt.connect(dsn, **options).close()
    message = f"{caught.value} {caught.value!r}"
    assert SECRET not in message
    assert "nothing was" in message
    return caught.value


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def port_of(dsn: str) -> str:
    return dsn.rpartition("@")[2].partition("/")[0].rpartition(":")[2]


def test_nothing_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = failure(f"amqp://ops:{SECRET}@127.0.0.1:{port}/")
    assert isinstance(error, tt.Unreachable)
    assert f"127.0.0.1:{port}" in str(error)
    assert "refused" in str(error)


def test_something_listens_but_never_answers(deaf_port: int) -> None:
    error = failure(f"amqp://ops:{SECRET}@127.0.0.1:{deaf_port}/")
    assert isinstance(error, tt.Unreachable)
    assert f"127.0.0.1:{deaf_port}" in str(error)


def test_a_host_that_does_not_exist() -> None:
    error = failure(f"amqp://ops:{SECRET}@no-such-host.invalid/")
    assert isinstance(error, tt.Unreachable)
    assert "no-such-host.invalid:5672" in str(error)


def test_a_port_that_speaks_http(rabbitmq: RabbitMQNode) -> None:
    port = rabbitmq.management_url.rpartition(":")[2]
    error = failure(f"amqp://ops:{SECRET}@127.0.0.1:{port}/")
    assert isinstance(error, tt.Unreachable)


def test_a_wrong_password(rabbitmq: RabbitMQNode) -> None:
    error = failure(f"amqp://guest:{SECRET}@127.0.0.1:{port_of(rabbitmq.dsn)}/")
    assert isinstance(error, tt.AuthenticationFailed)
    assert "'guest'" in str(error)


def test_a_vhost_that_does_not_exist(rabbitmq: RabbitMQNode) -> None:
    error = failure(f"amqp://guest:guest@127.0.0.1:{port_of(rabbitmq.dsn)}/no-such-vhost")
    assert isinstance(error, tt.VhostNotFound)
    assert "no-such-vhost" in str(error)


def test_a_vhost_without_permission(rabbitmq: RabbitMQNode, vhost: Any) -> None:
    rabbitmq.add_user("outsider", SECRET)
    port = port_of(rabbitmq.dsn)
    error = failure(f"amqp://outsider:{SECRET}@127.0.0.1:{port}/{vhost.name}")
    assert isinstance(error, tt.PermissionDenied)
    assert "'outsider'" in str(error)


def test_tls_towards_a_port_without_it(rabbitmq: RabbitMQNode) -> None:
    error = failure(f"amqps://guest:{SECRET}@127.0.0.1:{port_of(rabbitmq.dsn)}/")
    assert isinstance(error, tt.TLSFailed)


@pytest.fixture(scope="module")
def tls_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RabbitMQNode, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    certificate.private_key_pem.write_to_path(files["key"])
    files["cert"].write_bytes(b"".join(c.bytes() for c in certificate.cert_chain_pems))
    for file in (folder, *files.values()):
        file.chmod(0o755)
    with RabbitMQNode(tls=(files["ca"], files["cert"], files["key"])) as node:
        yield node, files["ca"]


@pytest.mark.slow
def test_tls_works_with_the_authority_that_signed(tls_node: tuple[RabbitMQNode, Path]) -> None:
    node, authority = tls_node
    dsn = f"{node.tls_dsn}?cafile={authority}"
    with tt.connect(dsn, management_url=node.management_url) as cluster:
        cluster.publish("emails", "tls_tasks:send", create=True)
        assert cluster.topics()["queued"].tolist() == [1]


@pytest.mark.slow
def test_tls_fails_with_an_authority_that_is_not_trusted(
    tls_node: tuple[RabbitMQNode, Path],
) -> None:
    node, _ = tls_node
    error = failure(node.tls_dsn)
    assert isinstance(error, tt.TLSFailed)
    assert "certificate" in str(error)


def test_both_layouts_on_one_broker_are_told(connect: Any, raw: Any) -> None:
    for exchange in ("fp.tasks", "taskworker.tasks"):
        raw.channel.exchange_declare(exchange, "topic", durable=True)
    cluster = connect()
    assert cluster.broker.layout.name == "fp"
    assert "both layouts" in " ".join(cluster.topics().attrs["notes"])
    assert connect(layout="taskworker").broker.layout.name == "taskworker"


def test_the_layout_of_the_document_is_found(connect: Any, raw: Any) -> None:
    raw.channel.exchange_declare("taskworker.tasks", "topic", durable=True)
    assert connect().broker.layout.name == "taskworker"


def test_closing_while_a_connection_is_opened_takes_no_longer_than_that(
    vhost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it came while pika asked for the address of the host, it took all of the timeout."""
    address_of, asked = socket.getaddrinfo, threading.Event()

    def slowly(*args: Any, **options: Any) -> Any:
        asked.set()
        time.sleep(0.2)
        return address_of(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    connection = Connection(DSN.parse(vhost.dsn), purpose="test", timeout=60)
    opening = connection.start(connection.session())
    assert asked.wait(30)
    connection.close()  # it gives up after 5 s
    assert opening.cancelled()


def test_connecting_declares_nothing(connect: Any, raw: Any) -> None:
    connect(read_only=True).workers()
    connect()
    with pytest.raises(Exception, match="no exchange"):
        raw.channel.exchange_declare("fp.tasks", passive=True)
