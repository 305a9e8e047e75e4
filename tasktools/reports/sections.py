"""The sections of a report, in the order of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import pandas as pd

from tasktools import figures
from tasktools.core.escaping import shortened
from tasktools.core.frames import export
from tasktools.core.frames.cell_text import as_json
from tasktools.core.plurals import counted
from tasktools.core.timespans import in_words
from tasktools.figures.series import MAX_LINES
from tasktools.reports.axes import TimeAxis
from tasktools.reports.chart import chart, has_themes
from tasktools.reports.comparison import MEASURES, Compared, compared
from tasktools.reports.contents import MAX_FAILURES, Contents
from tasktools.reports.drawing import Backdrop
from tasktools.reports.embedded import Embedded, embedded
from tasktools.reports.html import Child, Html, fragment, lines, tag
from tasktools.reports.tables import MAX_CELL_CHARS, facts, scrolled, table, words
from tasktools.reports.timeline_chart import timeline_chart
from tasktools.reports.verdicts import affected_topics, main_cause, verdicts

_MAX_GROUPS: Final = 12
_MAX_ROWS: Final = 200
_FEW_ENTRIES: Final = 12
_MAX_EXAMPLE_CHARS: Final = 2_000
_WORKERS: Final = {
    "worker_id": "worker",
    "role": "role",
    "tasktools": "of tasktools",
    "host": "host",
    "state": "state",
    "running": "running",
    "capacity": "capacity",
    "started_at": "started (UTC)",
    "silence": "silence",
    "clock_offset": "clock",
    "succeeded": "succeeded since start",
    "failed": "failed since start",
}
_TOPICS: Final = {
    "topic": "topic",
    "queued": "ready",
    "unacked": "unacked",
    "running": "running",
    "dead_letter": "dead letters",
    "consumers": "consumers",
    "subscribers": "subscribers",
    "concurrency_limit": "limit",
    "succeeded": "succeeded since start",
    "failed": "failed since start",
    "queue_type": "type",
}
_GAPS: Final = {"since": "since (UTC)", "until": "until (UTC)", "what": "missing", "why": "why"}
_TIMELINE: Final = {
    "at": "UTC",
    "until": "until",
    "kind": "kind",
    "subject": "subject",
    "sentence": "what happened",
}
_OF_TOPICS: Final = (
    ("queue_depth", "queue_depth", "Queue depth"),
    ("throughput", "throughput", "Throughput"),
    ("service_time", "service_time", "Service time"),
)
_FIGURES: Final = (
    *_OF_TOPICS,
    ("utilisation", "utilisation", "Utilisation of the cluster"),
    ("utilisation", "utilisation_by_worker", "Utilisation of each worker"),
    ("failures", "failures", "Failures"),
    ("dead_letters", "queue_depth", "Dead letters"),
)
"""The function of `tasktools.figures`, its frame, and the title."""
_RECOMPUTE: Final = """import pandas as pd

depth = pd.read_csv("queue_depth.csv.gz", parse_dates=["at"])
depth.groupby("at")["queued"].sum(min_count=1)  # messages ready, all topics together"""


class Section(msgspec.Struct, frozen=True):
    """A section of the page; *name* is its anchor."""

    name: str
    title: str
    content: Html


def all_of(contents: Contents) -> Iterator[Section]:
    """Yield all sections of a report of *contents*."""
    cause = main_cause(contents.frames["findings"])
    split = None if cause is None or export.is_missing(cause["since"]) else cause["since"]
    axis = TimeAxis(contents.first or contents.since, contents.until)
    backdrop = Backdrop(axis, tuple(contents.blind), split)
    yield Section("cause", "Cause", verdicts(contents.frames["findings"], contents.until))
    if split is not None and axis.has(split):
        topic = cause["subject"] if cause is not None and cause["subject_kind"] == "topic" else None
        yield Section("numbers", "Before and after", _comparison(contents, split, topic))
    yield Section("timeline", "Timeline", _timeline(contents, backdrop))
    yield Section("figures", "Figures", _figures(contents, backdrop))
    yield Section("failures", "Failures", _failures(contents))
    yield Section("cluster", "Cluster", _cluster(contents))
    yield Section("gaps", "What is not known", _gaps(contents))
    yield Section("data", "Data", _data(contents))


