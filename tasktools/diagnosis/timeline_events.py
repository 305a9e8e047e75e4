"""Entries of a timeline that are not of workers: failures, locks, settings, runs, marks, gaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from tasktools.core import events
from tasktools.core.fingerprints import fingerprint
from tasktools.core.models import TopicSettings
from tasktools.core.plurals import counted
from tasktools.core.server_facts import BLOCKS_PUBLISHERS
from tasktools.core.timespans import in_words
from tasktools.diagnosis.timeline_entry import Entry, clock
from tasktools.history.changes import QUIET, Changes, Failed, Hold
from tasktools.history.identity import who

MAX_EPISODES: Final = 200
"""Episodes of failures that are listed, those with the most failures."""
_MANY_FAILURES: Final = 10
_LONG_HOLD: Final = 300.0  # seconds, as that is how long a peer's lock lives
_IN_MEMORY: Final = ("memory://", "demo://")
_UNKNOWN_ERROR: Final = "an error without a name"
_ALL: Final = "all topics"
_MISSING: Final = {"all": "nothing was recorded", "samples": "the cluster was not sampled"}

Masked = Callable[[str], str]
"""Return a text with its secrets masked."""


# --- failures ----------------------------------------------------------------------------


def failure_entries(changes: Changes, masked: Masked) -> Iterator[Entry]:
    """Yield the episodes in which failures of one fingerprint came in a topic.

    An episode ends with the last failure before 5 minutes without one.
    """
    fingerprints: dict[tuple[str | None, str | None], str] = {}
    by_kind: defaultdict[tuple[str, str], list[Failed]] = defaultdict(list)
    for failed in changes.failures:
        key = failed.error_type, failed.error
        if key not in fingerprints:
            texts = (text and masked(text) for text in key)
            fingerprints[key] = fingerprint(*texts) or _UNKNOWN_ERROR
        by_kind[failed.topic or "", fingerprints[key]].append(failed)
    for (topic, name), failures in by_kind.items():
        begin = 0
        for place in range(1, len(failures) + 1):
            if place < len(failures) and failures[place].at - failures[place - 1].at <= QUIET:
                continue
            yield from _episode(changes, topic, name, failures[begin:place])
            begin = place


def _episode(
    changes: Changes, topic: str, name: str, failures: Sequence[Failed]
) -> Iterator[Entry]:
    within = [failed for failed in failures if failed.at >= changes.since]
    if not within:
        return
    began_before = len(within) < len(failures)
    first, last = changes.since if began_before else within[0].at, within[-1].at
    end = changes.until if changes.last is None else min(changes.last, changes.until)
    lasts = end - last < QUIET
    where = f" in {topic}" if topic else ""
    count = counted(len(within), "failure")
    begin = "from before " if began_before else "" if len(within) == 1 else "from "
    until = "" if len(within) == 1 and not began_before else f" to {clock(last)}"
    more = ", and may continue" if lasts else ""
    yield Entry(
        at=first,
        until=None if lasts else last,
        lasts=lasts,
        kind="failures",
        subject_kind="topic",
        subject=topic or _ALL,
        event="failing",
        sentence=f"{count}{where} {begin or 'at '}{clock(first)}{until}{more}: {name}",
        severity="suspect" if len(within) < _MANY_FAILURES else "warning",
        source="events",
        details={
            "fingerprint": name,
            "count": len(within),
            "began_before": began_before,
            "last": clock(last),
            "workers": len({failed.worker_id for failed in within} - {None}),
        },
    )


def most(episodes: Sequence[Entry]) -> tuple[list[Entry], int]:
    """Return the `MAX_EPISODES` with the most failures, and how many are left out."""
    ranked = sorted(episodes, key=lambda entry: entry.details["count"], reverse=True)
    return ranked[:MAX_EPISODES], len(ranked[MAX_EPISODES:])


# --- locks -------------------------------------------------------------------------------


def lock_entries(
    changes: Changes, absences: Mapping[str, Sequence[tuple[float, float]]]
) -> Iterator[Entry]:
    """Yield locks that were held for at least 5 minutes, or whose holder was gone."""
    for hold in changes.holds:
        until = changes.until if hold.released is None else hold.released
        orphaned_at = _orphaned_at(hold, until, absences.get(hold.worker_id or "", ()))
        span = until - hold.acquired
        if orphaned_at is None and span < _LONG_HOLD:
            continue
        holder = f" by {hold.worker_id}" if hold.worker_id else ""
        holder += "" if orphaned_at is None else f", gone since {clock(orphaned_at)},"
        verb = "is held" if hold.released is None else "was held"
        sentence = f"lock {hold.lock} {verb}{holder} for {in_words(span)}"
        yield Entry(
            at=hold.acquired,
            until=hold.released,
            lasts=hold.released is None,
            kind="lock",
            subject_kind="lock",
            subject=hold.lock,
            event="held" if orphaned_at is None else "orphaned",
            sentence=sentence,
            severity="suspect" if orphaned_at is None else "warning",
            source="events",
            details={"worker_id": hold.worker_id, "task_id": hold.task_id},
        )


def _orphaned_at(hold: Hold, until: float, absences: Sequence[tuple[float, float]]) -> float | None:
    """Return when the holder disappeared while it held the lock."""
    return next((at for at, end in absences if hold.acquired <= at < until and end > at), None)


# --- settings and commands ---------------------------------------------------------------


def settings_entries(changes: Changes) -> Iterator[Entry]:
    """Yield changes of topics' settings, stored on the broker or only announced."""
    stored = [(at, by_topic, "samples") for at, by_topic in changes.settings]
    told_to_all = [
        (event.at, {event.topic: events.settings_from(event.detail.get("config"))}, "events")
        for event in changes.events
        if event.event == "config_update" and event.topic is not None
    ]
    known: dict[str, dict[str, Any]] = {
        topic: events.settings_json(settings) for topic, settings in changes.settings_before.items()
    }
    usual = events.settings_json(TopicSettings())
    is_first = True
    for at, by_topic, source in sorted([*stored, *told_to_all], key=lambda each: each[0]):
        for topic, settings in by_topic.items():
            after, before = events.settings_json(settings), known.get(topic)
            known[topic] = after
            is_base = source == "samples" and is_first  # what was stored when somebody looked
            if at >= changes.since and not is_base and after != (before or usual):
                yield _settings_entry(at, topic, before, after, source)
        is_first &= source != "samples"


