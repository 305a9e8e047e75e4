"""``tasktools completion``: the script that lets a shell complete commands, topics and workers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

import tasktools
from tasktools.cli import output
from tasktools.core.errors import TaskToolsError
from tasktools.core.workload import live_workers

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_TIMEOUT_SECONDS: Final = 2.0  # nobody waits longer at a prompt
_WORD: Final = re.compile(r"[\w./:@%+=,][\w./:@%+=,-]*")
"""A word in which no shell finds anything to expand."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, columns, topics and workers."""
    from tasktools.cli.main import main

    complete = get_completion_class(shell)
    if complete is None:  # a click that does not know this shell
        raise click.ClickException(f"There is no completion for {shell}; nothing was written.")
    output.write(complete(main, {}, "tasktools", "_TASKTOOLS_COMPLETE").source())


def topic_names(
    context: click.Context, _argument: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the topics whose names begin with *begun*, as far as the broker lists them at once."""

    def listed(cluster: Cluster) -> Iterable[str]:
        report = cluster.broker.topic_report(cluster.broker.known_topics())
        return (stats.topic for stats in report.topics if stats.exists)

    return _completed(context, begun, listed)


def worker_names(
    context: click.Context, _argument: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Return the live workers whose names begin with *begun*, as far as they answer at once."""

    def reported(cluster: Cluster) -> Iterable[str]:
        state = cluster.broker.cluster_state(settle=_TIMEOUT_SECONDS)
        return (worker.worker_id for worker in live_workers(state.workers))

    return _completed(context, begun, reported)


def _completed(
    context: click.Context, begun: str, names: Callable[[Cluster], Iterable[str]]
) -> list[CompletionItem]:
    try:
        with tasktools.connect(
            context.params.get("dsn"),
            management_url=context.params.get("management_url"),
            read_only=True,
            timeout=_TIMEOUT_SECONDS,
        ) as cluster:
            named = sorted(names(cluster))
    except TaskToolsError:
        return []  # a shell has no place for a sentence
    return [CompletionItem(name) for name in named if completes(begun, name)]


def completes(begun: str, name: str) -> bool:
    """Whether *name* is safe to complete *begun* with. A shell executes the text it inserts: a
    queue named ``$(reboot)`` must not run at the next operator's prompt.

    >>> completes("e", "emails"), completes("", "$(reboot)"), completes("", "-rf")
    (True, False, False)
    """
    return name.startswith(begun) and _WORD.fullmatch(name) is not None