def _comparison(contents: Contents, split: pd.Timestamp, topic: str | None) -> Html:
    scopes = {"cluster": compared(contents.frames, split)}
    if topic is not None:
        scopes[f"topic {topic}"] = compared(contents.frames, split, topic)
    sides = ("before", "after", "at the end")
    over = (tag("th", scope, scope="colgroup", colspan=len(sides)) for scope in scopes)
    head = (tag("th", side, scope="col", class_="number") for _ in scopes for side in sides)
    body = (
        tag(
            "tr",
            tag("th", measure, scope="row"),
            (
                tag("td", words(value), class_="number")
                for values in scopes.values()
                for value in msgspec.structs.astuple(values.get(measure, Compared()))
            ),
        )
        for measure in MEASURES
    )
    whole = tag(
        "table",
        tag("thead", tag("tr", tag("td"), over), tag("tr", tag("td"), head)),
        tag("tbody", body),
    )
    how = (
        f"Medians of intervals of {in_words(contents.every)} before and after "
        f"{words(split)} UTC, when the cause began."
    )
    return fragment(tag("p", how, class_="note"), scrolled(whole, "before and after"))


def _timeline(contents: Contents, backdrop: Backdrop) -> Html:
    frame = contents.frames["timeline"]
    if frame.empty:
        return tag("p", "Nothing is known to have happened in this time.", class_="note")
    drawn = frame[frame["until"].isna() | (frame["until"] > backdrop.axis.since)].copy()
    drawn.attrs["window"] = {"since": backdrop.axis.since, "until": backdrop.axis.until}
    return fragment(
        timeline_chart(figures.timeline(drawn), "Timeline", backdrop),
        tag(
            "details",
            tag("summary", counted(len(frame), "event")),
            table(_TIMELINE, frame, most=_MAX_ROWS, label="timeline"),
            open=len(frame) <= _FEW_ENTRIES,
        ),
    )


def _figures(contents: Contents, backdrop: Backdrop) -> Html:
    how = (
        f"Intervals of {in_words(contents.every)}. Grey: nothing was recorded. Of many topics the "
        "8 busiest are shown. Point at a figure, or select it and use the arrow keys, for the "
        "values at a time."
    )
    drawn = [*_figures_of_affected(contents, backdrop)]
    drawn += [
        _drawn(name, contents.frames[frame], title, backdrop) for name, frame, title in _FIGURES
    ]
    return fragment(tag("p", how, class_="note"), drawn)


def _figures_of_affected(contents: Contents, backdrop: Backdrop) -> Iterator[Html]:
    """Yield figures of the topics with findings, if the figures of all topics do not show them."""
    depth = contents.frames["queue_depth"]["topic"]
    affected = affected_topics(contents.frames["findings"])[:MAX_LINES]
    if depth.nunique() > MAX_LINES and depth.isin(affected).any():
        for name, of, title in _OF_TOPICS:
            frame = contents.frames[of]
            only = frame[frame["topic"].isin(affected)]
            yield _drawn(name, only, f"{title} of the topics in question", backdrop)


def _drawn(name: str, frame: pd.DataFrame, title: str, backdrop: Backdrop) -> Html:
    draw = getattr(figures, name)
    light = draw(frame)
    return chart(
        light, title, backdrop, dark=draw(frame, theme="dark") if has_themes(light) else None
    )


def _failures(contents: Contents) -> Html:
    groups = contents.frames["failure_groups"]
    if groups.empty:
        return tag("p", _no_failures(contents), class_="note")
    examples = {words(row["fingerprint"]): row for row in export.records(contents.examples)}
    cards: list[Html] = []
    for group in export.records(groups.head(_MAX_GROUPS)):
        name = words(group["group"])
        when = f" {group['share']:.0%}, {words(group['first'])} to {words(group['last'])} UTC"
        title = tag(
            "summary",
            tag("strong", f"{group['count']:,} ×"),
            tag("span", shortened(name, MAX_CELL_CHARS)),
            tag("span", when, class_="note"),
        )
        example = examples.get(name)
        shown = [_example(example)] if example else []
        cards.append(tag("details", title, shown, open=not cards))
    rest = len(groups) - _MAX_GROUPS
    more = [tag("p", f"and {counted(rest, 'smaller group')}, in the data below", class_="note")]
    return fragment(cards, more if rest > 0 else [])


