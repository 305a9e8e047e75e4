"""Replays of messages of other dialects: what is reset, edited and skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest

import tasktools as tt
from tasktools.brokers.memory import MemoryBroker, MemoryServer
from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import ManualClock
from tasktools.core.layout import FP
from tasktools.core.models import Properties
from tasktools.core.plans import Plan
from tasktools.testing import celery_message, properties

ACTED = {
    "queue_name": "mail",
    "actor_name": "send",
    "args": [7],
    "kwargs": {},
    "options": {"retries": 3, "traceback": "Traceback"},
    "message_id": "m-1",
    "message_timestamp": 1_753_000_000_123,
}
PAST, FUTURE = "2001-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def server(clock: ManualClock) -> MemoryServer:
    return MemoryServer(clock)


@pytest.fixture
def cluster(server: MemoryServer, clock: ManualClock) -> Iterator[Cluster]:
    with Cluster(MemoryBroker(server, layout=FP, clock=clock), clock=clock) as cluster:
        cluster.create_topic("emails")
        cluster.create_topic("mail")
        yield cluster


def put_celery(server: MemoryServer, expires: str) -> None:
    body, sent = celery_message(task_id=f"c {expires}", retries=3)
    headers = {**sent.headers, "expires": expires}
    server.put("emails.dead", body, properties(headers=headers, message_id=expires))


def replayed(cluster: Cluster, plan: Plan) -> pd.DataFrame:
    """Run *plan*, and return what lies in the queue that nobody consumes."""
    outcome = cluster.run(plan, reason="r", progress=False)
    assert outcome["outcome"].tolist() == ["replayed"] * len(plan)
    return cluster.peek("mail.dead")


def test_a_message_of_dramatiq_is_replayed_with_its_retries_reset(
    cluster: Cluster, server: MemoryServer
) -> None:
    server.put("emails.dead", json.dumps(ACTED).encode(), Properties())
    plan = Plan.from_json(
        cluster.plan_replay(cluster.dead_letters("emails"), "mail.dead").to_json()
    )
    assert "resets 1 of Dramatiq: options.retries is 0 again, without traceback" in repr(plan)
    (row,) = replayed(cluster, plan).to_dict("records")
    assert (row["task_id"], row["dialect"], row["headers"]) == ("m-1", "dramatiq", {"retries": 0})


def test_what_has_expired_is_skipped_and_the_plan_says_how_to_send_it(
    cluster: Cluster, server: MemoryServer
) -> None:
    put_celery(server, PAST)
    put_celery(server, FUTURE)
    dead: pd.DataFrame = cluster.dead_letters("emails")
    plan = cluster.plan_replay(dead, "mail.dead")
    assert plan.skipped == {"it has expired, so its worker would drop it unrun": 1}
    assert (
        '1 have expired and are not sent; to send them, make the plan with edits={"expires_at"'
        in (repr(plan))
    )
    for edits, count in (
        ({"expires_at": tt.REMOVE}, 2),
        ({"expires_at": datetime(2999, 1, 1, tzinfo=UTC)}, 2),
        ({"expires_at": PAST}, 0),
        ({"attempts": 0}, 1),
    ):
        assert len(cluster.plan_replay(dead, "mail.dead", edits=edits)) == count
    mended = cluster.plan_replay(dead, "mail.dead", edits={"expires_at": tt.REMOVE, "attempts": 0})
    assert "edits attempts of 2: 3 → 0" in repr(mended)
    assert f"edits expires_at of 2: '{PAST}' (1), '{FUTURE}' (1) → (not there)" in repr(mended)
    rows: pd.DataFrame = replayed(cluster, Plan.from_json(mended.to_json()))
    assert rows["task_id"].tolist() == [f"c {PAST}", f"c {FUTURE}"]
    assert rows["attempts"].tolist() == [0, 0]
    assert all("expires" not in headers for headers in rows["headers"])


def test_what_expires_after_it_was_planned_is_skipped_by_the_run(
    cluster: Cluster, server: MemoryServer, clock: ManualClock
) -> None:
    put_celery(server, datetime.fromtimestamp(clock.time() + 60, UTC).isoformat())
    plan = cluster.plan_replay(cluster.dead_letters("emails"), "mail.dead")
    assert len(plan) == 1
    clock.advance(61)
    outcome: pd.DataFrame = cluster.run(plan, reason="r", progress=False)
    assert outcome["outcome"].tolist() == ["skipped"]
    assert outcome["why"].tolist() == ["it has expired, so its worker would drop it unrun"]
    assert len(cluster.peek("emails.dead")) == 1


def test_a_dialect_that_is_not_installed_here_is_named(
    cluster: Cluster, server: MemoryServer
) -> None:
    put_celery(server, FUTURE)
    dead: pd.DataFrame = cluster.dead_letters("emails").assign(dialect="sidekiq")
    outcome: pd.DataFrame = cluster.run(
        cluster.plan_replay(dead, "mail.dead"), reason="r", progress=False
    )
    assert outcome["why"].tolist() == ["its dialect 'sidekiq' is not installed here"]
