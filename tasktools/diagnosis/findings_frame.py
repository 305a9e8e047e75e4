"""The frame of findings, from the rows that `ranking.judge` returns, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from tasktools.core.clock import moment
from tasktools.core.frames.build import frame_from
from tasktools.core.frames.diagnosis_schemas import FINDINGS, PROBLEMS
from tasktools.core.frames.frame import Frame
from tasktools.core.frames.table import sources_attr
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Row
from tasktools.diagnosis.summary import nothing_found


class Findings(Frame):
    """The frame of `diagnose`; frames derived from it are plain frames.

    Shown are the rows that are found or suspected, without the columns of numbers, and
    ``attrs["summary"]`` for the others.
    """

    _schema = FINDINGS

    def _part(self) -> pd.DataFrame:
        return self.loc[self["verdict"].isin(PROBLEMS), list(FINDINGS.main)]

    def _nothing(self) -> str:
        nothing = nothing_found(self["verdict"], self.attrs.get("left_behind"))
        return f"{nothing[0].upper()}{nothing[1:]}."


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