def _settings_entry(
    at: float, topic: str, before: Mapping[str, Any] | None, after: Mapping[str, Any], source: str
) -> Entry:
    changed = [name for name in after if before is None or before.get(name) != after[name]]
    shown = (
        f"{name.replace('_', ' ')} {_from(name, before)}{_word(after[name])}"
        for name in changed
        if before is not None or after[name] is not None
    )
    return Entry(
        at=at,
        kind="settings",
        subject_kind="topic",
        subject=topic,
        event="changed" if before is not None else "set",
        sentence=f"settings of {topic}: {', '.join(shown)}",
        source=source,
        details={"before": None if before is None else dict(before), "after": dict(after)},
    )


def _from(name: str, before: Mapping[str, Any] | None) -> str:
    return "" if before is None else f"{_word(before.get(name))} → "


def _word(setting: object) -> str:
    return "none" if setting is None else str(setting)


def command_entries(changes: Changes) -> Iterator[Entry]:
    """Yield operators' commands to workers, and locks that operators released."""
    for event in changes.events:
        if not event.event.endswith("_command"):
            continue
        action = str(event.detail.get("action") or "?")
        params = event.detail.get("params")
        words = [str(value) for value in params.values()] if isinstance(params, dict) else []
        target = event.worker_id or "all"
        yield Entry(
            at=event.at,
            kind="command",
            subject_kind="worker" if event.worker_id else "cluster",
            subject=target,
            event=action,
            sentence=f"command to {target}: {' '.join([action.replace('_', ' '), *words])}",
            source="events",
            details={"params": params, "sender_id": event.sender_id},
        )


# --- runs, marks and gaps ----------------------------------------------------------------


