"""Runs that were killed or finished, and what a later run says and does about them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from msgspec import UNSET, structs

import tasktools as tt
from tasktools.brokers.mover import WINDOW
from tasktools.cli import main
from tasktools.core.plans import Plan
from tasktools.testing import RabbitMQNode, eventually
from tests.conftest import Connect
from tests.rabbitmq import replays
from tests.rabbitmq.replays import DEAD, TOPIC, Replayer, put_tasks, tasks
from tests.support import Proxy, Raw
from tests.vhosts import Vhost

QUIET: Any = {"reason": "INC-42", "progress": False}
MESSAGES = 1_000
MORE = 5 * WINDOW  # a discard that is killed in the second of these windows has not ended

KillInItsMidst = Callable[..., None]

pytestmark = pytest.mark.parametrize("kind", ["classic"])


@pytest.fixture
def kill_in_its_midst(rabbitmq: RabbitMQNode, vhost: Vhost, tmp_path: Path) -> KillInItsMidst:
    """Run a plan in a process that is killed once *goal* of its messages have ended, and wait
    until the broker has put back what the process held."""

    def kill(plan: Plan, goal: int = MESSAGES // 4) -> None:
        plan.save(tmp_path / "killed")
        replayer = Replayer(vhost, tmp_path / "killed", Random(3))
        assert replayer.run(goal, within=0.0) is not None
        replays.wait_until_given_back(rabbitmq, vhost, DEAD)

    return kill


def add_user(rabbitmq: RabbitMQNode, vhost: Vhost, name: str, tags: str) -> str:
    """Add a user to *vhost*; returns the DSN."""
    rabbitmq.request("PUT", f"/api/users/{name}", {"password": "pw", "tags": tags})
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    rabbitmq.request("PUT", f"/api/permissions/{vhost.name}/{name}", rights)
    parts = urlsplit(vhost.dsn)
    return f"amqp://{name}:pw@localhost:{parts.port}{parts.path}"


def under_another_name(vhost: Vhost, proxy: Proxy) -> str:
    return proxy.through(vhost.dsn)


def doubled(raw: Raw) -> set[bytes]:
    """Return what arrived at the target more than once; all of it arrived at least once."""
    arrived = Counter(replays.bodies(raw, TOPIC))
    assert set(arrived) == set(tasks(MESSAGES))
    return {body for body, n in arrived.items() if n > 1}


def marked(*runs: int) -> set[bytes]:
    """Return what the ledger says may have arrived twice."""
    numbers: set[int] = set()
    for run in runs:
        frame = tt.ledger(run)
        twice = frame["task_id"][frame["possible_duplicate"]]
        numbers |= {int(name.removeprefix("task-")) for name in twice}
    return {body for n, body in enumerate(tasks(MESSAGES)) if n in numbers}


# --- row 8: the same broker by another name ------------------------------------------------------


@pytest.mark.parametrize("tags", ["", "administrator"])
def test_a_killed_run_goes_on_under_another_name_and_as_another_user(
    tags: str,
    topic: str,
    cluster: tt.Cluster,
    connect: Connect,
    rabbitmq: RabbitMQNode,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, row 8: the plan was refused where the DSN had another text."""
    put_tasks(vhost, tasks(MESSAGES))
    plan = cluster.plan_replay(cluster.dead_letters(topic), rate=MESSAGES)
    kill_in_its_midst(plan)
    other = connect(add_user(rabbitmq, vhost, "ops", tags))
    assert other.broker.address != cluster.broker.address
    outcome = other.run(tt.load_plan(tmp_path / "killed"), **QUIET)
    assert Counter(outcome["outcome"]) == {"replayed": MESSAGES}
    assert len(tt.ledger()) == 1
    assert doubled(raw) <= marked(1)


