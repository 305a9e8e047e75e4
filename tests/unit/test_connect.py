"""From the environment or an argument to a cluster; what cannot be is said before any contact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

import pytest

import tasktools as tt
from tasktools.brokers.rabbitmq.connection.dsn import DSN

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
        f"amqp://ops:{SECRET}@rabbit/?no_such=1",
        f"amqp://ops:{SECRET}@rabbit/?heartbeat={SECRET}",
        f"amqps://ops:{SECRET}@rabbit/?ssl_options={{'cert_reqs': 0}}",
        f"amqps://ops:{SECRET}@rabbit/?ssl_options={{'ca_certs': '{SECRET}'}}",
        f"amqp://ops:{SECRET}@[rabbit/",
        f"amqp://ops:{SECRET}@rabbit:0/",
        f"amqp://ops:%ff{SECRET}@rabbit/",
        f"amqp://ops:\udcff{SECRET}@rabbit/",
        f"amqp://ops:{SECRET}@rabbit/{'v' * 256}",
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


@pytest.mark.parametrize(
    "dsn",
    [
        f"amqp://ops:{SECRET}@one:5672,two:5672/prod",
        f"amqp://ops:{SECRET}@one,two/prod",
        f"amqp://ops:{SECRET}@one;two/prod",
        f"amqp://ops:{SECRET}@one/prod;amqp://ops:{SECRET}@two/prod",
        f"amqp://ops:{SECRET}@one/prod, amqps://ops:{SECRET}@two/prod",
    ],
)
def test_a_dsn_with_several_hosts_is_refused_as_such(dsn: str) -> None:
    """Issue 11, misleading: several hosts are told as that, not as a wrong port."""
    with pytest.raises(tt.MalformedDSN, match="several hosts; name one") as caught:
        tt.connect(dsn)
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_the_options_of_pikas_urls_are_taken() -> None:
    """Issue 11, misleading: the DSN of a peer, with ?heartbeat=600, is no error."""
    options = (
        "heartbeat=600&blocked_connection_timeout=300&connection_attempts=3&retry_delay=5"
        "&socket_timeout=10&stack_timeout=15&channel_max=64&frame_max=8192&locale=en_US"
        "&tcp_options=%7B%27TCP_KEEPIDLE%27%3A+60%7D&client_properties=%7B%27a%27%3A+%27b%27%7D"
    )
    dsn = DSN.parse(f"amqp://ops:{SECRET}@rabbit/prod?{options}")
    assert (dsn.heartbeat, dsn.channel_max, dsn.frame_max) == (20, 64, 8192)
    assert DSN.parse("amqp://rabbit/?heartbeat=5").heartbeat == 5
    assert DSN.parse("amqp://rabbit/?heartbeat=0").heartbeat == 20


def test_pikas_ssl_options_name_the_same_files(tmp_path: Path) -> None:
    """Issue 11, misleading: a peer's TLS files are taken from its DSN."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    options = quote(str({"ca_certs": str(authority)}))
    assert DSN.parse(f"amqps://rabbit/?ssl_options={options}").tls_files == {"cafile": authority}


@pytest.mark.parametrize(
    "url",
    [
        "http://x@[bad",
        "http://[bad",
        f"http://ops:{SECRET}@rabbit:15672",
        "http://rabbit:port",
        "http://rabbit:0",
        "http://rabbit:99999",
        "http:///api",
        "ftp://rabbit",
        "rabbit:15672",
    ],
)
def test_a_management_url_that_is_none_is_told_before_any_contact(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Issue 11, misleading: a malformed BROKER_MANAGEMENT_URL is one sentence, no traceback."""
    monkeypatch.setenv("BROKER_MANAGEMENT_URL", url)
    with pytest.raises(tt.MalformedDSN, match=r"management URL .* nothing was contacted") as caught:
        tt.connect("amqp://ops@rabbit/")
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_short_dsn_has_the_usual_defaults() -> None:
    dsn = DSN.parse("amqp://rabbit")
    assert (dsn.port, dsn.vhost, dsn.user, dsn.tls) == (5672, "/", "guest", False)


# --- get_broker ----------------------------------------------------------------------


@pytest.fixture
def own_memory() -> Iterator[None]:
    """No brokers of other tests in this process's memory."""
    forget = import_module("tasktools.connect")._memory_of_this_process.cache_clear
    forget()
    yield
    forget()


@pytest.mark.usefixtures("own_memory")
def test_a_broker_without_environment_is_in_memory_with_a_warning_and_shared() -> None:
    with pytest.warns(UserWarning, match="in memory") as caught:
        first, other = tt.get_broker(), tt.get_broker()
    assert {warning.filename for warning in caught} == {__file__}
    with first, other:
        first.setup()
        first.publish("emails", {"task_name": "send"})
        delivery = other.claim("emails", "w")
        assert delivery is not None
        with pytest.raises(tt.UnknownDelivery):
            first.ack(delivery.id)
        other.ack(delivery.id)


@pytest.mark.usefixtures("own_memory")
@pytest.mark.parametrize(("name", "value"), [("TYPE", "memory"), ("DSN", "memory://")])
def test_memory_that_is_meant_is_shared_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"BROKER_{name}", value)
    with tt.get_broker() as broker:
        broker.publish("emails", {"task_name": "send"})
    with tt.get_broker() as other:
        assert other.claim("emails", "w")


