"""Commands that show dead letters and the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from tasktools.cli import connection_options as reaching
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.display import Display, with_display
from tasktools.cli.failure_groups import show_failures, with_groups
from tasktools.cli.filters import Choice, with_choice
from tasktools.cli.overview import HOW_TO_KNOW
from tasktools.connect import address_of
from tasktools.core.frames import schemas
from tasktools.core.frames.table import Table
from tasktools.core.plurals import counted
from tasktools.replay.ledger import Ledger

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_DEAD_LETTER_QUEUES: Final = replace(
    schemas.TOPICS,
    name="dead_letters",
    main=("topic", "dead_letter", "queued", "consumers", "failed", "dead_lettering"),
)
_RUNS_OF_ALL: Final = replace(schemas.RUNS, main=("run", "cluster", *schemas.RUNS.main[1:]))


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@with_groups(schemas.DEAD_LETTERS)
@with_choice
@click.option("--force", is_flag=True, help="Look although that could make RabbitMQ drop messages.")
@with_display(schemas.DEAD_LETTERS, schemas.TOPICS, watch=False)
@with_access
def dead(
    access: Access,
    *,
    topic: str | None,
    by: tuple[str, ...],
    choice: Choice,
    rows: int,
    force: bool,
    display: Display,
) -> None:
    """Show the dead letters of TOPIC: groups of failures, then the messages.

    Without TOPIC it lists the topics that have dead letters, and how many; it looks into no queue
    then. Nothing is removed from a queue. A look that could make RabbitMQ drop a message is
    refused without --force.
    """
    display.check_sort((schemas.TOPICS if topic is None else schemas.DEAD_LETTERS).names)
    if topic is None:
        if choice or force:
            raise click.UsageError("Give TOPIC: without it only counts are shown.")
        with access.cluster() as cluster:
            display.show(lambda: _counted(cluster))
        return
    with access.cluster() as cluster:
        table = choice.of(cluster, topic, force=force)
        if not len(table) and not choice:
            table.attrs["notes"] = [
                *table.attrs.get("notes", []),
                *_failures_without(cluster.topics_table(), topic),
            ]
    show_failures(table, display, by=by, rows=rows)


def _failures_without(topics: Table, topic: str | None = None) -> Iterator[str]:
    """Yield a note if tasks of *topic*, or of any, failed and left no dead letter: a worker of
    fastpluggy acknowledges what fails."""
    counts = zip(topics["topic"], topics["failed"], strict=True)
    failed = sum(count or 0 for name, count in counts if topic in (None, name))
    if failed:
        what = counted(failed, "attempt")
        yield f"{what} failed since the workers started, and left no dead letter: {HOW_TO_KNOW}"


def _counted(cluster: Cluster) -> Table:
    """Return the topics that have dead letters, or may have some; the largest counts first."""
    table = cluster.topics_table()
    counts = table["dead_letter"]
    places = [place for place, count in enumerate(counts) if count != 0]
    places.sort(key=lambda place: -(counts[place] or 0))
    shown = table.at(places)
    shown.schema = _DEAD_LETTER_QUEUES
    if not places:
        shown.attrs["notes"] = [*shown.attrs["notes"], *_failures_without(table)]
    else:
        shown.attrs["notes"] = [*shown.attrs["notes"], "why they died: tasktools dead TOPIC"]
    return shown


@click.command()
@click.argument("run", type=click.IntRange(1), required=False)
@click.option(
    "--last",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="The last N runs.",
)
@with_display(schemas.RUNS, schemas.OUTCOME)
@reaching.with_dsn
def ledger(*, dsn: str | None, run: int | None, last: int, display: Display) -> None:
    """Show who replayed, discarded or restored what, when, why, and how it ended.

    Shows the runs on the cluster that --dsn or BROKER_DSN names, which is not contacted; without
    both, the runs on all clusters. With the number of a RUN, the outcome of each of its messages.
    The ledger is your own file on this machine; TASKTOOLS_LEDGER names another.
    """
    display.check_sort((schemas.RUNS if run is None else schemas.OUTCOME).names)
    with reaching.spoken():
        file = Ledger()
        if run is not None:
            display.show(lambda: file.messages_table(run))
            return
        address = address_of(dsn)
        display.show(lambda: _runs(file, last, address))


def _runs(file: Ledger, last: int, address: str | None) -> Table:
    """Return the *last* runs on the cluster at *address*; `None`: on all, which are named."""
    table = file.runs_table(last, address=address)
    if address is None:
        table.schema = _RUNS_OF_ALL
    else:
        table.attrs["notes"] = [f"runs on {address}; unset BROKER_DSN for those on all clusters"]
    return table