def test_a_command_that_was_killed_goes_on_under_another_name(
    topic: str,
    cluster: tt.Cluster,
    rabbitmq: RabbitMQNode,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
) -> None:
    """Issue 11, row 8: the same on the command line, by `localhost` and as another user."""
    put_tasks(vhost, tasks(MESSAGES))
    plan = cluster.plan_replay(cluster.dead_letters(topic), rate=MESSAGES / 2)
    plan.save(tmp_path / "plan")
    command = ["replay", "--plan", str(tmp_path / "plan"), "--yes", "--reason", "INC-1"]
    command += ["--follow", "0", "--dsn"]
    with subprocess.Popen([sys.executable, "-m", "tasktools.cli", *command, vhost.dsn]) as child:
        eventually(lambda: raw.depth(TOPIC) > MESSAGES // 5, timeout=60)
        child.kill()
    again = CliRunner().invoke(main, [*command, add_user(rabbitmq, vhost, "ops", "")])
    assert again.exit_code == 0, again.output
    assert len(tt.ledger()) == 1
    assert doubled(raw) <= marked(1)


def test_a_new_plan_under_another_name_settles_the_killed_run_first(
    topic: str,
    cluster: tt.Cluster,
    connect: Connect,
    proxy: Proxy,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, rows 8 and 22: 782 of 4,000 were sent twice, none of them was marked, and those
    that the killed run had sent were `gone` without a word."""
    put_tasks(vhost, tasks(MESSAGES))
    kill_in_its_midst(cluster.plan_replay(cluster.dead_letters(topic), rate=MESSAGES))
    other = connect(under_another_name(vhost, proxy))
    plan = other.plan_replay(other.dead_letters(topic))
    outcome = other.run(plan, **QUIET)
    assert set(outcome["outcome"]) <= {"replayed", "gone"}
    twice = doubled(raw)
    assert twice <= marked(1)
    assert twice <= marked(2) | (marked(1) - marked_in(plan))
    gone = outcome[outcome["outcome"] == "gone"]
    assert gone["why"].str.match(r"replayed by run 1 of .* UTC \(chaos\)").all()
    assert any("run 1 of" in note and "settled first" in note for note in outcome.attrs["notes"])


def marked_in(plan: Plan) -> set[bytes]:
    names = {message.task_id for message in plan.messages}
    return {body for n, body in enumerate(tasks(MESSAGES)) if f"task-{n}" in names}


def test_the_plan_of_another_vhost_of_the_same_node_is_refused(
    topic: str, cluster: tt.Cluster, rabbitmq: RabbitMQNode, vhost: Vhost
) -> None:
    """Issue 11, row 8: one cluster has many vhosts."""
    put_tasks(vhost, tasks(3))
    plan = cluster.plan_replay(cluster.dead_letters(topic))
    dsn = rabbitmq.add_vhost("another")
    try:
        with (
            tt.connect(dsn, management_url=vhost.management_url) as other,
            pytest.raises(tt.InvalidPlan, match=r"vhost 'another'.*nothing was done"),
        ):
            other.run(plan, **QUIET)
    finally:
        rabbitmq.delete_vhost("another")


def test_a_killed_run_of_an_earlier_version_is_settled_by_its_address(
    topic: str,
    cluster: tt.Cluster,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, row 8: ledgers and plans that know the broker by its address only go on."""
    put_tasks(vhost, tasks(MESSAGES))
    plan = cluster.plan_replay(cluster.dead_letters(topic), rate=MESSAGES)
    old = structs.replace(plan, broker=UNSET, hash="")
    old = structs.replace(old, hash=old.computed_hash())
    assert b"broker" not in old.to_json()
    kill_in_its_midst(old)
    outcome = cluster.run(cluster.plan_replay(cluster.dead_letters(topic)), **QUIET)
    assert set(outcome["outcome"]) <= {"replayed", "gone"}
    assert doubled(raw) <= marked(1)


def test_a_killed_run_known_by_another_address_only_is_not_sent_over_again_unasked(
    topic: str,
    cluster: tt.Cluster,
    connect: Connect,
    proxy: Proxy,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, row 8: whether both are the same broker only the operator can tell."""
    put_tasks(vhost, tasks(MESSAGES))
    plan = cluster.plan_replay(cluster.dead_letters(topic), rate=MESSAGES)
    old = structs.replace(plan, broker=UNSET, hash="")
    kill_in_its_midst(structs.replace(old, hash=old.computed_hash()))
    other = connect(under_another_name(vhost, proxy))
    again = other.plan_replay(other.dead_letters(topic))
    with pytest.raises(tt.InvalidPlan, match=r"broke off when it had begun .* nothing was done"):
        other.run(again, **QUIET)
    assert raw.depth(DEAD) == len(again)
    other.run(again, force=True, **QUIET)
    assert doubled(raw) <= marked(1)


# --- row 22: plans that were done, by this run or another ----------------------------------------


def test_a_finished_plan_run_again_says_who_did_it_and_takes_no_twin(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 22: `gone: 5000` without a word, and an identical twin was replayed."""
    (twin, *others) = tasks(10)
    put_tasks(vhost, [twin, *others, twin])
    plan = cluster.plan_replay(cluster.dead_letters(topic).head(10))
    cluster.run(plan, **QUIET)
    assert raw.depth(DEAD) == 1
    outcome = cluster.run(plan, **QUIET)
    assert outcome["outcome"].tolist() == ["gone"] * 10
    assert outcome["why"].str.match(r"replayed by run 1 of .* UTC \(INC-42\)$").all()
    assert any("10 of the messages were already replayed" in n for n in outcome.attrs["notes"])
    assert raw.depth(DEAD) == 1
    forced = cluster.run(plan, force=True, **QUIET)
    assert Counter(forced["outcome"]) == {"gone": 9, "replayed": 1}


def test_of_two_plans_of_the_same_rows_the_second_finds_them_done(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 22: another plan of the same rows, with a twin that neither of them means."""
    (twin, *others) = tasks(5)
    put_tasks(vhost, [twin, *others, twin])
    rows = cluster.dead_letters(topic).head(3)
    first, second = cluster.plan_replay(rows), cluster.plan_replay(rows, rate=500)
    cluster.run(first, **QUIET)
    outcome = cluster.run(second, **QUIET)
    assert outcome["outcome"].tolist() == ["gone"] * 3
    assert outcome["why"].str.contains("replayed by run 1 of").all()
    assert raw.depth(DEAD) == 3
    later = cluster.run(cluster.plan_replay(cluster.dead_letters(topic)), **QUIET)
    assert Counter(later["outcome"]) == {"replayed": 3}


def test_the_command_line_says_which_run_did_a_finished_plan(
    topic: str, cluster: tt.Cluster, vhost: Vhost, tmp_path: Path
) -> None:
    """Issue 11, row 22: `tasktools replay --plan` a second time."""
    put_tasks(vhost, tasks(3))
    cluster.plan_replay(cluster.dead_letters(topic)).save(tmp_path / "plan")
    command = ["replay", "--plan", str(tmp_path / "plan"), "--yes", "--reason", "INC-1"]
    command += ["--dsn", vhost.dsn]
    CliRunner().invoke(main, command)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "3 of the messages were already replayed by run 1 of" in result.stderr


# --- rows 21 and 24: archives --------------------------------------------------------------------


def test_a_killed_discard_whose_archive_is_gone_does_not_go_on(
    topic: str,
    cluster: tt.Cluster,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, row 21: `discarded: 5000`, and 717 of them were in no archive."""
    put_tasks(vhost, tasks(MORE))
    file, away = tmp_path / "kept", tmp_path / "away"
    plan = cluster.plan_discard(cluster.dead_letters(topic), archive=file)
    kill_in_its_midst(plan, WINDOW + 1)
    shutil.move(file, away)
    with pytest.raises(tt.InvalidPlan, match=r"archive .* lacks; nothing more was discarded"):
        cluster.run(plan, **QUIET)
    assert not file.exists()
    lines = away.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2] + lines[3:]))  # a line of it is missing
    with pytest.raises(tt.InvalidPlan, match=r"has taken 1 messages out of the queue"):
        cluster.run(plan, **QUIET)
    shutil.move(away, file)
    outcome = cluster.run(plan, **QUIET)
    assert Counter(outcome["outcome"]) == {"discarded": MORE}
    restored = cluster.run(cluster.plan_restore(file), **QUIET)
    assert Counter(restored["outcome"]) == {"restored": MORE}
    assert sorted(replays.bodies(raw, DEAD)) == sorted(tasks(MORE))


def test_what_is_left_of_a_discard_whose_archive_is_gone_can_be_kept_in_another(
    topic: str,
    cluster: tt.Cluster,
    raw: Raw,
    vhost: Vhost,
    tmp_path: Path,
    kill_in_its_midst: KillInItsMidst,
) -> None:
    """Issue 11, row 21: every message is in one of the two archives."""
    put_tasks(vhost, tasks(MORE))
    plan = cluster.plan_discard(cluster.dead_letters(topic), archive=tmp_path / "first")
    kill_in_its_midst(plan, WINDOW + 1)
    shutil.move(tmp_path / "first", tmp_path / "away")
    rest = cluster.plan_discard(cluster.dead_letters(topic), archive=tmp_path / "second")
    outcome = cluster.run(rest, **QUIET)
    assert Counter(outcome["outcome"]) == {"discarded": len(rest)}
    assert any("its archive" in note for note in outcome.attrs["notes"])
    assert not (tmp_path / "first").exists()
    for name in ("away", "second"):
        cluster.run(cluster.plan_restore(tmp_path / name), **QUIET)
    assert set(replays.bodies(raw, DEAD)) == set(tasks(MORE))


def changed_line(file: Path, number: int, **changes: Any) -> None:
    """Change fields of a line of an archive, as somebody does with an editor."""
    lines = file.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | changes)
    file.write_text("\n".join(lines) + "\n")


