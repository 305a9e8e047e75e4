"""Faults of real Celery workers: `diagnose` names each, and its advice helps."""

from __future__ import annotations

from typing import Any

import pytest

import tasktools as tt
from tasktools.testing import eventually
from tests.peer.celery_peer import CeleryPeer
from tests.vhosts import Vhost


@pytest.fixture
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


def causes(cluster: tt.Cluster) -> Any:
    """Return what is found and not explained by something else, by check and subject."""
    findings: Any = tt.diagnose(cluster)
    rows = findings[(findings["verdict"] == "found") & findings["because"].isna()]
    return rows.set_index(["check", "subject"])


def test_faults_beside_each_other_are_named_with_advice_that_helps(
    celery: CeleryPeer, cluster: tt.Cluster
) -> None:
    """A message comes back for ever, a rate limit holds tasks back, nobody consumes a queue."""
    celery.start_worker("w1", queues="slow")
    celery.until_ready()
    cluster.rate_limit("shop.report", "6/m")
    looping = celery.submit("shop.give_back")
    billed, *_ = celery.submit_many(
        *[("shop.send_email", ["a@b"], {}, {"queue": "bills"})] * 3,
        *[("shop.report", [], {}, {"queue": "slow"})] * 30,
    )
    expected = {
        ("redelivery_loop", "mail"),
        ("poison_task", looping),
        ("no_consumer", "bills"),
        ("held_back", "slow"),
    }
    seen: list[Any] = []

    def named() -> bool:
        seen.append(causes(cluster))
        return set(seen[-1].index) == expected

    eventually(named, timeout=60)
    before = {key for rows in seen for key in rows.index} - expected
    assert before <= {("failing", "mail"), ("retry_storm", "mail")}  # symptoms, while it begins
    rows = seen[-1]
    calls = {
        ("poison_task", looping): f"cluster.revoke({looping!r})",
        ("no_consumer", "bills"): "cluster.join_topic('w0@shop', 'bills')",
    }
    for key, call in calls.items():
        assert rows.loc[key, "call"] == call
    assert "shop.report" in rows.loc[("held_back", "slow"), "finding"]

    cluster.join_topic("w0@shop", "bills")
    cluster.revoke(looping)
    eventually(lambda: celery.executed(billed))
    eventually(lambda: "TaskRevokedError" in set(cluster.failures("mail")["error_type"].dropna()))
