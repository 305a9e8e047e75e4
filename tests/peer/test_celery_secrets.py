"""Secrets in what Celery tells as text: arguments, errors and tracebacks, live and recorded."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.cli import main
from tasktools.testing import eventually
from tests.peer.celery_peer import CeleryPeer
from tests.vhosts import Vhost

SECRET = "PLANTED8secret"
TEXTS = (
    f"[('user', 'ann'), ('password', '{SECRET}')]",
    f"<Config password: '{SECRET}'>",
    f'<user name="ann" password="{SECRET}">Ann</user>',
    f"postgres://app:{SECRET}@db failed",
    f"{{'env': [{{'name': 'DB_PASSWORD', 'value': '{SECRET}'}}]}}",
)


@pytest.fixture
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


def shown(frame: Any) -> str:
    """Return *frame* in all the forms in which it is shown and passed on."""
    return "\n".join((repr(frame), html.unescape(frame._repr_html_()), frame.to_csv()))


def test_no_look_and_no_command_shows_what_celery_tells_as_text(
    celery: CeleryPeer, cluster: tt.Cluster, tmp_path: Path
) -> None:
    """Issue 11, secrets: events carry a `repr` of arguments and of the error, which is no JSON."""
    cluster.workers()
    file = tmp_path / "ops.db"
    kwargs: dict[str, Any] = {
        "env": [{"name": "DB_PASSWORD", "value": SECRET}],
        "pairs": [["api_key", SECRET]],
    }
    with cluster.record(file, every=0.5):
        ids = [celery.submit("shop.fail", text) for text in TEXTS]
        ids += [celery.submit("shop.fail", text=text) for text in TEXTS]
        ids.append(celery.submit("shop.report", **kwargs))  # a TypeError
        eventually(lambda: set(ids) <= set(cluster.failures()["task_id"]))
    with tt.connect(f"sqlite:///{file}") as recorded:
        for looked in (cluster, recorded):
            assert set(ids) <= set(looked.failures()["task_id"])
            for frame in (looked.failures(), looked.tasks(), looked.task_events()):
                assert SECRET not in shown(frame)
    assert SECRET in file.read_bytes().decode("latin-1")  # as the docs say, in a file of mode 0600
    assert file.stat().st_mode & 0o777 == 0o600
    for options in ([], ["--json"], ["--csv"]):
        for command in ("failures", "tasks", "timeline"):
            result = CliRunner().invoke(main, [command, *options, "--dsn", f"sqlite:///{file}"])
            assert result.exit_code == 0, result.output
            assert SECRET not in result.output