def test_an_archive_that_was_edited_is_not_restored(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, tmp_path: Path
) -> None:
    """Issue 11, row 24: the changed task lay in the changed topic."""
    put_tasks(vhost, tasks(3))
    file, copy = tmp_path / "kept", tmp_path / "copy"
    cluster.run(cluster.plan_discard(cluster.dead_letters(topic), archive=file), **QUIET)
    shutil.copy(file, copy)
    plan = cluster.plan_restore(file)
    changed_line(file, 2, body="e30=")
    with pytest.raises(tt.InvalidPlan, match=r"^Line 3 of the archive .* nothing was done"):
        cluster.plan_restore(file)
    with pytest.raises(tt.InvalidPlan, match=r"^Line 3 of the archive .* nothing was done"):
        cluster.run(plan, **QUIET)
    shutil.copy(copy, file)
    changed_line(file, 2, digest=None)
    with pytest.raises(tt.InvalidPlan, match=r"^Line 3 of the archive"):
        cluster.plan_restore(file)
    shutil.copy(copy, file)
    changed_line(file, 0, queue=TOPIC)
    moved = cluster.plan_restore(file)
    assert f"taken from '{DEAD}', and they would be put into '{TOPIC}'" in repr(moved)
    shown = CliRunner().invoke(main, ["restore", str(file), "--dsn", vhost.dsn])
    assert "warning: the queue in the archive was changed by hand" in shown.stdout
    assert raw.depth(TOPIC) == raw.depth(DEAD) == 0


def test_an_archive_of_an_earlier_version_is_restored_and_that_is_said(
    topic: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost, tmp_path: Path
) -> None:
    """Issue 11, row 24: archives without digests."""
    put_tasks(vhost, tasks(3))
    file = tmp_path / "kept"
    cluster.run(cluster.plan_discard(cluster.dead_letters(topic), archive=file), **QUIET)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    old = [json.dumps({name: v for name, v in line.items() if name != "digest"}) for line in lines]
    file.write_text("\n".join(old) + "\n")
    plan = cluster.plan_restore(file)
    assert "warning: the archive is of an earlier version" in repr(plan)
    assert Counter(cluster.run(plan, **QUIET)["outcome"]) == {"restored": 3}
    assert replays.bodies(raw, DEAD) == tasks(3)
