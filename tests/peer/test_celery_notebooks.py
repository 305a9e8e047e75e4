"""The notebooks on a real Celery cluster, unchanged, by nbval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasktools.testing import eventually
from tests.notebooks.test_notebooks import ALL, assert_every_cell_passed, run_nbval
from tests.peer.celery_peer import CeleryPeer
from tests.support import Raw
from tests.vhosts import Vhost


@pytest.fixture
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_notebook_runs_on_a_celery_cluster(
    celery: CeleryPeer, raw: Raw, tmp_path: Path
) -> None:
    """Tasks run, wait, are held for later, have failed and are dead."""
    refused: list[tuple[str, list[str], dict[str, Any], dict[str, Any]]] = [
        ("shop.refuse", [f"no stock of {n}"], {}, {}) for n in range(6)
    ]
    celery.submit_many(
        *refused,
        *(("shop.send_email", [f"{n}@b"], {"customer": {"id": n}}, {}) for n in range(20)),
        ("shop.refuse", [], {}, {"queue": "reports"}),
        ("shop.fail", ["no answer"], {}, {}),
        ("shop.charge", [7], {}, {}),
        ("shop.send_email", ["later@b"], {}, {"countdown": 3600}),
        ("shop.held", ["a@b"], {}, {}),
    )
    eventually(lambda: raw.depth("mail.dlq") == len(refused))
    run = run_nbval(
        ALL,
        tmp_path,
        BROKER_DSN=celery.vhost.dsn,
        BROKER_MANAGEMENT_URL=celery.vhost.management_url,
    )
    assert_every_cell_passed(run)
    assert raw.depth("mail.dlq") == len(refused)
