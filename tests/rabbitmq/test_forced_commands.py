"""Refusals of commands that could lose messages: each names the option that forces it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

import tasktools as tt
from tasktools.cli import main
from tests.rabbitmq.replays import PERSISTENT, put
from tests.support import Raw
from tests.vhosts import Vhost


def run(vhost: Vhost, *args: str, stdin: str = "") -> Result:
    options = ("--dsn", vhost.dsn, "--management-url", vhost.management_url)
    return CliRunner().invoke(main, [*args, *options], input=stdin, catch_exceptions=False)


def test_publishing_where_messages_would_be_dropped_is_refused_unless_forced(
    cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 19: one task, or a file of them; the error names the option that exists."""
    cluster.create_topic("sample")
    raw.declare("small", x_max_length=1)
    raw.channel.queue_bind("small", cluster.broker.layout.task_exchange, "small")
    raw.put("small", b"old")
    publish = ("publish", "small", "shop:send")
    many = ("publish", "--from", "-")
    tasks = "topic,task_name\nsmall,shop:send\nsmall,shop:send\n"
    for args, stdin, count in ((publish, "", 1), (many, tasks, 2)):
        refused = run(vhost, *args, stdin=stdin)
        assert refused.exit_code == 1
        assert "drop-head" in refused.stderr
        assert "(on the command line --force)" in refused.stderr
        forced = run(vhost, *args, "--force", "--json", stdin=stdin)
        assert forced.exit_code == 0, forced.output
        rows = json.loads(forced.stdout)["rows"]
        assert [row["outcome"] for row in rows] == ["confirmed"] * count
        assert raw.depth("small") == 1


@pytest.mark.parametrize("command", ["dead", "replay"])
def test_a_look_that_could_lose_messages_is_refused_unless_forced(
    command: str, cluster: tt.Cluster, raw: Raw, vhost: Vhost
) -> None:
    """Issue 11, row 1: looking, and the look of a replay; the error names the way there is."""
    cluster.create_topic("emails")
    raw.channel.queue_delete("emails.dead")
    raw.declare("emails.dead", x_max_length=3)
    put(vhost, "emails.dead", ((PERSISTENT, b"{}") for _ in range(3)))
    refused = run(vhost, command, "emails")
    assert refused.exit_code == 1
    assert "'tasktools dead TOPIC --force' at dead letters" in refused.stderr
    assert raw.depth("emails.dead") == 3
    forced = run(vhost, command, "emails", "--force", "--json")
    assert forced.exit_code == 0, forced.output
    assert len(json.loads(forced.stdout)["rows"]) == 3
