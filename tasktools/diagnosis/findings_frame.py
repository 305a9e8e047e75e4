"""The frame of findings, from the rows that `ranking.judge` returns, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any, Final

import pandas as pd

from tasktools.core.clock import moment
from tasktools.core.escaping import UNTYPESET, harmless
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import FINDINGS, PROBLEMS
from tasktools.core.frames.table import sources_attr
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.summary import nothing_found

_SHOWN: Final = (
    *("verdict", "severity", "check", "subject", "finding", "because"),
    *("since", "effect", "remedy", "call"),
)
_BRIEF: Final = ("severity", "check", "subject", "finding")
_MAX_CHARS: Final = 200


class Findings(pd.DataFrame):
    """The frame of `diagnose`; whatever is made of it is a plain frame.

    Shown are the rows that are found or suspected, without the columns of numbers, and
    ``attrs["summary"]`` for the others.
    """

    def __repr__(self) -> str:
        shown = self._shown()
        brief = shown[list(_BRIEF)]
        table = self._nothing() if shown.empty else brief.to_string(max_colwidth=_MAX_CHARS)
        return f"{table}\n{harmless(self._summary())}"

    def _repr_html_(self) -> str:
        shown = self._shown()
        with pd.option_context("display.max_colwidth", None):
            table = f"<div>{self._nothing()}</div>" if shown.empty else shown.to_html(escape=True)
        return f"{table}<div {UNTYPESET}>{escape(harmless(self._summary()))}</div>"

    def _shown(self) -> pd.DataFrame:
        frame = pd.DataFrame(self)
        return frame.loc[frame["verdict"].isin(PROBLEMS), list(_SHOWN)]

    def _nothing(self) -> str:
        return f"{nothing_found(self['verdict']).capitalize()}."

    def _summary(self) -> str:
        return str(self.attrs.get("summary", ""))


def findings_frame(rows: Iterable[Row], facts: Facts) -> pd.DataFrame:
    """Return *rows* as a frame (schema `FINDINGS`).

    ``attrs["window"]`` says of which time the *facts* are, ``attrs["notes"]`` what is missing.
    """
    notes = [f"{source.name}: {source.note}" for source in facts.sources if source.note]
    notes += [f"{source} not used: {why}" for source, why in facts.missing.items()]
    return frame_from(
        FINDINGS,
        [_values(row) for row in rows],
        sources=sources_attr(facts.sources),
        notes=list(dict.fromkeys(notes)),
        window={"since": moment(_begin(facts)), "until": moment(facts.at)},
    )


def _values(row: Row) -> tuple[Any, ...]:
    return (
        row.verdict,
        row.severity,
        row.check,
        row.subject_kind,
        row.subject,
        row.finding,
        dict(row.evidence),
        dict(row.against),
        row.because,
        None if row.since is None else moment(row.since),
        row.effect,
        list(row.changed),
        row.remedy,
        row.call,
        list(row.needs),
        row.age,
    )


def _begin(facts: Facts) -> float:
    """Return when the first sample was taken or the first event received."""
    series = (topic.ready for topic in facts.topics.values())
    firsts = [each.times[0] for each in series if each]
    firsts += [] if facts.heard_since is None else [facts.heard_since]
    return min(firsts, default=facts.at)
