"""The fate of replayed tasks, and warnings before something is sent to nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import tasktools as tt
from tasktools.cli import main
from tasktools.core.frames.frame import Frame
from tasktools.testing import eventually, task_body, task_payload
from tests.conftest import Connect
from tests.rabbitmq.replays import DEAD, TOPIC, put_tasks
from tests.support import Raw
from tests.vhosts import Vhost

QUIET: Any = {"reason": "INC-42", "progress": False}
REGISTRY = tt.TaskRegistry()


@REGISTRY.task
def charge(n: int, good: int) -> None:
    """Succeed for the first *good* customers."""
    if n >= good:
        raise ValueError(f"no such customer {n}")


def put_dead(vhost: Vhost, count: int, good: int) -> None:
    """Put dead letters of `charge` into their queue."""
    bodies = []
    for n in range(count):
        kwargs = {"n": n, "good": good}
        payload = task_payload(
            task_id=f"task-{n}", func_name=f"{__name__}:charge", topic=TOPIC, kwargs=kwargs
        )
        bodies.append(task_body(message_id=f"m{n}", topic=TOPIC, payload=payload))
    put_tasks(vhost, bodies)


@pytest.fixture(autouse=True)
def topic(cluster: tt.Cluster) -> None:
    cluster.create_topic(TOPIC)


@pytest.fixture
def worker(topic: None, connect: Connect) -> Iterator[tt.TaskRunner]:
    """A worker of the topic."""
    with tt.TaskRunner(
        broker=connect().broker, topics=[TOPIC], capacity=4, registry=REGISTRY
    ) as runner:
        yield runner


def tasktools(vhost: Vhost, *args: str) -> Result:
    return CliRunner().invoke(main, [*args, "--dsn", vhost.dsn])


# --- following -------------------------------------------------------------------------


@pytest.mark.usefixtures("worker")
def test_an_outcome_is_followed_until_its_tasks_have_died_again(
    cluster: tt.Cluster, vhost: Vhost
) -> None:
    """Issue 11, new user: a replay that fails again looked like a success."""
    put_dead(vhost, 40, good=0)
    outcome = cluster.run(cluster.plan_replay(cluster.dead_letters(TOPIC)), **QUIET)
    assert isinstance(outcome, pd.DataFrame)
    assert outcome["outcome"].tolist() == ["replayed"] * 40
    assert type(outcome[outcome["outcome"] == "replayed"]) is Frame
    frame = outcome.follow(30)
    assert frame.attrs["summary"] == (
        "40 replayed, 40 died again of ValueError: no such customer <n>"
    )
    assert frame["state"].eq("died").all()
    assert cluster.dead_letters(TOPIC)["task_id"].nunique() == 40


@pytest.mark.usefixtures("worker")
def test_an_outcome_says_how_many_succeeded_and_how_many_did_not(
    cluster: tt.Cluster, vhost: Vhost
) -> None:
    """Issue 11, new user: some succeed, some die again."""
    put_dead(vhost, 10, good=7)
    outcome = cluster.run(cluster.plan_replay(cluster.dead_letters(TOPIC)), **QUIET)
    summary = outcome.follow(30).attrs["summary"]
    assert summary == ("10 replayed, 7 succeeded, 3 died again of ValueError: no such customer <n>")


@pytest.mark.usefixtures("worker")
def test_the_command_line_follows_a_replay_and_exits_with_1(vhost: Vhost, raw: Raw) -> None:
    """Issue 11, new user: `replay jobs --yes` said `replayed 40`, and its exit code was 0."""
    put_dead(vhost, 40, good=0)
    go = ("--yes", "--reason", "INC-1", "--follow", "30s")
    result = tasktools(vhost, "replay", TOPIC, *go)
    assert result.exit_code == 1
    assert "40 replayed, 40 died again of ValueError: no such customer <n>\n" in result.stdout
    result = tasktools(vhost, "replay", TOPIC, *go, "--json")
    assert result.exit_code == 1
    followed = json.loads(result.stdout)["followed"]
    assert followed["states"] == {"died": 40}
    assert followed["causes"] == ["ValueError: no such customer <n>"]
    eventually(lambda: raw.depth(DEAD) == 40)
    result = tasktools(vhost, "replay", TOPIC, "--yes", "--reason", "x", "--follow", "0")
    assert result.exit_code == 0
    assert "died" not in result.stdout


@pytest.mark.usefixtures("worker")
def test_the_command_line_exits_with_0_when_all_succeed(vhost: Vhost) -> None:
    """Issue 11, new user: following ends as soon as all is known."""
    put_dead(vhost, 5, good=5)
    go = ("--yes", "--reason", "INC-1", "--follow", "300s")
    result = tasktools(vhost, "replay", TOPIC, *go)
    assert (result.exit_code, result.stdout.count("5 replayed, 5 succeeded\n")) == (0, 1)


# --- to nobody -------------------------------------------------------------------------


def test_a_plan_and_a_command_say_before_that_nobody_consumes_the_topic(
    cluster: tt.Cluster, vhost: Vhost, raw: Raw
) -> None:
    """Issue 11, new user: a plan, a form or a command that sends to a topic without consumers."""
    put_dead(vhost, 3, good=3)
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC))
    warning = f"nobody consumes '{TOPIC}' now: its queue has no consumer"
    assert warning in repr(plan)
    assert warning in plan._repr_html_().replace("&#x27;", "'")
    result = tasktools(vhost, "replay", TOPIC)
    assert f"warning: {warning}" in result.stdout
    frame = pd.DataFrame({"topic": [TOPIC], "task_name": ["shop:send"]})
    lines: list[str] = []
    published = cluster.publish_many(
        frame, warn=lambda why: lines.append(f"{raw.depth(TOPIC)}{why}")
    )
    assert [why.startswith(f"0{warning}") for why in lines] == [True]
    assert any(warning in note for note in published.attrs["notes"])
    result = tasktools(vhost, "publish", TOPIC, "shop:send")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {warning}")


def test_following_what_nobody_consumes_ends_at_once(cluster: tt.Cluster, vhost: Vhost) -> None:
    """Issue 11, new user: there is nothing to wait for."""
    put_dead(vhost, 3, good=3)
    outcome = cluster.run(cluster.plan_replay(cluster.dead_letters(TOPIC)), **QUIET)
    frame = outcome.follow(3_600)
    assert frame.attrs["summary"] == "3 replayed, 3 not begun"
    assert any("nobody consumes" in note for note in frame.attrs["notes"])


@pytest.mark.usefixtures("worker")
def test_a_topic_with_a_consumer_is_not_called_one_of_nobody(
    cluster: tt.Cluster, vhost: Vhost
) -> None:
    """Issue 11, new user: a consumer that the broker counts is somebody."""
    put_dead(vhost, 1, good=1)
    eventually(lambda: cluster.topics().set_index("topic")["consumers"][TOPIC] == 1)
    plan = cluster.plan_replay(cluster.dead_letters(TOPIC))
    assert "nobody" not in repr(plan)
    assert "nobody" not in tasktools(vhost, "publish", TOPIC, f"{__name__}:charge").stderr


def test_what_the_broker_does_not_tell_is_not_nobody(
    cluster: tt.Cluster, connect: Connect, vhost: Vhost
) -> None:
    """Issue 11, new user: a worker that is known to take the topic is somebody, also while it
    does not consume."""
    put_dead(vhost, 1, good=1)
    cluster.configure_topic(TOPIC, concurrency_limit=0)
    with tt.TaskRunner(broker=connect().broker, topics=[TOPIC], registry=REGISTRY):
        eventually(lambda: not cluster.workers().empty)
        assert "nobody" not in repr(cluster.plan_replay(cluster.dead_letters(TOPIC)))