def mark_entries(marks: pd.DataFrame) -> Iterator[Entry]:
    """Yield the marks of a frame of `Cluster.marks`."""
    for at, text, author in zip(marks["at"], marks["text"], marks["who"], strict=True):
        yield Entry(
            at=at.timestamp(),
            kind="mark",
            subject_kind="cluster",
            subject="cluster",
            event="mark",
            sentence=text,
            source="marks",
            details={"who": None if pd.isna(author) else author},
        )


def run_entries(runs: pd.DataFrame, changes: Changes, masked: Masked) -> Iterator[Entry]:
    """Yield the runs of plans on this cluster of a frame of `ledger`."""
    for run in runs.to_dict("records"):
        at, ended = run["started_at"].timestamp(), run["ended_at"]
        until = None if pd.isna(ended) else ended.timestamp()
        is_within = at < changes.until and (changes.since <= at or (until or at) >= changes.since)
        if run["cluster"] not in changes.clusters or not is_within or _is_of_another(run):
            continue
        to = "" if pd.isna(run["to"]) else f" to {run['to']}"
        outcomes = ", ".join(f"{count:,} {name}" for name, count in run["outcomes"].items())
        how = "not ended: it still runs, or its process died" if until is None else run["ended"]
        reason = "" if pd.isna(run["reason"]) else f" ({masked(run['reason'])})"
        yield Entry(
            at=at,
            until=until,
            lasts=until is None,
            kind="run",
            subject_kind="queue",
            subject=str(run["source"]),
            event=run["verb"],
            sentence=f"{run['verb']} from {run['source']}{to}: {outcomes}; {how}{reason}",
            source="ledger",
            details={"run": int(run["run"]), "who": run["who"], "done": int(run["done"])},
        )


def _is_of_another(run: Mapping[Any, Any]) -> bool:
    """Whether a run was of a cluster in the memory of another process, with the same address."""
    return str(run["cluster"]).startswith(_IN_MEMORY) and str(run["who"]) != who()


def gap_entries(gaps: pd.DataFrame, changes: Changes) -> Iterator[Entry]:
    """Yield the gaps of a frame of `Cluster.gaps`, and the time before and after the recording.

    A gap of events because of an alarm is an alarm too: RabbitMQ took no events from workers.
    """
    yield from _outside(changes)
    for gap in gaps.to_dict("records"):
        at, until, what, why = gap["since"], gap["until"], gap["what"], str(gap["why"])
        sentence = f"{_MISSING.get(what, f'{what} are missing')}: {why}"
        shared: dict[str, Any] = {
            "at": at.timestamp(),
            "until": until.timestamp(),
            "details": {"what": what, "why": why},
            "source": "recorder",
        }
        yield Entry(
            kind="gap",
            subject_kind="cluster",
            subject="cluster",
            event=what,
            sentence=sentence,
            **shared,
        )
        if BLOCKS_PUBLISHERS in why:
            yield Entry(
                kind="alarm",
                subject_kind="node",
                subject="broker",
                event="alarm",
                sentence=why[why.index(BLOCKS_PUBLISHERS) :],
                severity="critical",
                **shared,
            )


def _outside(changes: Changes) -> Iterator[Entry]:
    """Yield the parts of the interval before the first tick and after the last."""
    margin = 2 * changes.every
    spans = []
    if not changes.has_earlier:
        begin = changes.until if changes.heard_from is None else changes.heard_from
        first = begin if changes.first is None else changes.first
        spans += [("all", changes.since, begin), ("samples", begin, first)]
    if not changes.has_later and (changes.has_earlier or changes.last is not None):
        last = changes.since if changes.last is None else changes.last
        spans.append(("all", last, changes.until))
    for what, since, until in spans:
        if until - since > margin:
            yield Entry(
                at=since,
                until=until,
                kind="gap",
                subject_kind="cluster",
                subject="cluster",
                event=what,
                sentence=f"{_MISSING[what]} from {clock(since)} to {clock(until)}",
                source="recorder",
                details={"what": what, "why": "no recorder had begun, or it had ended"},
            )
