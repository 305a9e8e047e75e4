"""The contents of a report: frames over one span of time, gathered once, with secrets masked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

import pandas as pd

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.frames.failure_groups import failure_groups
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.timespans import Moment, epoch, interval
from tasktools.diagnosis.diagnose import diagnose
from tasktools.diagnosis.timeline import timeline
from tasktools.reports.masking import Mask

_MAX_INTERVALS, _MIN_INTERVALS = 240, 48
_MAX_ROWS: Final = 30_000
"""About so many rows a frame over time may have; with more names, its intervals are longer."""
_SAMPLES_PER_INTERVAL: Final = 2
"""At least so many: else an interval would be empty if a sample comes a bit late."""
MAX_FAILURES: Final = 10_000
"""So many failures, the latest ones, are embedded; they are counted in groups before."""
_FAILURE_COLUMNS: Final = (
    *("failed_at", "topic", "task_name", "task_id", "worker_id", "duration", "recovered"),
    *("attempts", "error_type", "error", "fingerprint"),
)
_GAP_REASONS: Final = ("all", "samples")


class Contents(MaskedStruct, frozen=True, kw_only=True):
    """The contents of a report of the time from *since* to *until* (UTC).

    *first* is the first moment with data, if there is any. *cluster* names the cluster, *extent*
    says what of the time is recorded. *frames* are in the order of the page; those over time have a
    row for each interval of *every* seconds. *examples* has the latest failure of each group, with
    its arguments.
    """

    since: pd.Timestamp
    until: pd.Timestamp
    first: pd.Timestamp | None
    every: float
    cluster: str
    extent: str
    demo: bool
    versions: tuple[tuple[str, str], ...]
    frames: Mapping[str, pd.DataFrame]
    examples: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def blind(self) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
        """The times in which nothing was sampled."""
        gaps = self.frames["gaps"]
        gaps = gaps[gaps["what"].isin(_GAP_REASONS)]
        return list(zip(gaps["since"], gaps["until"], strict=True))


def gather(cluster: Cluster, since: Moment, until: Moment | None) -> Contents:
    """Return the contents of a report on *cluster*. No queue is looked into."""
    begin, end = _time_range(cluster, since, until)
    at = end if cluster.is_recorded else None  # a live cluster shows only the present
    findings = diagnose(cluster, at=at)
    topics, workers = cluster.topics(at=at), cluster.workers(at=at)
    load = cluster.utilisation(by="cluster", since=begin, until=end)
    every = _every((end - begin).total_seconds(), load["at"], max(len(topics), len(workers)))
    window: dict[str, Any] = {"since": begin, "until": end}
    by_interval: dict[str, Any] = {**window, "every": every}
    failures = cluster.failures(**window)
    frames = {
        "findings": findings,
        "timeline": timeline(cluster, **window),
        "queue_depth": cluster.queue_depth(**by_interval),
        "utilisation": cluster.utilisation(by="cluster", **by_interval),
        "utilisation_by_worker": cluster.utilisation(by="worker", **by_interval),
        "throughput": cluster.throughput(**by_interval),
        "service_time": cluster.service_time(**by_interval),
        "failure_groups": failure_groups(failures),
        "failures": failures.sort_values("failed_at", kind="stable").tail(MAX_FAILURES),
        "topics": topics,
        "workers": workers,
        "gaps": cluster.gaps(**window),
    }
    examples = frames["failures"].drop_duplicates("fingerprint", keep="last")
    frames["failures"] = frames["failures"][list(_FAILURE_COLUMNS)]
    mask = Mask(cluster.redaction, str(load.attrs["recording"]))
    extent = str(
        load.attrs.get("recorded", "the events that this process received from a live cluster")
    )
    return Contents(
        since=pd.Timestamp(begin),
        until=pd.Timestamp(end),
        first=load["at"].iloc[0] if len(load) else None,
        every=every,
        cluster=mask.text(repr(cluster).strip("<>").removeprefix("Cluster ")),
        extent=mask.text(extent),
        demo=cluster.broker.demo,
        versions=tuple((name, mask.text(text)) for name, text in _versions(cluster)),
        frames={name: mask.frame(frame) for name, frame in frames.items()},
        examples=mask.frame(examples),
        notes=tuple(map(mask.text, _notes(frames.values()))),
    )


def _time_range(cluster: Cluster, since: Moment, until: Moment | None) -> tuple[datetime, datetime]:
    """Return the begin and the end of the report, fixed once, so that all its frames have the
    same."""
    with cluster.sampled() as reader:
        now = reader.until / 1000
    end = now + 0.001 if until is None else epoch(until, now)
    start = epoch(since, end)
    if start >= end:
        raise ValueError(f"since {since!r} is not before until {until!r}; no report was made.")
    return moment(start), moment(end)


def _every(span: float, times: pd.Series[Any], names: int) -> float:
    """Return the length of intervals (s) for so many *names*, sampled at *times*."""
    count = min(max(_MAX_ROWS // max(names, 1), _MIN_INTERVALS), _MAX_INTERVALS)
    steps = times.diff().dt.total_seconds()
    usual = float(steps.quantile(0.95)) if steps.notna().any() else 0.0
    return interval(max(span / count, _SAMPLES_PER_INTERVAL * usual))


def _versions(cluster: Cluster) -> Iterable[tuple[str, str]]:
    """Yield the versions of tasktools and RabbitMQ, and the layout."""
    yield "tasktools", version("tasktools-ops")
    server = cluster.broker.server_version
    yield "RabbitMQ", "not known" if server is None else server
    yield "layout", cluster.broker.layout.name


def _notes(frames: Iterable[pd.DataFrame]) -> list[str]:
    """Return the notes of *frames*, each once, without notes about the extent of the recording."""
    notes = itertools.chain.from_iterable(
        note for frame in frames for note in [frame.attrs.get("notes", [])]
    )
    extents = {frame.attrs.get("recorded") for frame in frames}
    return [note for note in dict.fromkeys(map(str, notes)) if note not in extents]
