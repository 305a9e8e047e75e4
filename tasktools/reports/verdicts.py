"""Verdicts of a diagnosis on a page: causes with their symptoms, and what was ruled out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pandas as pd

from tasktools.core.frames import export
from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.plurals import counted
from tasktools.reports.html import Child, Html, fragment, tag
from tasktools.reports.tables import facts, words

Row = Mapping[str, Any]
_OPEN_CAUSES: Final = 1
"""Causes that are shown whole; the others are folded."""


class Cause(msgspec.Struct, frozen=True):
    """A finding without a cause, with the findings that it explains."""

    row: Row
    symptoms: Sequence[Row]


def causes(findings: pd.DataFrame, verdict: str) -> list[Cause]:
    """Return the rows with *verdict* as causes and their symptoms, the best explanation first."""
    rows = list(export.records(findings[findings["verdict"] == verdict]))
    by_key = {_key(row): row for row in rows}
    below: dict[str, list[Row]] = {}
    tops = []
    for row in rows:
        top = _top(row, by_key)
        if top == _key(row):
            tops.append(row)
        else:
            below.setdefault(top, []).append(row)
    return [Cause(row, below.get(_key(row), [])) for row in tops]


def main_cause(findings: pd.DataFrame) -> Row | None:
    """Return the best explanation: the first finding, else the first suspicion."""
    for verdict in PROBLEMS:
        for cause in causes(findings, verdict):
            return cause.row
    return None


def affected_topics(findings: pd.DataFrame) -> list[str]:
    """Return the topics that were found, or are suspected, to have a problem, the worst first."""
    is_seen = findings["verdict"].isin(PROBLEMS)
    topics = findings.loc[is_seen & (findings["subject_kind"] == "topic"), "subject"]
    return [str(topic) for topic in topics.dropna().unique()]


def verdicts(findings: pd.DataFrame, until: pd.Timestamp) -> Html:
    """Return all of *findings*: causes, suspicions, and, folded, the checks without a finding."""
    certain, suspected = causes(findings, "found"), causes(findings, "suspected")
    every = [*certain, *suspected]
    return fragment(
        _none_found(suspected, findings.attrs.get("left_behind")) if not certain else [],
        (_card(cause, until) for cause in every[:_OPEN_CAUSES]),
        (_folded_card(cause, until) for cause in every[_OPEN_CAUSES:]),
        _checks(findings, "ruled out", "ruled out"),
        _checks(findings, "cannot tell", "without a verdict"),
    )


def subject(row: Row) -> str:
    """Return the subject of *row*, as ``topic emails``."""
    names = [row["subject_kind"], row["subject"]]
    return " ".join(str(name) for name in names if not export.is_missing(name))


def _key(row: Row) -> str:
    return f"{row['check']}:{row['subject']}"


def _top(row: Row, by_key: Mapping[str, Row]) -> str:
    """Return the key of the cause at the end of the chain from *row*."""
    seen = {key := _key(row)}
    while not export.is_missing(row["because"]) and row["because"] in by_key:
        key = row["because"]
        if key in seen:  # a circle: each explains the other
            break
        seen.add(key)
        row = by_key[key]
    return key


def _none_found(suspected: Sequence[Cause], left_behind: str | None) -> Html:
    rest = f", but {left_behind}" if left_behind else ""
    rest += "; what is suspected follows" if suspected else ""
    return tag("p", words(f"No cause was found{rest}."), class_="headline")


def _card(cause: Cause, until: pd.Timestamp) -> Html:
    severity = words(cause.row["severity"])
    return tag(
        "article",
        _badges(cause.row, until),
        tag("h3", words(cause.row["finding"]), class_="headline"),
        _details(cause, until),
        class_=f"finding {severity}",
    )


def _folded_card(cause: Cause, until: pd.Timestamp) -> Html:
    severity = words(cause.row["severity"])
    finding = tag("span", words(cause.row["finding"]))
    summary = tag("summary", _badges(cause.row, until), finding)
    return tag("details", summary, _details(cause, until), class_=f"finding {severity}")


def _badges(row: Row, until: pd.Timestamp) -> Html:
    severity = words(row["severity"])
    parts: list[Child] = [tag("span", severity, class_=f"badge {severity}"), f" {row['check']}"]
    if subject(row):
        parts += [f" · {subject(row)}"]
    if not export.is_missing(row["since"]):
        since = row["since"]
        when = f"{since:%H:%M:%S}" if since.date() == until.date() else words(since)
        parts += [f" · since {when} UTC, {words(until - since)} before the end"]
    return tag("span", *parts, class_="badges")


def _details(cause: Cause, until: pd.Timestamp) -> Html:
    row = cause.row
    return fragment(
        facts(_facts(row)),
        _remedy(row),
        _symptoms(cause, until),
    )


def _facts(row: Row) -> Iterator[tuple[str, Child]]:
    for name, title in (("evidence", "evidence"), ("against", "against it")):
        if row[name]:
            yield title, [tag("span", f"{key}: {words(item)}") for key, item in row[name].items()]
    if not export.is_missing(row["effect"]):
        yield "effect", f"a new task waits for {words(row['effect'])}"
    if row["changed"]:
        yield "changed shortly before", [tag("span", change) for change in row["changed"]]


def _remedy(row: Row) -> Html:
    parts: list[Child] = []
    if not export.is_missing(row["remedy"]):
        parts.append(tag("p", tag("strong", "What helps: "), words(row["remedy"])))
    if not export.is_missing(row["call"]):
        parts.append(tag("pre", tag("code", words(row["call"]))))
    return fragment(*parts)


def _symptoms(cause: Cause, until: pd.Timestamp) -> Html:
    if not cause.symptoms:
        return Html()
    items = (tag("li", _badges(row, until), " ", words(row["finding"])) for row in cause.symptoms)
    title = f"It explains {counted(len(cause.symptoms), 'other finding')}"
    return tag("details", tag("summary", title), tag("ul", items), open=True)


def _checks(findings: pd.DataFrame, verdict: str, words_of_it: str) -> Html:
    rows = list(export.records(findings[findings["verdict"] == verdict]))
    if not rows:
        return Html()
    items = (tag("li", tag("code", row["check"]), " ", words(row["finding"])) for row in rows)
    title = f"{counted(len(rows), 'check')}: {words_of_it}"
    return tag("details", tag("summary", title), tag("ul", items), class_="checks")
