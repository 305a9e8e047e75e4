"""Findings as lines for the screen: texts only, with secrets masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.plurals import counted
from tasktools.core.redaction import Redaction
from tasktools.core.timespans import in_words
from tasktools.diagnosis.summary import nothing_found


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLine:
    """A finding in words. *key* is ``check:subject``, *cause* the key of the finding that explains
    it, with its *depth* below the first cause; texts are empty where nothing is known.

    *name* is that of the subject as the cluster has it, to look it up; it is not shown.
    """

    key: str
    name: str
    severity: str
    check: str
    subject_kind: str
    subject: str
    finding: str
    since: str
    effect: str
    cause: str
    depth: int
    evidence: tuple[tuple[str, str], ...]
    against: tuple[tuple[str, str], ...]
    changed: tuple[str, ...]
    remedy: str
    call: str
    sources: str

    def as_json(self) -> dict[str, Any]:
        """Return the line for the page."""
        shown = asdict(self)
        del shown["name"]
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingLines:
    """The lines of a diagnosis: findings, suspicions, checks that cannot tell, and checks ruled
    out. *notes* are its sources; *judged_at* is its time. *left_behind* are dead letters that wait
    for a decision."""

    lines: tuple[FindingLine, ...]
    unknown: tuple[str, ...]
    ruled_out: tuple[str, ...]
    notes: tuple[str, ...]
    judged_at: str
    left_behind: str = ""

    @property
    def nothing(self) -> str:
        """The text if there are no lines: nothing was found, or no check could tell."""
        verdicts = ["ruled out"] * len(self.ruled_out) + ["cannot tell"] * len(self.unknown)
        return nothing_found(verdicts, self.left_behind)

    @property
    def summary(self) -> str:
        """One line on all of it."""
        certain = sum(line.severity != "suspect" for line in self.lines)
        suspected = len(self.lines) - certain
        words = [f"{certain} found" if certain else self.nothing]
        words += [f"{suspected} suspected"] if suspected else []
        words += [f"{counted(len(self.ruled_out), 'check')} ruled out"]
        words += [f"{len(self.unknown)} cannot tell"] if self.unknown else []
        return f"{', '.join(words)} ({self.judged_at})"


def finding_lines(frame: pd.DataFrame, redaction: Redaction) -> FindingLines:
    """Return a frame of findings (schema `FINDINGS`) in lines, in its order."""
    rows = [{str(name): row[name] for name in row} for row in frame.to_dict("records")]
    shown = [row for row in rows if row["verdict"] in PROBLEMS]
    keys = _keys(shown, redaction)
    causes = {
        key: keys.get(row["because"], _text(row["because"], redaction))
        for key, row in zip(keys.values(), shown, strict=True)
    }
    lines = zip(keys.values(), shown, strict=True)
    return FindingLines(
        lines=tuple(_line(key, row, causes, redaction) for key, row in lines),
        unknown=_sentences(rows, "cannot tell", redaction),
        ruled_out=_sentences(rows, "ruled out", redaction),
        notes=tuple(_text(note, redaction) for note in frame.attrs.get("notes", ())),
        judged_at=f"{frame.attrs['window']['until']:%H:%M:%S} UTC",
        left_behind=_text(frame.attrs.get("left_behind") or "", redaction),
    )


def _keys(rows: Sequence[Mapping[str, Any]], redaction: Redaction) -> dict[str, str]:
    """Return the keys of *rows* to show: masked, and made unique again."""
    keys: dict[str, str] = {}
    for row in rows:
        key = f"{row['check']}:{row['subject']}"
        shown = _text(key, redaction)
        while shown in keys.values():  # two names that differ only in their secrets
            shown = f"{shown} ({len(keys)})"
        keys[key] = shown
    return keys


def _line(
    key: str, row: Mapping[str, Any], causes: Mapping[str, str], redaction: Redaction
) -> FindingLine:
    def text(name: str) -> str:
        return _text(row[name], redaction)

    return FindingLine(
        key=key,
        name=str(row["subject"]),
        severity=text("severity"),
        check=text("check"),
        subject_kind=text("subject_kind"),
        subject=text("subject"),
        finding=text("finding"),
        since="" if pd.isna(row["since"]) else f"{row['since']:%H:%M:%S}",
        effect=_wait(row["effect"]),
        cause=causes[key],
        depth=_depth(key, causes),
        evidence=_pairs(row["evidence"], redaction),
        against=_pairs(row["against"], redaction),
        changed=tuple(_text(change, redaction) for change in row["changed"]),
        remedy=text("remedy"),
        call=text("call"),
        sources=", ".join(row["needs"]),
    )


def _wait(effect: Any) -> str:
    """Return the wait of a new task in words; "" if it is not known, or none."""
    return in_words(effect.total_seconds()) if pd.notna(effect) and effect else ""


def _depth(key: str, causes: Mapping[str, str]) -> int:
    depth = 0
    while (key := causes.get(key, "")) and depth < len(causes):
        depth += 1
    return depth


def _sentences(
    rows: Sequence[Mapping[str, Any]], verdict: str, redaction: Redaction
) -> tuple[str, ...]:
    return tuple(_text(row["finding"], redaction) for row in rows if row["verdict"] == verdict)


def _pairs(values: Mapping[str, Any], redaction: Redaction) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_text(name.replace("_", " "), redaction), _text(_in_words(value), redaction))
        for name, value in values.items()
    )


def _in_words(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}"
        case int():
            return f"{value:,}"
        case str():
            return value
        case Iterable():
            return ", ".join(map(str, value))
        case _:
            return "not known" if value is None else str(value)


def _text(value: Any, redaction: Redaction) -> str:
    return "" if value is None or value is pd.NA else redaction.text(str(value))
