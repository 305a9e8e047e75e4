"""`timeline`: what happened to a cluster, and when, from a recording or from received events."""

from __future__ import annotations

from typing import Final

import pandas as pd

from tasktools.cluster.cluster import Cluster
from tasktools.core.clock import moment
from tasktools.core.errors import LedgerError
from tasktools.core.frames import build
from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.core.plurals import agreeing, counted
from tasktools.core.timespans import Moment
from tasktools.diagnosis import timeline_events, timeline_topics, timeline_workers
from tasktools.diagnosis.timeline_entry import Entry, clock
from tasktools.history.changes import BRIEF_HOLD, Changes

_MAX_RUNS: Final = 1_000
_LONG_GAP: Final = 30.0  # seconds


def timeline(cluster: Cluster, since: Moment = "1h", until: Moment | None = None) -> pd.DataFrame:
    """Return what happened to a cluster, in the order of time.

    Workers that came, stopped or fell silent, states of topics that were in trouble, failures by
    fingerprint, locks that were held for long or whose holder had gone, settings, commands and
    marks of operators, runs of plans from the ledger of this machine, alarms, and the gaps of which
    nothing is known. For a live cluster it covers the events that this process received since the
    first call, an hour at most; a recording has more. Nothing in the cluster is changed, and no
    queue is looked into.

    Parameters
    ----------
    cluster
        The cluster, live or a recording.
    since
        The start: a moment (``"2026-11-24T12:00Z"``) or a span before *until* (``"1h"``).
    until
        The end; by default now, or the end of the recording.

    Returns
    -------
    pandas.DataFrame
        One row an event or a span of time (schema `TIMELINE`). ``attrs["window"]`` has its begin
        and end.

    Raises
    ------
    ValueError
        *since* is not before *until*.
    RecordingError
        The recording cannot be read.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     mark = cluster.mark("deploy 1.4")
    ...     frame = tt.timeline(cluster, since="1h")
    >>> frame.loc[frame["kind"] == "mark", "sentence"].tolist()
    ['deploy 1.4']

    """
    changes = cluster.changes(since=since, until=until)
    begin, end = moment(changes.since), moment(changes.until)
    gaps = cluster.gaps(since=begin, until=end)
    runs, why_no_runs = _runs(cluster)
    masked = cluster.redaction.text
    workers = list(timeline_workers.worker_entries(changes))
    failures, left_out = timeline_events.most(
        list(timeline_events.failure_entries(changes, masked))
    )
    entries = [
        *(each for each in workers if not timeline_workers.was_gone_before(each, changes.since)),
        *failures,
        *_topics(cluster, changes, gaps),
        *timeline_events.lock_entries(changes, timeline_workers.absences(workers)),
        *timeline_events.settings_entries(changes),
        *timeline_events.command_entries(changes),
        *timeline_events.mark_entries(cluster.marks(since=begin, until=end)),
        *([] if runs is None else timeline_events.run_entries(runs, changes, masked)),
        *timeline_events.gap_entries(gaps, changes),
    ]
    entries.sort(key=lambda entry: entry.at)
    frame = build.frame_from(TIMELINE, [entry.row(cluster.redaction) for entry in entries])
    frame.attrs.update(gaps.attrs)
    frame.attrs["window"] = {"since": begin, "until": end}
    frame.attrs["notes"] += _notes(cluster, changes, left_out, why_no_runs)
    return frame


def _topics(cluster: Cluster, changes: Changes, gaps: pd.DataFrame) -> list[Entry]:
    """Return the states of topics, in the part of the time that was recorded."""
    if not changes.topics or changes.first is None or changes.last is None:
        return []
    begin, end = moment(changes.since), moment(changes.until)
    service = cluster.service_time(since=begin, until=end, every=changes.until - changes.since)
    known = service["p95"].fillna(service["p95_at_most"]).dt.total_seconds()
    return list(
        timeline_topics.topic_entries(
            changes.topics,
            known.groupby(service["topic"]).max().dropna().to_dict(),
            changes.since if changes.was_recorded else changes.first,
            min(changes.until, changes.last),
            _spans(gaps, "all", "events"),
            _spans(gaps, "all", "samples", at_least=_LONG_GAP),
        )
    )


def _spans(gaps: pd.DataFrame, *what: str, at_least: float = 0.0) -> list[timeline_topics.Span]:
    """Return the gaps of *what* of at least that length (s)."""
    rows = gaps[gaps["what"].isin(what)]
    spans = [
        (since.timestamp(), until.timestamp())
        for since, until in zip(rows["since"], rows["until"], strict=True)
    ]
    return [(since, until) for since, until in spans if until - since >= at_least]


def _runs(cluster: Cluster) -> tuple[pd.DataFrame | None, str | None]:
    """Return the runs of the ledger, or why they are not known."""
    try:
        ledger = cluster.ledger_file
        return (ledger.runs(_MAX_RUNS), None) if ledger.path.exists() else (None, None)
    except LedgerError as error:
        return None, str(error)


def _notes(cluster: Cluster, changes: Changes, left_out: int, why_no_runs: str | None) -> list[str]:
    notes = []
    if changes.heard_from is not None and not cluster.is_recorded and not changes.was_recorded:
        notes.append(
            f"this process has listened since {clock(changes.heard_from)} UTC; what happened "
            "before is not known; a recording would have it"
        )
    if left_out:
        kinds = f"{counted(left_out, 'kind')} of failures {agreeing(left_out, 'are')}"
        notes.append(f"{kinds} left out, with fewer failures")
    if changes.has_more_failures:
        shown = counted(len(changes.failures), "failure", "are")
        notes.append(f"only the latest {shown} listed; ask for a shorter time to see the others")
    if changes.brief_holds:
        times = counted(changes.brief_holds, "time")
        notes.append(f"{times} a lock was held for under {BRIEF_HOLD:g} s, which is not shown")
    if why_no_runs is not None:
        notes.append(f"runs of plans are not shown: {why_no_runs}")
    return notes