def test_a_cluster_in_memory_is_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "memory")
    with tt.connect() as cluster, tt.connect() as other:
        cluster.create_topic("emails")
        assert not other.broker.topic_exists("emails")


def test_a_broker_of_type_rabbitmq_needs_a_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "rabbitmq")
    with pytest.raises(tt.NotConfigured, match="BROKER_DSN"):
        tt.get_broker()


def test_a_broker_of_an_unknown_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "kafka")
    with pytest.raises(tt.NotConfigured, match="kafka"):
        tt.get_broker()


def test_a_broker_by_a_malformed_dsn_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKER_DSN", f"ops:{SECRET}@rabbit:5672/prod")
    with pytest.raises(tt.MalformedDSN) as caught:
        tt.get_broker()
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_broker_connects_when_it_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "rabbitmq")
    monkeypatch.setenv("BROKER_DSN", f"amqp://ops:{SECRET}@127.0.0.1:1/prod")
    with tt.get_broker() as broker:
        assert SECRET not in f"{broker!r} {broker.address}"
        with pytest.raises(tt.Unreachable) as caught:
            broker.setup()
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_broker_of_the_demo_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_TYPE", "demo")
    with tt.get_broker() as broker:
        assert broker.demo


# --- importing -----------------------------------------------------------------------


def loaded_of(modules: tuple[str, ...], code: str) -> str:
    """Run *code* in a fresh interpreter; return which of *modules* it has loaded."""
    code += f"\nimport sys; print([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_importing_tasktools_loads_no_pandas() -> None:
    code = "import tasktools; tasktools.connect, tasktools.ConnectionLost"
    heavy = ("pandas", "numpy", "msgspec", "pika", "requests", "plotly", "ipywidgets", "asyncio")
    assert loaded_of(heavy, code) == "[]"


def test_what_is_installed_without_extras_looks_and_replays_and_names_what_the_rest_needs() -> None:
    absent = ("anywidget", "ipywidgets", "plotly", "traitlets")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import tasktools as tt
with tt.connect("demo://") as cluster:
    cluster.topics(), tt.diagnose(cluster)
    dead = cluster.dead_letters("orders")
    plan = cluster.plan_replay(dead[dead["problem"].isna()].head(3))
    print(set(cluster.run(plan, reason="tried", progress=False)["outcome"]))
for name in ("widgets", "report"):
    try:
        getattr(tt, name)
    except tt.MissingExtra as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    ran, widgets, report = done.stdout.splitlines()
    assert ran == "{'replayed'}"
    for message in (widgets, report):
        assert "which is not installed; nothing was done" in message
        assert message.endswith("pip install 'tasktools-ops[widgets]'.")


def test_a_cluster_in_memory_loads_neither_pika_nor_plotly_nor_widgets() -> None:
    code = "import tasktools\ntasktools.connect('memory://').close()"
    heavy = ("pika", "requests", "plotly", "ipywidgets", "asyncio")
    assert loaded_of(heavy, code) == "[]"


def test_every_public_name_is_there_when_it_is_asked_for() -> None:
    code = "import tasktools\nfor name in tasktools.__all__: getattr(tasktools, name)"
    assert loaded_of(("pika",), code) == "[]"


def send_from_here() -> None: ...


def test_a_task_registered_in_this_program_needs_no_more_than_its_name() -> None:
    tt.task(send_from_here)
    with tt.connect("memory://", layout="fp") as cluster:
        cluster.publish("emails", "send_from_here", create=True)
        (seen,) = cluster.broker.peek("emails", 1).messages
    assert seen.task.func_name == f"{__name__}:send_from_here"
