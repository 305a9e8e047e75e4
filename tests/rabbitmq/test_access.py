"""Ways to reach a broker that a wrong word was said of: limits, passwords, proxies, redirects."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

import tasktools as tt
from tasktools.testing import RabbitMQNode
from tests.conftest import Connect
from tests.timing import within
from tests.vhosts import Vhost

PASSWORD = "pässwörd-日本-€"


@pytest.fixture
def user_dsn(rabbitmq: RabbitMQNode, vhost: Vhost) -> Callable[..., str]:
    """Create a user who may everything in the vhost, and return the DSN."""

    def create(name: str, password: str = "pw", tags: str = "management") -> str:
        rabbitmq.add_user(name, password, tags=tags)
        rabbitmq.allow(name, vhost.name)
        port = urlsplit(vhost.dsn).port
        return f"amqp://{quote(name)}:{quote(password)}@127.0.0.1:{port}/{vhost.name}"

    return create


def test_a_password_beyond_ascii_works_for_the_management_api_too(
    connect: Connect, user_dsn: Callable[..., str]
) -> None:
    """Issue 11, misleading: such a password was a UnicodeEncodeError, or "no management tag"."""
    cluster = connect(user_dsn("jürgen", PASSWORD))
    cluster.publish("emails", "shop:send", create=True)
    topics = cluster.topics()
    assert topics.attrs["sources"]["management"]["ok"]
    assert topics["queued"].tolist() == [1]


@pytest.mark.parametrize("scope", ["user", "vhost"])
def test_a_limit_of_connections_is_told_as_that(
    rabbitmq: RabbitMQNode, vhost: Vhost, user_dsn: Callable[..., str], scope: str
) -> None:
    """Issue 11, misleading: a connection limit was told as "refused access to vhost"."""
    dsn = user_dsn(f"limited-{scope}")
    if scope == "user":
        path = f"/api/user-limits/limited-{scope}/max-connections"
    else:
        path = f"/api/vhost-limits/{vhost.name}/max-connections"
    rabbitmq.request("PUT", path, {"value": 0})
    with pytest.raises(tt.LimitReached, match=r"connection limit \(0\) is reached") as caught:
        tt.connect(dsn, management_url=False)
    assert "pw@" not in str(caught.value)


def test_too_few_channels_are_told_as_that(connect: Connect, vhost: Vhost) -> None:
    """Issue 11, misleading: where no channel was left, an empty NoFreeChannels got out."""
    cluster = connect(f"{vhost.dsn}?channel_max=1", management_url=False, topics=["emails"])
    with pytest.raises(tt.LimitReached, match=r"All channels that RabbitMQ at .* allows"):
        cluster.topics()


def test_a_users_limit_of_channels_is_told_in_the_brokers_words(
    rabbitmq: RabbitMQNode, connect: Connect, user_dsn: Callable[..., str]
) -> None:
    """Issue 11, misleading: RabbitMQ cuts the connection then, and the reason was lost."""
    dsn = user_dsn("channels")
    rabbitmq.request("PUT", "/api/user-limits/channels/max-channels", {"value": 0})
    with pytest.raises(tt.LimitReached, match="has reached the maximum allowed"):
        connect(dsn, management_url=False)


@pytest.mark.parametrize("name", ["q" * 256, "\ud800"])
def test_a_name_that_no_queue_can_have_is_an_error_of_ours(connect: Connect, name: str) -> None:
    """Issue 11, rule behind them: what pika raises for a name does not get out."""
    cluster = connect()
    for call in (cluster.peek, cluster.broker.purge, cluster.broker.topic_exists):
        with pytest.raises(tt.InvalidName, match="nothing was changed"):
            call(name)
    assert cluster.topics()["topic"].tolist() == []


# --- the management API ---------------------------------------------------------------------


class Web:
    """An HTTP server that gives one answer to all, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda _request: None
        self.requests: list[tuple[str, str | None]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append((self.path, self.headers["Authorization"]))
                web.answer(self)

            def log_message(self, *_told: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def say(self, status: int, body: bytes, **headers: str) -> None:
        """Answer so from now on."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)

        self.answer = answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def other_web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def test_a_proxy_of_the_environment_never_gets_the_credentials(
    connect: Connect, vhost: Vhost, web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Issue 11, misleading: HTTP_PROXY got the broker's credentials, and .netrc replaced them."""
    web.say(407, b"")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, web.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert connect().topics().attrs["sources"]["management"]["ok"]
    assert web.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_the_credentials_stay(
    connect: Connect, web: Web, other_web: Web, status: int
) -> None:
    """Issue 11, misleading: credentials do not go where a management URL sends elsewhere."""
    web.say(status, b"", Location=f"{other_web.url}/api")
    frame = connect(management_url=web.url, topics=["emails"]).topics()
    source = frame.attrs["sources"]["management"]
    assert not source["ok"]
    assert f"HTTP {status}" in source["note"]
    assert "sends elsewhere" in source["note"]
    assert other_web.requests == []


def dripping(request: BaseHTTPRequestHandler) -> None:
    """Begin an answer that never ends."""
    request.send_response(200)
    request.end_headers()
    for _ in range(200):
        request.wfile.write(b" ")
        time.sleep(0.05)


def silent(request: BaseHTTPRequestHandler) -> None:
    """Answer nothing for longer than anybody waits."""
    del request
    time.sleep(3)


def truncated(request: BaseHTTPRequestHandler) -> None:
    """Promise more than comes."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'[{"name": "ema')


ODD_BODIES = {
    "junk": b"\xff\x00junk",
    "empty": b"",
    "html": b"<html>It works!</html>",
    "truncated": b'[{"name": "emails", "mess',
    "a number": b"42",
    "null": b"null",
    "a text": b'"emails"',
    "an object": b'{"emails": 1}',
    "numbers": b"[1, 2]",
    "lists": b'[["name"]]',
    "no name": b"[{}]",
    "an odd name": b'[{"name": ["emails"]}]',
    "odd values": b'[{"name": "emails", "type": 7, "arguments": [], "messages_ready": "many",'
    b' "messages_unacknowledged": -1, "consumers": {}, "message_stats": 3,'
    b' "effective_policy_definition": "none"}]',
    "deep": b"[" * 100_000,
}
STATUSES = (400, 401, 403, 404, 405, 406, 408, 413, 418, 429, 500, 501, 502, 503, 504)


def check_that_looks_answer(connect: Connect, web: Web) -> Any:
    """Make every look that asks the management API; returns what the topics say of it."""
    cluster = connect(management_url=web.url, topics=["emails"], timeout=1.0)
    with within(15, "all looks"):
        assert len(cluster.dead_letters("emails")) == 0
        topics = cluster.topics()
        assert topics.set_index("topic").loc["emails", "queued"] == 1
        cluster.stats()
        assert len(cluster.active_tasks("emails")) == 1
        cluster.broker.known_topics()
    for frame in (topics, cluster.workers()):
        assert "guest:" not in str(frame.attrs)
    return topics.attrs["sources"]["management"]


@pytest.fixture
def one_task(cluster: tt.Cluster) -> None:
    cluster.publish("emails", "shop:send", create=True)
    cluster.close()  # where others listen, a first look waits for workers that may speak


@pytest.mark.usefixtures("one_task")
@pytest.mark.parametrize("status", STATUSES)
def test_each_http_status_is_told_and_no_look_fails_by_it(
    connect: Connect, web: Web, status: int
) -> None:
    """Issue 11, rule behind them: every status is a note, with what the server says of it."""
    web.say(status, b'{"error": "bad", "reason": "the moon is full"}')
    source = check_that_looks_answer(connect, web)
    assert not source["ok"]
    assert f"HTTP {status} (the moon is full)" in source["note"]


@pytest.mark.usefixtures("one_task")
@pytest.mark.parametrize("name", ODD_BODIES)
def test_an_answer_that_is_none_is_no_error_of_a_look(
    connect: Connect, web: Web, name: str
) -> None:
    """Issue 11, rule behind them: what no management API says is unknown, and never 0."""
    web.say(200, ODD_BODIES[name])
    source = check_that_looks_answer(connect, web)
    assert not source["ok"]
    assert "is no management API" in source["note"]


@pytest.mark.usefixtures("one_task")
@pytest.mark.parametrize("answer", [dripping, silent, truncated])
def test_an_answer_that_does_not_come_is_given_up(
    connect: Connect, web: Web, answer: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """Issue 11, rule behind them: a slow management API costs a look its timeout and no more."""
    web.answer = answer
    source = check_that_looks_answer(connect, web)
    assert not source["ok"]
    assert "no management API answers" in source["note"]


def test_the_credentials_of_the_dsn_are_those_that_are_sent(connect: Connect, web: Web) -> None:
    """Issue 11, misleading: also with a .netrc, the user of the DSN asks."""
    web.say(200, b"[]")
    connect(management_url=web.url).topics()
    expected = "Basic " + base64.b64encode(b"guest:guest").decode()
    assert {authorization for _, authorization in web.requests} == {expected}
