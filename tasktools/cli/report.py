"""``tasktools report``: what happened to a cluster, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.time_options import with_window

_LIVE: Final = (
    "of a live cluster only the events of some seconds are known, which this command receives; a "
    "recording has the whole time: tasktools record ops.db, then --dsn sqlite:///ops.db"
)


@click.command()
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The file that is written, as incident.html.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@with_window("2h")
@with_access
def report(access: Access, *, path: Path, overwrite: bool, since: str, until: str | None) -> None:
    """Write a report: one HTML file to read, print and pass on.

    It has the cause and what was ruled out, the timeline, figures before and after, failures with
    an example each, gaps, and all numbers as CSV. Secrets are masked, no queue is looked into, and
    the page needs no network.
    """
    with access.cluster() as cluster:
        try:
            tasktools.report(cluster, path, since=since, until=until, overwrite=overwrite)
        except ValueError as error:  # the end comes before the beginning
            raise click.UsageError(render.harmless(str(error))) from error
        is_recorded, is_demo = cluster.is_recorded, cluster.broker.demo
    demo = f" ({output.DEMO})" if is_demo else ""
    output.remark([render.harmless(f"The report is in {path}{demo}.")])
    if not is_recorded:
        output.remark([f"note: {_LIVE}"])
