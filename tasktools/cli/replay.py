"""Commands that change dead letters. They show a plan, and run it only with ``--yes``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tasktools
from tasktools.cli import render, time_options
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.failures import failed_tasks
from tasktools.cli.filters import Choice, with_choice
from tasktools.cli.plan_options import Order, with_order
from tasktools.core.errors import InvalidPlan
from tasktools.core.json_input import value_of
from tasktools.core.plans import Plan
from tasktools.core.tasks.edits import REMOVE
from tasktools.core.timespans import Moment
from tasktools.replay.ramp import Ramp
from tasktools.replay.rates import AUTO, Rate, checked_rate

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster
    from tasktools.core.frames.table import Table


def _new_values(
    _context: click.Context, _option: click.Parameter, edits: tuple[str, ...]
) -> dict[str, Any]:
    """Parse edits ``PATH=VALUE``, as the dead-letter widget does."""
    values = {}
    for text in edits:
        path, is_there, value = text.partition("=")
        if not is_there:
            raise click.BadParameter(render.harmless(f"{text!r} is not PATH=VALUE."))
        values[path] = value_of(value)
    return values


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> Rate | None:
    """Parse a number above 0, or ``auto``."""
    if text is None:
        return None
    if text == AUTO:
        return AUTO
    try:
        return checked_rate(float(text))
    except (ValueError, InvalidPlan):
        raise click.BadParameter(
            render.harmless(f"{text!r} is no number of messages a second above 0, and not auto.")
        ) from None


_undecodable = click.option(
    "--undecodable",
    is_flag=True,
    help="Also send messages that are no task, or that workers of fastpluggy cannot read and "
    "would take again for ever.",
)


def _for_a_while(context: click.Context, option: click.Parameter, text: str) -> float:
    """Parse a span; ``0`` means none."""
    if text.strip() in ("0", "0s"):
        return 0.0
    return time_options.span(context, option, text) or 0.0


def _chosen(cluster: Cluster, topic: str, choice: Choice, *, force: bool) -> Table:
    """Return the chosen dead letters of *topic*. Raises `InvalidPlan` if there are none at all."""
    table = choice.of(cluster, topic, force=force)
    sources = table.attrs.get("sources", {}).values()
    if not choice and not len(table) and all(source["ok"] for source in sources):
        raise InvalidPlan(f"There are no dead letters in {topic!r}; nothing was done.")
    return table


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@with_choice
@click.option(
    "--recorded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead of dead letters, tasks that failed: from this recording (record --bodies), and "
    "without those that succeeded later.",
)
@click.option(
    "--since",
    callback=time_options.moment,
    metavar="MOMENT",
    help="Those of the recording that failed since then; without it of its last day.",
)
@click.option(
    "--to", metavar="QUEUE", help="Send them to this topic or queue; else where they came from."
)
@click.option(
    "--set",
    "new_values",
    multiple=True,
    callback=_new_values,
    metavar="PATH=VALUE",
    help="Change a value of each, like kwargs.to=a@b. JSON is read as JSON (5, true, null, [1]), "
    "anything else as text; the text 5 is '\"5\"'.",
)
@click.option(
    "--remove", "removed", multiple=True, metavar="PATH", help="Take a value out of each."
)
@click.option(
    "--rate",
    callback=_rate,
    metavar="N",
    help="Send at most N a second; auto: as many as --keep-wait allows by --history.",
)
@click.option(
    "--keep-wait",
    callback=time_options.span,
    metavar="SPAN",
    help="With --rate auto: the wait that 95 % of live tasks must stay below, like 30s.",
)
@click.option(
    "--history",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --rate auto: a recording of the cluster, of 5 days or more.",
)
@click.option(
    "--ramp",
    is_flag=True,
    help="Send 1 first, then up to 10, 100 and 1,000, then the rest: each step only while no more "
    "than 10 % of those before fail again.",
)
@_undecodable
@click.option(
    "--follow",
    default="10s",
    show_default=True,
    callback=_for_a_while,
    metavar="SPAN",
    help="Then wait for so long to see whether the tasks fail again; 0 does not.",
)
@with_order
@with_access
def replay(  # noqa: PLR0913 - one an option
    access: Access,
    *,
    topic: str | None,
    choice: Choice,
    recorded: Path | None,
    since: Moment | None,
    to: str | None,
    new_values: dict[str, Any],
    removed: tuple[str, ...],
    rate: Rate | None,
    keep_wait: float | None,
    history: Path | None,
    ramp: bool,
    undecodable: bool,
    follow: float,
    order: Order,
) -> None:
    """Send dead letters of TOPIC again: all of them, or the chosen ones; or tasks that failed.

    Shows the plan. With --yes and --reason runs the plan: exactly the planned messages are sent,
    each is confirmed before its original is removed, and all is written to the ledger. Exits with 1
    if a message was not sent, or a task has failed or died again.
    """
    edits = new_values | dict.fromkeys(removed, REMOVE)
    order.check(topic=topic, others=(choice, recorded, since, to, edits, rate, undecodable))
    if (rate == AUTO) != (keep_wait is not None) or (rate == AUTO) != (history is not None):
        raise click.UsageError("--rate auto, --keep-wait and --history go together.")
    if since is not None and recorded is None:
        raise click.UsageError("--since is for --recorded FILE.")

    def planned(cluster: Cluster) -> Plan:
        if recorded is None:
            table = _chosen(cluster, str(topic), choice, force=order.force)
        else:
            table = failed_tasks(recorded, str(topic), choice, since or "1D", access.mask)
        with contextlib.ExitStack() as stack:
            recording = None
            if history is not None:
                dsn = f"sqlite:///{history.absolute()}"
                recording = stack.enter_context(tasktools.connect(dsn, mask=access.mask))
            return cluster.plan_replay(
                table.frame(),
                to,
                edits=edits or None,
                rate=rate,
                keep_wait_below=keep_wait,
                history=recording,
                undecodable=undecodable,
            )

    order.carry_out(access, "replay", planned, ramp=Ramp() if ramp else None, follow=follow)


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@with_choice
@click.option(
    "--archive",
    type=click.Path(),
    metavar="FILE",
    help="Keep them in this file, from which 'tasktools restore' brings them back.",
)
@click.option("--no-archive", is_flag=True, help="Keep nothing: they are gone for good.")
@with_order
@with_access
def discard(
    access: Access,
    *,
    topic: str | None,
    choice: Choice,
    archive: str | None,
    no_archive: bool,
    order: Order,
) -> None:
    """Take dead letters of TOPIC out of their queue: all of them, or the chosen ones.

    Shows the plan. With --yes and --reason runs the plan.
    """
    order.check(topic=topic, others=(choice, archive, no_archive))
    if order.plan is None and no_archive == (archive is not None):
        raise click.UsageError("Give --archive FILE, or --no-archive.")

    def planned(cluster: Cluster) -> Plan:
        table = _chosen(cluster, str(topic), choice, force=order.force)
        return cluster.plan_discard(table.frame(), archive=archive)

    order.carry_out(access, "discard", planned)


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False), required=False)
@_undecodable
@with_order
@with_access
def restore(access: Access, *, archive: str | None, undecodable: bool, order: Order) -> None:
    """Put the messages of ARCHIVE back into the queue that they were discarded from.

    Shows the plan. With --yes and --reason runs the plan.
    """
    order.check(archive=archive, others=(undecodable,))

    def planned(cluster: Cluster) -> Plan:
        return cluster.plan_restore(str(archive), undecodable=undecodable)

    order.carry_out(access, "restore", planned)
