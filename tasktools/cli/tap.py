"""Commands for taps: keep published messages on the broker, and show them."""

from __future__ import annotations

import click

from tasktools.cli import output, render, time_options
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.display import Display, with_display
from tasktools.core import taps
from tasktools.core.frames import history_schemas as schemas

_with_name = click.option(
    "--name", default=taps.NAME, show_default=True, metavar="NAME", help="The tap's name."
)
_with_yes = click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")


@click.command()
@_with_name
@click.option(
    "--max-age",
    default=taps.MAX_AGE,
    show_default=True,
    callback=time_options.span,
    metavar="SPAN",
    help="For how long messages are kept.",
)
@click.option(
    "--max-bytes",
    type=int,
    default=taps.MAX_BYTES,
    show_default=True,
    metavar="N",
    help="How many bytes of them are kept.",
)
@_with_yes
@with_access
def tap(access: Access, *, name: str, max_age: float, max_bytes: int, yes: bool) -> None:
    """Keep all messages published from now on in a stream on the broker, without a recorder.

    'tasktools published' shows it. Shows the costs for all users of the broker; with --yes makes
    the tap.
    """
    planned = taps.Tap(name=name, max_age=round(max_age), max_bytes=max_bytes)
    output.write(render.harmless(planned.title))
    for cost in planned.costs:
        output.write(f"  {cost}")
    if not yes:
        output.remark(["Nothing was done. To do it: the same with --yes."])
        return
    with access.cluster() as cluster:
        cluster.tap(name, max_age=max_age, max_bytes=max_bytes)
    output.remark([render.harmless(f"The tap {name} is there.")])


@click.command()
@_with_name
@click.option(
    "--delete", is_flag=True, help="Delete the kept messages, too; else they can still be read."
)
@_with_yes
@with_access
def untap(access: Access, *, name: str, delete: bool, yes: bool) -> None:
    """Stop keeping published messages."""
    rest = "the kept messages are deleted for good" if delete else "the kept messages stay"
    output.write(render.harmless(f"{name} is to keep nothing more; {rest}"))
    if not yes:
        output.remark(["Nothing was done. To do it: the same with --yes."])
        return
    with access.cluster() as cluster:
        was_there = cluster.untap(name, delete=delete)
    answer = f"The tap {name} has ended." if was_there else f"There is no tap {name}."
    output.remark([render.harmless(answer)])


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@time_options.with_window("1h")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="The first N messages.",
)
@_with_name
@with_display(schemas.PUBLISHED_MESSAGES)
@with_access
def published(
    access: Access,
    *,
    topic: str | None,
    since: str,
    until: str | None,
    limit: int,
    name: str,
    display: Display,
) -> None:
    """Show messages published to TOPIC, or to all topics, from a tap or a recording.

    Nothing is removed.
    """
    with access.cluster() as cluster:
        display.show(
            lambda: cluster.published_table(topic, since=since, until=until, limit=limit, tap=name)
        )
