"""Commands that look at dead letters, and at what was done with them."""

from __future__ import annotations

import click

import tasktools
from tasktools.cli import access as reaching
from tasktools.cli import output, show
from tasktools.cli.access import Access, with_access, with_json
from tasktools.cli.choosing import Choice, with_choice
from tasktools.cli.grouping import show_failures, with_groups
from tasktools.core import schemas


@click.command()
@click.argument("topic")
@with_groups(schemas.DEAD_LETTERS)
@with_choice
@with_json
@with_access
def dead(
    access: Access,
    *,
    topic: str,
    by: tuple[str, ...],
    choice: Choice,
    rows: int,
    as_json: bool,
) -> None:
    """Show the dead letters of TOPIC: which kinds of failures, then the messages.

    Nothing is taken out of the queue. What the look costs is decided before, and one that could
    make RabbitMQ drop a message is refused.
    """
    with access.cluster() as cluster:
        frame = choice.of(cluster, topic)
    show_failures(frame, schemas.DEAD_LETTERS, by=by, rows=rows, as_json=as_json)


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
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, all columns.")
@with_json
def ledger(*, run: int | None, last: int, as_csv: bool, as_json: bool) -> None:
    """Show who replayed, discarded or restored what, when, why, and how it ended.

    With the number of a RUN, what became of each of its messages. The ledger is a file of yours
    on this machine; TASKTOOLS_LEDGER names another.
    """
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json.")
    with reaching.spoken():
        frame = tasktools.ledger(run, last=last)
    if as_csv:
        output.write(show.csv(frame).rstrip("\n"))
    else:
        schema = schemas.RUNS if run is None else schemas.OUTCOME
        output.answer(frame, schema, as_json=as_json)
