"""Commands that show dead letters and the ledger."""

from __future__ import annotations

import click

from tasktools.cli import connection_options as reaching
from tasktools.cli import output
from tasktools.cli.connection_options import Access, with_access, with_json
from tasktools.cli.failure_groups import show_failures, with_groups
from tasktools.cli.filters import Choice, with_choice
from tasktools.core.frames import export, schemas
from tasktools.replay.ledger import Ledger


@click.command()
@click.argument("topic")
@with_groups(schemas.DEAD_LETTERS)
@with_choice
@click.option("--force", is_flag=True, help="Look although that could make RabbitMQ drop messages.")
@with_json
@with_access
def dead(
    access: Access,
    *,
    topic: str,
    by: tuple[str, ...],
    choice: Choice,
    rows: int,
    force: bool,
    as_json: bool,
) -> None:
    """Show the dead letters of TOPIC: groups of failures, then the messages.

    Nothing is removed from the queue. A look that could make RabbitMQ drop a message is
    refused without --force.
    """
    with access.cluster() as cluster:
        table = choice.of(cluster, topic, force=force)
    show_failures(table, schemas.DEAD_LETTERS, by=by, rows=rows, as_json=as_json)


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
        file = Ledger()
        table = file.runs_table(last) if run is None else file.messages_table(run)
    if as_csv:
        output.write(export.csv(table).rstrip("\n"))
    else:
        output.answer(table, table.schema, as_json=as_json)
