"""``tasktools failures``: the tasks that failed, from a recording."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

import tasktools
from tasktools.cli import output, show, times
from tasktools.cli.access import Access, with_access, with_json
from tasktools.cli.choosing import Choice
from tasktools.cli.grouping import show_failures, with_groups
from tasktools.core.errors import NotRecorded
from tasktools.core.history_schemas import FAILURES
from tasktools.core.moments import Moment
from tasktools.ops.cluster import Cluster
from tasktools.ops.recording.store import File, is_recording


@click.command()
@click.argument("topic", required=False)
@times.with_window("1D")
@with_groups(FAILURES)
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, all columns.")
@with_json
@with_access
def failures(
    access: Access,
    *,
    topic: str | None,
    since: Moment,
    until: Moment | None,
    by: tuple[str, ...],
    rows: int,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show the tasks that failed, of TOPIC or of all, those included that workers acknowledged.

    They are in a recording: tasktools record FILE, then --dsn sqlite:///FILE. The kinds of
    failures come first, then the failures, the latest first.
    """
    if as_csv and as_json:
        raise click.UsageError("Give --csv or --json.")
    with access.cluster() as cluster:
        frame = _failures(cluster, topic, since, until)
        if not is_recording(frame.attrs["recording"]):
            raise NotRecorded(
                "A live cluster does not tell what failed before; nothing was changed. Record it "
                "with 'tasktools record FILE', and ask the recording: --dsn sqlite:///FILE."
            )
    if as_csv:
        output.write(show.csv(frame).rstrip("\n"))
        return
    show_failures(frame, FAILURES, by=by, rows=rows, as_json=as_json)


def _failures(
    cluster: Cluster, topic: str | None, since: Moment, until: Moment | None = None
) -> pd.DataFrame:
    try:
        return cluster.failures(topic, since=since, until=until)
    except ValueError as error:  # the end comes before the beginning
        raise click.UsageError(show.harmless(str(error))) from error


def failed_tasks(file: Path, topic: str, choice: Choice, since: Moment) -> pd.DataFrame:
    """Return the chosen tasks of *topic* that failed, have not succeeded since, and can be sent
    again from the recording *file*."""
    with tasktools.connect(File(file).name) as history:
        frame = _failures(history, topic, since)
    chosen = choice.among(frame, f"failed task of {topic}").head(choice.limit or len(frame))
    left = chosen[chosen["key"].notna() & ~chosen["recovered"]]
    gone = len(chosen) - len(left)
    if gone:
        output.remark(
            [f"note: {gone:,} left out: they succeeded later, or their messages were not kept"]
        )
    return left
