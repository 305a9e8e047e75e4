"""Replays and publishes on real Celery and Dramatiq: their own workers run what is sent."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import tasktools as tt
from tasktools.cli.main import main
from tasktools.core.amqp import properties as amqp_properties
from tasktools.testing import RabbitMQNode, celery_message, eventually
from tests.peer.celery_peer import CeleryPeer
from tests.rabbitmq.replays import Replayer, publish
from tests.support import Raw
from tests.vhosts import Vhost

KILLS = int(os.environ.get("TASKTOOLS_CHAOS_KILLS", "3"))
MESSAGES = 10_000 if KILLS > 5 else 300
AS_SENT: list[dict[str, Any]] = [
    {},
    {"compression": "gzip"},
    {"serializer": "base64"},
    {"serializer": "pickle"},
    {"protocol": 1},
    {"headers": {"tenant": "acme"}, "priority": 3},
]
PARKED = "parked"


@pytest.fixture
def vhost(celery: CeleryPeer) -> Vhost:
    return celery.vhost


@pytest.fixture
def parked(rabbitmq: RabbitMQNode, vhost: Vhost) -> str:
    """A queue without workers, from which what is rejected goes to `mail.dlq`."""
    definition = {"dead-letter-exchange": "", "dead-letter-routing-key": "mail.dlq"}
    policy = {"pattern": f"^{PARKED}$", "definition": definition, "apply-to": "queues"}
    rabbitmq.request("PUT", f"/api/policies/{vhost.name}/{PARKED}", policy)
    return PARKED


def bury(celery: CeleryPeer, raw: Raw, *tasks: Any) -> list[str]:
    """Let tasks of Celery's own client die before they ran, and return their ids."""
    before = raw.depth("mail.dlq")
    ids = celery.submit_many(
        *(
            (name, args, kwargs, {**options, "queue": PARKED})
            for name, args, kwargs, options in tasks
        )
    )
    for _ in ids:
        method = eventually(lambda: raw.channel.basic_get(PARKED)[0])
        raw.channel.basic_reject(method.delivery_tag, requeue=False)
    eventually(lambda: raw.depth("mail.dlq") == before + len(ids))
    return ids


def dead_of(cluster: tt.Cluster, ids: list[str]) -> pd.DataFrame:
    dead: pd.DataFrame = cluster.peek("mail.dlq")
    return dead[dead["task_id"].isin(ids)]


def run(cluster: tt.Cluster, plan: Any) -> Counter[str]:
    return Counter(cluster.run(plan, reason="INC-42", progress=False)["outcome"])


def executed(celery: CeleryPeer, task_id: str) -> dict[str, Any]:
    """Return the one execution of a task, without what differs from one to the next."""
    eventually(lambda: celery.executed(task_id))
    (execution,) = celery.executed(task_id)
    varying = ("id", "root_id", "at", "pid", "hostname", "delivery_info")
    return {name: value for name, value in execution.items() if name not in varying}


def test_dead_letters_of_celery_run_as_if_they_had_not_died(
    celery: CeleryPeer, parked: str, cluster: tt.Cluster, raw: Raw
) -> None:
    """By the same id, args, kwargs and headers, however they are written."""
    del parked
    tasks = [("shop.send_email", ["a@b"], {"note": "hé"}, options) for options in AS_SENT]
    ids = bury(celery, raw, *tasks)
    dead = dead_of(cluster, ids)
    assert dead["dialect"].tolist() == ["celery"] * len(ids)
    assert run(cluster, cluster.plan_replay(dead, to="mail")) == {"replayed": len(ids)}
    alive = celery.submit_many(*tasks)
    for task_id, twin in zip(ids, alive, strict=True):
        replayed, other = executed(celery, task_id), executed(celery, twin)
        headers = replayed.pop("headers") or {}
        assert headers.items() >= (other.pop("headers") or {}).items()
        assert not [name for name in headers if "death" in name]
        assert replayed == other


