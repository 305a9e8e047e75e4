"""``tasktools failures``: failed tasks, from a recording or from live events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

import tasktools
from tasktools.cli import output, render, time_options
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.display import Display, with_display
from tasktools.cli.end_signal import end_signals
from tasktools.cli.failure_groups import show_failures, with_groups
from tasktools.cli.filters import Choice
from tasktools.core.clock import moment
from tasktools.core.errors import NotRecorded
from tasktools.core.frames.history_schemas import FAILURES
from tasktools.core.frames.table import Table
from tasktools.core.timespans import Moment, in_words
from tasktools.history.store import File

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_MAX_WATCH: Final = 3_600.0  # seconds that a live cluster keeps in memory
_SAMPLE_SECONDS: Final = 1.0  # seconds


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@time_options.with_window("1D")
@with_groups(FAILURES)
@click.option(
    "--watch",
    callback=time_options.span,
    metavar="SPAN",
    help="Listen to a live cluster for so long, at most an hour, and show what fails meanwhile; "
    "Ctrl-C shows the failures up to then.",
)
@with_display(FAILURES, watch=False)
@with_access
def failures(
    access: Access,
    *,
    topic: str | None,
    since: Moment,
    until: Moment | None,
    by: tuple[str, ...],
    rows: int,
    watch: float | None,
    display: Display,
) -> None:
    """Show the failed tasks of TOPIC or of all, including those that workers acknowledged.

    Use a recording: tasktools record FILE, then --dsn sqlite:///FILE. With a live cluster, --watch
    60s shows tasks that fail within a minute from now. The kinds of failures come first, then the
    failures, the latest first.
    """
    if watch is not None:
        _check_watch(watch)
    with access.cluster() as cluster:
        if watch is not None:
            table = _watched(cluster, topic, watch)
        else:
            table = _failures(cluster, topic, since, until)
        if watch is None and not cluster.is_recorded:
            raise NotRecorded(
                "A live cluster keeps no past failures; nothing was changed. Watch for new ones "
                "with --watch 60s; or record it with 'tasktools record FILE', and read the "
                "recording: --dsn sqlite:///FILE."
            )
    if display.as_csv:
        output.remark([render.harmless(table.attrs["recorded"])])
    show_failures(table, display, by=by, rows=rows)


def _check_watch(length: float) -> None:
    context = click.get_current_context()
    for name in ("since", "until"):
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--watch begins now; give it without --{name}.")
    if length > _MAX_WATCH:
        raise click.UsageError("--watch keeps an hour at most; 'tasktools record' keeps more.")


def _watched(cluster: Cluster, topic: str | None, length: float) -> Table:
    """Listen for *length* seconds, or until a signal comes; return the failures of that time."""
    if cluster.is_recorded:
        raise NotRecorded(
            "A recording has past failures only, so there are no new ones to watch for; nothing "
            "was changed. Leave out --watch."
        )
    with end_signals() as end_signal:
        with cluster.sampled() as sample:
            since = moment(sample.until / 1000)
        output.remark([f"Listening for {in_words(length)}; Ctrl-C shows the failures so far."])
        end = time.monotonic() + length
        while (left := end - time.monotonic()) > 0 and not end_signal.wait(
            min(left, _SAMPLE_SECONDS)
        ):
            with cluster.sampled():  # processes the received events
                pass
        table = cluster.failures_table(topic, since=since)
    extent = f"events received from {since:%Y-%m-%d %H:%M:%S} to {datetime.now(UTC):%H:%M:%S} UTC"
    table.attrs["recorded"] = f"{extent}; earlier failures are not known"
    table.attrs["notes"].insert(0, table.attrs["recorded"])
    return table


def _failures(
    cluster: Cluster, topic: str | None, since: Moment, until: Moment | None = None
) -> Table:
    try:
        return cluster.failures_table(topic, since=since, until=until)
    except ValueError as error:  # the end comes before the beginning
        raise click.UsageError(render.harmless(str(error))) from error


def failed_tasks(
    file: Path, topic: str, choice: Choice, since: Moment, mask: Iterable[str]
) -> Table:
    """Return the chosen tasks of *topic* that failed, have not succeeded since, and can be sent
    again from the recording *file*."""
    with tasktools.connect(File(file).name, mask=mask) as history:
        table = _failures(history, topic, since)
    chosen = choice.among(table, f"failed task of {topic}")
    chosen = chosen.head(choice.limit or len(chosen))
    places = [
        place
        for place, row in enumerate(chosen.records())
        if row["key"] is not None and not row["recovered"]
    ]
    gone = len(chosen) - len(places)
    if gone:
        output.remark(
            [f"note: {gone:,} left out: they succeeded later, or their messages were not kept"]
        )
    return chosen.at(places)
