"""``tasktools completion``: the script that lets a shell complete commands and topics."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

import tasktools
from tasktools.cli import output
from tasktools.core.errors import TaskToolsError

_TIMEOUT_SECONDS = 2.0  # nobody waits longer at a prompt


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, columns and topics."""
    from tasktools.cli.main import main

    complete = get_completion_class(shell)
    if complete is None:  # a click that does not know this shell
        raise click.ClickException(f"There is no completion for {shell}; nothing was written.")
    output.write(complete(main, {}, "tasktools", "_TASKTOOLS_COMPLETE").source())


def topic_names(
    context: click.Context, _argument: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the topics whose names begin with *begun*, as far as the broker lists them at once."""
    try:
        with tasktools.connect(
            context.params.get("dsn"),
            management_url=context.params.get("management_url"),
            read_only=True,
            timeout=_TIMEOUT_SECONDS,
        ) as cluster:
            report = cluster.broker.topic_report(cluster.broker.known_topics())
    except TaskToolsError:
        return []  # a shell has no place for a sentence
    names = sorted(stats.topic for stats in report.topics if stats.exists)
    return [CompletionItem(name) for name in names if name.startswith(begun)]
