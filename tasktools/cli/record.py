"""``tasktools record``: record the state of a cluster and its events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access
from tasktools.cli.end_signal import EndSignal, end_signals
from tasktools.cli.time_options import span
from tasktools.core.errors import RecordingError
from tasktools.core.timespans import in_words
from tasktools.history import extent
from tasktools.history.recorder import Recorder
from tasktools.history.retention import Retention
from tasktools.history.series import Window

_POLL_SECONDS: Final = 0.2
_DEFAULTS: Final = Retention()
_MEGABYTE: Final = 1024**2


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--every",
    default="5s",
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="How often topics and workers are sampled.",
)
@click.option(
    "--for",
    "length",
    callback=span,
    metavar="SPAN",
    help="How long; without it until Ctrl-C, SIGTERM or SIGHUP.",
)
@click.option(
    "--messages",
    is_flag=True,
    help="Note what is published: from a copy of every message, which costs throughput, "
    "and meanwhile publishers get no error for unroutable ones.",
)
@click.option(
    "--bodies",
    is_flag=True,
    help="Keep published messages as they are, so that failed tasks can be replayed; of Celery, "
    "the arguments of all tasks that its workers report.",
)
@click.option(
    "--keep",
    default=_DEFAULTS.samples,
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="For how long samples are kept.",
)
@click.option(
    "--keep-events",
    default=_DEFAULTS.events,
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="For how long events are kept.",
)
@click.option(
    "--keep-messages",
    default=_DEFAULTS.messages,
    show_default=True,
    callback=span,
    metavar="SPAN",
    help="For how long messages are kept.",
)
@click.option(
    "--max-size",
    type=click.IntRange(1),
    default=_DEFAULTS.size // _MEGABYTE,
    show_default=True,
    metavar="MB",
    help="How large the file may become.",
)
@with_access
def record(  # noqa: PLR0913 - one an option
    access: Access,
    *,
    file: Path,
    every: float,
    length: float | None,
    messages: bool,
    bodies: bool,
    keep: float,
    keep_events: float,
    keep_messages: float,
    max_size: int,
) -> None:
    """Record the cluster into FILE, which --dsn sqlite:///FILE shows, also while it is written.

    A FILE that is a recording already is continued. A problem is printed, and recording continues
    by itself when the problem is over; the recording then has a gap. Exits with 1 if there is a
    problem at the end.
    """
    retention = Retention(
        samples=keep, events=keep_events, messages=keep_messages, size=max_size * _MEGABYTE
    )
    began = time.time()
    with access.cluster() as cluster, end_signals() as end_signal:
        recorder = cluster.record(
            file, every=every, messages=messages, bodies=bodies, retention=retention
        )
        with recorder:
            where = render.harmless(f"{cluster.broker.address} into {file}")
            output.remark([f"Recording {where} every {in_words(every)}; Ctrl-C ends it."])
            _until_end_signal(recorder, end_signal, length, file)
            output.refresh("")
    output.write(f"{recorder.ticks:,} ticks{_size(file)}")
    output.remark(_gaps(recorder, began))
    if recorder.problem is not None:
        raise click.ClickException(render.harmless(recorder.problem))


def _size(file: Path) -> str:
    try:
        return f"; the file has {file.stat().st_size / _MEGABYTE:,.1f} MB"
    except OSError:  # the file was moved
        return ""


def _gaps(recorder: Recorder, began: float) -> list[str]:
    """Return a note of what could not be recorded since *began*; nothing if there are no gaps."""
    window = Window(since=int(1000 * began), until=int(1000 * time.time()))
    try:
        with recorder.recording.read() as connection:
            gaps = extent.of_gaps(connection, window)
    except RecordingError:  # the file was moved, which is said elsewhere
        return []
    return [] if gaps == extent.WITHOUT_GAPS else [f"note: {render.harmless(gaps)}"]


def _until_end_signal(
    recorder: Recorder, end_signal: EndSignal, length: float | None, file: Path
) -> None:
    """Wait for the end signal; meanwhile print problems and, on a terminal, the progress."""
    began = time.monotonic()
    end = None if length is None else began + length
    last_shown: str | None = None
    while not end_signal.wait(_POLL_SECONDS) and not recorder.is_stopped:
        if recorder.problem != last_shown:
            last_shown = recorder.problem
            output.refresh("")
            output.remark([render.harmless(last_shown or "It continues.")])
        lasted = in_words(time.monotonic() - began)
        output.refresh(f"{recorder.ticks:,} ticks in {lasted}{_size(file)}")
        if end is not None and time.monotonic() >= end:
            return
