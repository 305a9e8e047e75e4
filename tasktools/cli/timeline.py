"""``tasktools timeline``: what happened, from a recording or from live events."""

from __future__ import annotations

import click

import tasktools
from tasktools.cli import render, time_options
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.display import Display, with_display
from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.core.timespans import Moment


@click.command()
@time_options.with_window("2h")
@with_display(TIMELINE)
@with_access
def timeline(access: Access, *, since: Moment, until: Moment | None, display: Display) -> None:
    """Show what happened, in the order of time: workers, topics in trouble, failures, locks,
    settings, marks, runs of plans, alarms, and gaps.

    Use a recording: tasktools record FILE, then --dsn sqlite:///FILE. For a live cluster the time
    before is not known, except runs in this machine's ledger.
    """
    with access.cluster() as cluster:
        try:
            display.show(lambda: tasktools.timeline(cluster, since=since, until=until))
        except ValueError as error:  # the end comes before the beginning
            raise click.UsageError(render.harmless(str(error))) from error
