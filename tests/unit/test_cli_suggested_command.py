"""The commands that ``tasktools diagnose`` names are ones that tasktools takes."""

from __future__ import annotations

import shlex

import click
import pytest

from tasktools.cli import main
from tasktools.cli.suggested_command import next_step

COMMANDS = {
    "cluster.workers()": "workers",
    "cluster.topics().query(\"topic == 'a b'\")": "topics",
    'cluster.topics().nlargest(5, "queued")': "topics",
    "cluster.active_tasks('orders')": "tasks orders --queued",
    "cluster.active_tasks('orders', queued=False)": "tasks orders",
    "tt.failure_groups(cluster.dead_letters('a b'))": "dead 'a b'",
    "tt.failure_groups(cluster.failures('orders', since='10min'))": "failures orders --watch 60s",
    "cluster.configure_topic('orders', concurrency_limit=None)": (
        "topic configure orders --concurrency-limit none"
    ),
    "cluster.force_release_lock('nightly')": "unlock nightly",
    "cluster.join_topic('w1', 'orders')": "join-topic w1 orders",
    "cluster.leave_topic('w1', 'orders')": "leave-topic w1 orders",
    "cluster.revoke('c1')": "revoke c1",
    'cluster.tap(max_age="1h")': "tap --max-age 1h",
    "cluster.stats()": "status",
    "cluster.ledger()": "ledger",
}


@pytest.mark.parametrize(("call", "command"), COMMANDS.items())
def test_a_call_is_named_as_the_command_that_does_the_same(call: str, command: str) -> None:
    assert next_step(call, is_recorded=False) == f"tasktools {command}"
    resolved: click.Command = main
    name, arguments = None, shlex.split(command)
    while isinstance(resolved, click.Group):
        name, subcommand, arguments = resolved.resolve_command(click.Context(resolved), arguments)
        assert subcommand is not None
        resolved = subcommand
    resolved.make_context(name, arguments)  # a usage error would be raised


def test_failures_of_a_recording_are_not_listened_for() -> None:
    call = "tt.failure_groups(cluster.failures('orders', since='10min'))"
    assert next_step(call, is_recorded=True) == "tasktools failures orders --since 10min"


@pytest.mark.parametrize(
    "call", ["cluster.peek('orders', limit=20)", "cluster.utilisation(since='1h', every='1min')"]
)
def test_what_no_command_does_is_said_to_be_python(call: str) -> None:
    assert next_step(call, is_recorded=False) == f"in Python, {call}"
