"""``tasktools capacity``: how many workers are needed."""

from __future__ import annotations

import click

import tasktools
from tasktools.cli import render, time_options
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.display import Display, with_display
from tasktools.core.frames.capacity_schemas import SOLUTIONS
from tasktools.core.timespans import Moment


@click.command()
@click.option(
    "--wait",
    default="30s",
    show_default=True,
    callback=time_options.span,
    metavar="SPAN",
    help="How long tasks may wait for their first try, like 30s or 2min.",
)
@click.option(
    "--quantile",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="Share of the tasks that must not wait longer.",
)
@click.option(
    "--traffic",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="FACTOR",
    help="As if so many times as many tasks came.",
)
@click.option(
    "--service",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    metavar="FACTOR",
    help="As if tasks took so many times as long.",
)
@time_options.with_window("28D")
@with_display(SOLUTIONS, watch=False)
@with_access
def capacity(
    access: Access,
    *,
    wait: float,
    quantile: float,
    traffic: float,
    service: float,
    since: Moment,
    until: Moment | None,
    display: Display,
) -> None:
    """Show how many workers each topic needs, and how sure that is.

    Use a recording of some days: tasktools record FILE, then --dsn sqlite:///FILE. Of a live
    cluster, only events received during this command are known.
    """
    with access.cluster() as cluster:
        try:
            frame = tasktools.capacity.solve(
                cluster,
                wait_below=wait,
                quantile=quantile,
                traffic=traffic,
                service=service,
                since=since,
                until=until,
            )
        except ValueError as error:
            raise click.UsageError(render.harmless(str(error))) from error
    display.show(lambda: frame)
