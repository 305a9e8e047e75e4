"""``tasktools completion``: the script that lets a shell complete commands and topics."""

from __future__ import annotations

import re
from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

import tasktools
from tasktools.cli import output
from tasktools.core.errors import TaskToolsError

_TIMEOUT_SECONDS: Final = 2.0  # nobody waits longer at a prompt
_WORD: Final = re.compile(r"[\w./:@%+=,][\w./:@%+=,-]*")
"""A word in which no shell finds anything to expand."""


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
    return [CompletionItem(name) for name in names if completes(begun, name)]


def completes(begun: str, name: str) -> bool:
    """Whether a shell may write *name* in place of *begun*. It obeys what it writes: whoever names
    a queue ``$(reboot)`` must not have it run at the next operator's prompt.

    >>> completes("e", "emails"), completes("", "$(reboot)"), completes("", "-rf")
    (True, False, False)
    """
    return name.startswith(begun) and _WORD.fullmatch(name) is not None
