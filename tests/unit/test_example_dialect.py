"""A dialect of somebody else's: found by its entry point, and held against the suite."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.core.dialects import registry
from tasktools.core.dialects.dialect import Dialect
from tasktools.core.dialects.message_body import MessageBody
from tasktools.core.dialects.plain import Plain
from tasktools.core.dialects.topic_map import TopicMap
from tasktools.core.dialects.vhost import Vhost
from tasktools.core.models import Properties, TaskMessage
from tasktools.core.tasks import codec
from tasktools.testing import DialectConformance
from tests.unit.example_dialect.shop_jobs import SHOP_JOBS

EXAMPLE = Path(__file__).with_name("example_dialect")
JOB = b'{"job": "send", "uid": "j-1", "with": {"to": "a@b"}, "tries": 3}'


class TestShopJobs(DialectConformance):
    dialect: ClassVar[Dialect] = SHOP_JOBS
    written = ((JOB, Properties(delivery_mode=2)),)
    arguments: ClassVar[Any] = (([], {}), ([], {"to": "a@b", "ü": [1.5, None]}))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dialect]:
    """The package of the example, installed as pip would do it."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = tmp_path / f"shop_jobs-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    points = project["entry-points"][registry.ENTRY_POINTS].items()
    lines = [f"[{registry.ENTRY_POINTS}]", *(f"{name} = {value}" for name, value in points)]
    (info / "entry_points.txt").write_text("\n".join(lines))
    shutil.copy(EXAMPLE / "shop_jobs.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registry.installed.cache_clear()
    yield registry.named("shop_jobs")
    registry.installed.cache_clear()


def test_a_dialect_is_found_by_its_entry_point(installed: Dialect) -> None:
    """A dead letter of it is named, edited and reset in any cluster."""
    assert installed.title == SHOP_JOBS.title
    server = MemoryServer()
    with tt.Cluster(MemoryBroker(server)) as cluster:
        for topic in ("emails", "other"):
            cluster.create_topic(topic)
        server.put("emails.dead", JOB)
        dead = cluster.dead_letters("emails")
        assert dead["dialect"].tolist() == ["shop_jobs"]
        plan = cluster.plan_replay(dead, "other.dead", edits={"kwargs.to": "c@d"})
        assert "resets 1 of the shop's jobs: tries is 0 again" in repr(plan)
        cluster.run(plan, reason="INC-42", progress=False)
        (message,) = cluster.peek("other.dead").to_dict("records")
    assert (message["kwargs"], message["attempts"]) == ({"to": "c@d"}, 0)


class Entry:
    """An entry point of another package, as `importlib.metadata` gives them."""

    name, value = "theirs", "theirs:DIALECT"

    def __init__(self, dialect: object) -> None:
        self._dialect = dialect

    def load(self) -> object:
        """Return what the entry point names."""
        if isinstance(self._dialect, Exception):
            raise self._dialect
        return self._dialect


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[object], None]]:
    """Return what lets another package bring an object as its dialect."""

    def install(dialect: object) -> None:
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [Entry(dialect)])
        registry.installed.cache_clear()

    yield install
    monkeypatch.undo()
    registry.installed.cache_clear()


class Failing(Plain):
    """A dialect of which each method fails that is asked of a message or a vhost."""

    name: ClassVar[str] = "failing"

    def topics(self, *_: Any) -> set[str]:
        raise KeyError("x")

    def recognises(self, message: MessageBody) -> bool:
        return message.plain == b"raise" and 1 / 0 > 0

    def decode(self, *_: Any) -> TaskMessage:
        raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("dialect", "why"),
    [
        (ImportError("no module"), "ImportError: no module"),
        (Failing, "it is no instance of Dialect"),
        (Plain(), "its name, 'plain', is that of another"),
    ],
)
def test_a_package_with_a_broken_dialect_is_named(
    install: Callable[[object], None], dialect: object, why: str
) -> None:
    """Issue 11: an exception that is not ours left `connect`, or Celery was another's."""
    install(dialect)
    with pytest.raises(tt.InvalidDialect, match=f"'theirs:DIALECT'.*{why}.*nothing was contacted"):
        registry.installed()


def test_a_dialect_that_fails_hides_no_message(install: Callable[[object], None]) -> None:
    install(failing := Failing())
    for body in (b"raise", b"{}"):
        task = codec.decode(body, Properties(), failing)
        assert task.problem == "its dialect failed at it (RuntimeError: boom)"
    assert codec.decode(JOB, Properties()).problem != task.problem
    with pytest.raises(tt.InvalidDialect, match="'failing' of another package failed to list"):
        TopicMap([failing], Vhost(queues={}))
