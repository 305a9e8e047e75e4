"""Diagnosis, recordings and counts on Celery, Dramatiq and plain queues where something fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tasktools as tt
from tasktools.core.errors import InvalidTap
from tasktools.testing import RabbitMQNode, eventually
from tests.peer.celery_peer import CeleryPeer
from tests.peer.dramatiq_peer import DramatiqPeer
from tests.peer.programs import kill
from tests.support import Raw
from tests.vhosts import Vhost, fresh_vhost

FAILURES = 12
LATER = 3
NO_EVENTS = {
    "dramatiq": "workers of Dramatiq send no heartbeats and no events",
    "plain": "programs that are not known send no heartbeats and no events",
}


@dataclass(frozen=True)
class Shop:
    """A vhost of each dialect in which messages died a moment ago, each recorded."""

    clusters: dict[str, tt.Cluster]
    recordings: dict[str, Path]
    celery: CeleryPeer
    dramatiq: DramatiqPeer
    plain: Raw

    def explanations(self, name: str) -> Any:
        """Return the findings on the vhost of that name that explain something."""
        findings: Any = tt.diagnose(self.clusters[name])
        return findings[findings["verdict"].isin(["found", "suspected"])]

    def first(self, name: str) -> tuple[str, str] | None:
        """Return check and subject of the best explanation."""
        best = self.explanations(name).head(1)
        return None if best.empty else (best["check"].iloc[0], best["subject"].iloc[0])


@pytest.fixture(scope="module")
def shop(
    rabbitmq: RabbitMQNode,
    celery: CeleryPeer,
    dramatiq: DramatiqPeer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    with ExitStack() as stack:
        plain_vhost = stack.enter_context(fresh_vhost(rabbitmq))
        raw = Raw(plain_vhost.dsn)
        stack.enter_context(closing(raw.connection))
        raw.declare("invoices.dlq")
        raw.declare("invoices", x_dead_letter_exchange="", x_dead_letter_routing_key="invoices.dlq")
        vhosts: dict[str, Vhost] = {
            "celery": celery.vhost,
            "dramatiq": dramatiq.vhost,
            "plain": plain_vhost,
        }
        clusters, recordings = {}, {}
        for name, vhost in vhosts.items():
            cluster = tt.connect(vhost.dsn, management_url=vhost.management_url)
            clusters[name] = stack.enter_context(cluster)
            recordings[name] = tmp_path_factory.mktemp("recorded") / f"{name}.db"
            stack.enter_context(cluster.record(recordings[name], every=1, bodies=True))
        eventually(lambda: clusters["celery"].workers()["topics"].tolist() == [["mail", "reports"]])
        celery.submit_many(
            *[("shop.send_email", ["a@b"], {}, {"countdown": 3600})] * LATER,
            *[("shop.send_email", ["a@b"], {}, {})] * 5,
            *[("shop.refuse", [], {}, {})] * FAILURES,
        )
        dramatiq.submit_many(*[("fail_once", [n], {}, {}) for n in range(FAILURES)])
        for n in range(FAILURES):
            body = json.dumps({"customer": {"id": n % 2}}).encode()
            raw.put("invoices", body, headers={"tenant": "acme"})
            method, _, _ = raw.channel.basic_get("invoices")
            raw.channel.basic_nack(method.delivery_tag, requeue=False)
        assert len(clusters["plain"].dead_letters("invoices")) == FAILURES
        yield Shop(clusters, recordings, celery, dramatiq, raw)


@pytest.mark.parametrize(
    ("name", "topic"), [("celery", "mail"), ("dramatiq", "orders"), ("plain", "invoices")]
)
def test_growing_dead_letters_are_the_only_explanation(shop: Shop, name: str, topic: str) -> None:
    why = (
        "Reject: ('not this one', False)"
        if name == "celery"
        else "as " + NO_EVENTS[name].replace("heartbeats and no ", "") + "."
    )

    def is_explained() -> bool:  # by failures that were received before the dead letters grew
        rows = shop.explanations(name)
        is_only = rows[["check", "subject"]].to_numpy().tolist() == [["dead_growing", topic]]
        return is_only and why in rows["finding"].iloc[0]

    eventually(is_explained, timeout=60)


@pytest.mark.parametrize("name", ["dramatiq", "plain"])
def test_what_no_worker_tells_is_missing_and_not_0(shop: Shop, name: str) -> None:
    cluster = shop.clusters[name]
    topics, workers, stats = cluster.topics(), cluster.workers(), cluster.stats()
    assert topics[["running", "subscribers", "succeeded", "failed"]].isna().all(axis=None)
    assert stats[["workers", "running", "capacity", "locks"]].isna().all(axis=None)
    counts = cluster.throughput(since="1min", every="1min")
    for frame in (topics, workers, stats, counts, cluster.failures(), cluster.tasks()):
        assert any(note.startswith(NO_EVENTS[name]) for note in frame.attrs["notes"])
    assert counts[["started", "succeeded", "failed", "rate"]].isna().all(axis=None)
    with pytest.raises(InvalidTap, match="no exchange has all of them; nothing was changed"):
        cluster.tap()
    with cluster.sampled() as reader:
        assert NO_EVENTS[name] in reader.notes[0]  # so the board says that nobody can be heard
    checks: Any = tt.diagnose(cluster).set_index("check")
    for check in ("worker_frozen", "restart_loop", "clock_off", "blind"):
        assert checks.loc[check, "verdict"] == "cannot tell"
        assert NO_EVENTS[name] in checks.loc[check, "finding"]


def test_celery_tells_names_and_durations_of_its_tasks(shop: Shop) -> None:
    cluster = shop.clusters["celery"]

    def names() -> set[str]:
        return set(cluster.tasks()["task_name"].dropna())

    eventually(lambda: names() >= {"shop.send_email", "shop.refuse"})
    tasks: Any = cluster.tasks().set_index("task_name")
    assert tasks.loc["shop.send_email", "duration"].notna().all()
    failures = cluster.failures("mail")
    assert set(failures["task_name"]) == {"shop.refuse"}
    assert (cluster.service_time("mail", since="5min")["count"] > 0).any()
    # RabbitMQ's statistics are of up to 5 s ago.
    eventually(lambda: cluster.topics().set_index("topic").loc["mail", "unacked"] == LATER)


def test_plain_messages_are_grouped_by_a_header_or_a_path(shop: Shop) -> None:
    dead = shop.clusters["plain"].dead_letters("invoices")
    by_path = tt.failure_groups(dead, by=["kwargs.customer.id", "headers.tenant"])
    groups = dict(zip(by_path["group"], by_path["count"], strict=True))
    assert groups == {"0 · acme": FAILURES / 2, "1 · acme": FAILURES / 2}


def test_a_worker_that_dies_is_the_cause(shop: Shop) -> None:
    """Last, as it ends the workers; the recordings agree about each vhost afterwards."""
    shop.celery.submit_many(*[("shop.held", ["a@b"], {}, {})] * 3)
    eventually(lambda: shop.clusters["celery"].workers()["running"].tolist() == [2])
    kill(shop.celery.workers[0])
    kill(shop.dramatiq.workers[0])
    for n in range(3):
        shop.celery.submit("shop.send_email", f"{n}@b")
        shop.dramatiq.submit("charge", n)
        shop.plain.put("invoices", b"{}")
    causes = {
        "celery": ("workers_gone", "mail"),
        "dramatiq": ("no_consumer", "orders"),
        "plain": ("no_consumer", "invoices"),
    }
    for name, cause in causes.items():
        eventually(lambda: shop.first(name) == cause, timeout=60)  # noqa: B023 - called at once
    gone_from_mail = "check == 'workers_gone' and subject == 'mail'"
    (gone,) = shop.explanations("celery").query(gone_from_mail).itertuples()
    assert "a task that it was running is lost, unless it has acks_late" in gone.remedy
    for name, (check, topic) in causes.items():
        with tt.connect(f"sqlite:///{shop.recordings[name]}") as recorded:
            topics: Any = recorded.topics().set_index("topic")
            assert topics.loc[topic, "dialect"] == name
            live = shop.clusters[name].topics().set_index("topic")
            assert topics.loc[topic, "dead_queue"] == live.loc[topic, "dead_queue"]
            assert topics.loc[topic, "dead_letter"] == FAILURES
            findings: Any = tt.diagnose(recorded)
            assert ((findings["check"] == check) & (findings["subject"] == topic)).any()
