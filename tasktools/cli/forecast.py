"""``tasktools forecast``: when the queue of a topic is empty."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

import tasktools
from tasktools.cli import output, render, time_options
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access, with_at, with_json
from tasktools.cli.end_signal import end_signals
from tasktools.core.frames.capacity_schemas import DRAIN_FORECAST
from tasktools.core.timespans import in_words
from tasktools.monitor.active_tasks import unknown_topic

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_MAX_WATCH: Final = 3_600.0  # seconds that a live cluster keeps in memory
_SAMPLE_SECONDS: Final = 2.0


@click.command()
@click.argument("topic", shell_complete=topic_names)
@click.option(
    "--level",
    type=click.FloatRange(min=0),
    metavar="N",
    help="The drain has ended at N messages; by default at the usual length, at least 10.",
)
@click.option(
    "--horizon", default="6h", show_default=True, metavar="SPAN", help="How far to look ahead."
)
@click.option(
    "--watch",
    callback=time_options.span,
    metavar="SPAN",
    help="Listen to a live cluster for so long first, at most an hour; it takes 2 minutes.",
)
@with_at
@with_json
@with_access
def forecast(
    access: Access,
    *,
    topic: str,
    level: float | None,
    horizon: str,
    watch: float | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Show when the queue of TOPIC is empty: earliest, expected and latest, or that it will not be.

    Changes nothing (tasktools drain ends a worker). For a live cluster the minutes before are not
    known: listen first with --watch 3m, or use a recording with --dsn sqlite:///FILE.
    """
    if watch is not None and at is not None:
        raise click.UsageError("--watch begins now; give it without --at.")
    if watch is not None and watch > _MAX_WATCH:
        raise click.UsageError("--watch takes an hour at most: a live cluster keeps no more.")
    with access.cluster((topic,)) as cluster:
        if not cluster.is_recorded and not cluster.broker.topic_exists(topic):
            raise unknown_topic(cluster.broker, topic)
        if watch is not None and not cluster.is_recorded:
            _listen(cluster, watch)
        try:
            shown = cluster if at is None else cluster.at(at)
            frame = tasktools.drain_forecast(shown, topic, level, horizon)
        except ValueError as error:
            raise click.UsageError(render.harmless(str(error))) from error
    output.answer(frame, DRAIN_FORECAST, as_json=as_json, render=render.facts)


def _listen(cluster: Cluster, length: float) -> None:
    """Sample *cluster* for *length* seconds, or until a signal comes."""
    output.remark([f"Listening for {in_words(length)}; Ctrl-C forecasts from the events so far."])
    end = time.monotonic() + length
    with end_signals() as end_signal:
        while (left := end - time.monotonic()) > 0:
            with cluster.sampled():  # processes the received events
                pass
            if end_signal.wait(min(left, _SAMPLE_SECONDS)):
                return
