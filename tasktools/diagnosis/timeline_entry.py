"""An entry of a timeline: a moment or a span, and what happened then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tasktools.core.clock import moment
from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.redaction import Redaction
from tasktools.diagnosis.finding import Severity, SubjectKind

Kind = Literal[
    "gap", "alarm", "mark", "command", "run", "settings", "worker", "topic", "failures", "lock"
]


class Entry(MaskedStruct, frozen=True, kw_only=True):
    """An event at *at*, or a state from *at* to *until* (s since the epoch).

    *lasts*: the state has not ended. An event has no *until*, and does not last.
    """

    at: float
    until: float | None = None
    lasts: bool = False
    kind: Kind
    subject_kind: SubjectKind
    subject: str
    event: str
    sentence: str
    severity: Severity | None = None
    source: str
    details: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def row(self, redaction: Redaction) -> tuple[Any, ...]:
        """Return the entry's values in the order of the schema `TIMELINE`, with texts masked.

        Names stay as the cluster has them, since calls need them.
        """
        return (
            moment(self.at),
            None if self.until is None else moment(self.until),
            self.lasts,
            self.kind,
            self.subject_kind,
            self.subject,
            self.event,
            redaction.text(self.sentence),
            self.severity,
            self.source,
            redaction.value(dict(self.details)),
        )


def clock(at: float) -> str:
    """Return the time of day in words."""
    return f"{moment(at):%H:%M:%S}"
