"""``tasktools record``: write down what a cluster looks like, and what happens in it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from tasktools.cli import output, show
from tasktools.cli.access import Access, with_access
from tasktools.cli.times import span
from tasktools.ops.recording.keeping import Retention
from tasktools.ops.recording.recorder import Recorder

_LOOK: Final = 0.2
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
    help="How long; without it until Ctrl-C or SIGTERM.",
)
@click.option(
    "--messages",
    is_flag=True,
    help="Note what is published: from a copy of every message, which costs throughput, "
    "and publishers are not told of unroutable ones meanwhile.",
)
@click.option(
    "--bodies",
    is_flag=True,
    help="Keep published messages as they are, so that failed tasks can be replayed.",
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
    """Record the cluster into FILE, which --dsn sqlite:///FILE shows, also meanwhile.

    A FILE that is a recording already is gone on with. What keeps it from recording is said, and
    it goes on by itself; the recording then has a gap. Exits with 1 when it ends in trouble.
    """
    retention = Retention(
        samples=keep, events=keep_events, messages=keep_messages, size=max_size * _MEGABYTE
    )
    with access.cluster() as cluster, _signals() as told:
        recorder = cluster.record(
            file, every=every, messages=messages, bodies=bodies, retention=retention
        )
        with recorder:
            where = show.harmless(f"{cluster.broker.address} into {file}")
            output.remark([f"Recording {where} every {show.span(every)}; Ctrl-C ends it."])
            _until_told(recorder, told, length)
    output.write(f"{recorder.ticks:,} ticks{_size(file)}")
    if recorder.problem is not None:
        raise click.ClickException(show.harmless(recorder.problem))


def _size(file: Path) -> str:
    try:
        return f"; the file has {file.stat().st_size / _MEGABYTE:,.1f} MB"
    except OSError:  # somebody has moved it
        return ""


def _until_told(recorder: Recorder, told: threading.Event, length: float | None) -> None:
    """Wait for the end, and say what is wrong meanwhile."""
    end = None if length is None else time.monotonic() + length
    said: str | None = None
    while not told.wait(_LOOK) and not recorder.is_stopped:
        if recorder.problem != said:
            said = recorder.problem
            output.remark([show.harmless(said or "It goes on.")])
        if end is not None and time.monotonic() >= end:
            return


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Give an event that is set by SIGINT and SIGTERM."""
    told = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    before: dict[int, Any] = {
        number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