def test_edits_arrive_at_a_worker_of_celery(
    celery: CeleryPeer, parked: str, cluster: tt.Cluster, raw: Raw
) -> None:
    """Of a task that nobody knows, and of one that has expired."""
    del parked
    (unknown,) = bury(celery, raw, ("shop.no_such_task", [], {"to": "a@b"}, {}))
    expired = celery.submit("shop.send_email", to="a@b", _options={"queue": PARKED, "expires": 0.1})
    eventually(lambda: raw.depth("mail.dlq") == 2)  # RabbitMQ lets it die, too
    renamed = {"task_name": "shop.send_email", "kwargs.to": "c@d", "headers.tenant": "acme"}
    plan = cluster.plan_replay(dead_of(cluster, [unknown]), to="mail", edits=renamed)
    assert run(cluster, plan) == {"replayed": 1}
    execution = executed(celery, unknown)
    assert (execution["task"], execution["kwargs"]) == ("shop.send_email", {"to": "c@d"})
    assert execution["headers"]["tenant"] == "acme"

    dead = dead_of(cluster, [expired])
    skipped = cluster.plan_replay(dead, to="mail")
    assert (len(skipped), "--remove expires_at" in repr(skipped)) == (0, True)
    plan = cluster.plan_replay(dead, to="mail", edits={"expires_at": tt.REMOVE, "attempts": 1})
    assert run(cluster, plan) == {"replayed": 1}
    execution = executed(celery, expired)
    assert (execution["expires"], execution["retries"]) == (None, 1)


def test_what_is_published_is_run_by_a_worker_of_celery(
    celery: CeleryPeer, cluster: tt.Cluster, vhost: Vhost
) -> None:
    """With a delay, a time to live, headers and a priority; and from the command line."""
    task_id = cluster.publish(
        "mail", "shop.send_email", args=["a@b"], kwargs={"note": "hé"},
        headers={"tenant": "acme"}, priority=3, ttl=600.0, delay=0.5,
    )  # fmt: skip
    execution = executed(celery, task_id)
    assert (execution["args"], execution["kwargs"]) == (["a@b"], {"note": "hé"})
    assert execution["headers"]["tenant"] == "acme"
    assert (execution["eta"] < execution["expires"], execution["retries"]) == (True, 0)

    options = ["--dsn", vhost.dsn, "--management-url", vhost.management_url]
    command = ["publish", "mail", "shop.send_email", "--kwargs", '{"to": "a@b"}', *options]
    task_id = CliRunner().invoke(main, command, catch_exceptions=False).stdout.strip()
    assert executed(celery, task_id)["kwargs"] == {"to": "a@b"}

    assert "shop.send_email" in cluster.task_names()
    warned: list[str] = []
    tasks = pd.DataFrame({"topic": ["mail", "reports"], "task_name": ["shop.sned", "shop.report"]})
    published = cluster.publish_many(tasks, warn=warned.append)
    assert published["outcome"].tolist() == ["confirmed", "confirmed"]
    executed(celery, published["task_id"].iloc[1])
    assert any("no task 'shop.sned'" in warning for warning in warned)
    with pytest.raises(tt.InvalidTask, match="'mail' is a queue of Celery, whose programs declare"):
        cluster.publish("mail", "shop.send_email", create=True)


def test_of_a_replay_that_is_killed_again_and_again_every_task_runs(
    celery: CeleryPeer, cluster: tt.Cluster, vhost: Vhost, tmp_path: Path
) -> None:
    """None is lost, and what ran twice is told as a possible duplicate."""
    ids = [f"kill-{n}" for n in range(MESSAGES)]
    messages = [celery_message(task="shop.send_email", task_id=each, args=["a@b"]) for each in ids]
    publish(vhost, [("mail.dlq", amqp_properties.encode(sent), body) for body, sent in messages])
    plan = cluster.plan_replay(dead_of(cluster, ids), to="mail", rate=MESSAGES / KILLS / 2)
    assert len(plan) == MESSAGES
    plan.save(tmp_path / "plan")
    dice = random.Random(KILLS)
    replayer = Replayer(vhost, tmp_path / "plan", dice)
    goals = [1, *(dice.randrange(MESSAGES // KILLS // 2) for _ in range(KILLS - 1))]
    assert all(replayer.run(goal) is not None for goal in goals)
    assert replayer.run(None) is None
    ((number, ended),) = tt.ledger()[["run", "ended"]].itertuples(index=False)
    assert ended == "finished"
    outcome: pd.DataFrame = tt.ledger(number)
    assert Counter(outcome["outcome"]) == {"replayed": MESSAGES}
    counts: Counter[str] = Counter()

    def have_run() -> bool:
        counts.clear()
        counts.update(line["id"] for line in celery.executed())
        return all(counts[each] for each in ids)

    eventually(have_run, timeout=60 + MESSAGES / 50)
    eventually(lambda: cluster.topics().set_index("topic")["queued"]["mail"] == 0)
    doubtful = set(outcome["task_id"][outcome["possible_duplicate"]])
    assert {each for each in ids if counts[each] > 1} <= doubtful
    assert not dead_of(cluster, ids).size