def _no_failures(contents: Contents) -> str:
    """Return a sentence that no failure was received, and how many failures workers have
    counted."""
    counted_ones = contents.frames["workers"]["failed"].sum()
    text = "No failure was received in the time that is known."
    if counted_ones:
        text += f" The {counted_ones:,} that workers count are of all the time since they started."
    return text


def _example(row: dict[str, object]) -> Html:
    """Return the latest failure of a group."""
    known: list[tuple[str, Child]] = [
        (title, words(row[name], name))
        for title, name in (
            ("task", "task_name"),
            ("topic", "topic"),
            ("worker", "worker_id"),
            ("failed at (UTC)", "failed_at"),
            ("took", "duration"),
            ("earlier attempts", "attempts"),
            ("succeeded later", "recovered"),
        )
        if not export.is_missing(row[name])
    ]
    known += [
        (name, tag("code", shortened(as_json(row[name]), _MAX_EXAMPLE_CHARS)))
        for name in ("args", "kwargs")
        if isinstance(row[name], list | dict) and row[name]
    ]
    error = "no error was reported" if export.is_missing(row["error"]) else str(row["error"])
    return fragment(facts(known), tag("pre", lines(shortened(error, _MAX_EXAMPLE_CHARS))))


def _cluster(contents: Contents) -> Html:
    workers, topics = contents.frames["workers"], contents.frames["topics"]
    return fragment(
        facts((name, text) for name, text in contents.versions),
        tag(
            "details",
            tag("summary", counted(len(workers), "worker")),
            table(_WORKERS, workers, most=_MAX_ROWS, label="workers"),
            open=len(workers) <= 20,
        ),
        tag(
            "details",
            tag("summary", counted(len(topics), "topic")),
            table(_TOPICS, topics, most=_MAX_ROWS, label="topics"),
            open=len(topics) <= 20,
        ),
    )


def _gaps(contents: Contents) -> Html:
    gaps = contents.frames["gaps"]
    none = tag("p", "There are no gaps in the data of this time.", class_="note")
    notes = [tag("ul", (tag("li", note) for note in contents.notes))] if contents.notes else []
    return fragment(none if gaps.empty else table(_GAPS, gaps, most=_MAX_ROWS, label="gaps"), notes)


def _data(contents: Contents) -> Html:
    how = (
        "All numbers of this report are from these frames. Each is a CSV, compressed by gzip; its "
        "SHA-256 is that of the CSV (gunzip -c FILE | sha256sum). Secrets are masked in them, too."
    )
    only = f"Of failures, the latest {MAX_FAILURES:,} are here; the groups count all."
    rows = (_embedded(embedded(name, frame)) for name, frame in contents.frames.items())
    head = ("frame", "rows", "bytes", "SHA-256 of the CSV", "save")
    whole = tag(
        "table",
        tag("thead", tag("tr", (tag("th", text, scope="col") for text in head))),
        tag("tbody", rows),
    )
    check = tag("button", "Check the SHA-256", type="button", id="check", hidden=True)
    return fragment(
        tag("p", how),
        [tag("p", only, class_="note")] if len(contents.frames["failures"]) >= MAX_FAILURES else [],
        scrolled(whole, "embedded frames"),
        tag("p", check, tag("output", id="checked")),
        tag("pre", tag("code", lines(_RECOMPUTE))),
    )


def _embedded(frame: Embedded) -> Html:
    link = tag("a", "csv.gz", href=frame.url, download=f"{frame.name}.csv.gz")
    save = tag("button", "csv", type="button", class_="save", hidden=True)
    return tag(
        "tr",
        tag("th", frame.name, scope="row"),
        tag("td", f"{frame.rows:,}", class_="number"),
        tag("td", f"{frame.size:,}", class_="number"),
        tag("td", tag("code", frame.sha256)),
        tag("td", link, " ", save),
        class_="frame",
        data_name=frame.name,
        data_sha256=frame.sha256,
    )
