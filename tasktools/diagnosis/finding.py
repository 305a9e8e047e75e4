"""Findings: hypotheses that were checked, and what the facts say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tasktools.core.masked_repr import MaskedStruct
from tasktools.core.redaction import Redaction
from tasktools.diagnosis.facts import Facts

Verdict = Literal["found", "suspected", "ruled out", "cannot tell"]
Severity = Literal["critical", "warning", "suspect"]
SubjectKind = Literal[
    "topic", "worker", "task", "lock", "queue", "node", "vhost", "publisher", "cluster"
]


class Finding(MaskedStruct, frozen=True, kw_only=True):
    """A condition that a rule sees in the facts.

    *severity* `critical` and `warning` are found, `suspect` is suspected. *evidence* and *against*
    map names to numbers or words: what speaks for it, and what would have spoken against it.
    *because* is ``check:subject`` of the finding that explains this one, set by the ranking.
    *since* is when the condition began by its series (s since the epoch), *effect* the wait of a
    new task now (s). *needs_second_look*: its condition is no series, so it is found only if two
    looks 5 s apart see it. *needs* names the sources that it rests on, *age* is that of the oldest
    (s). *topics* and *workers* are further topics and workers that the finding concerns: it can
    explain their symptoms.
    """

    check: str
    severity: Severity
    subject_kind: SubjectKind
    subject: str
    finding: str
    evidence: Mapping[str, Any] = {}
    against: Mapping[str, Any] = {}
    because: str | None = None
    since: float | None = None
    effect: float | None = None
    remedy: str | None = None
    call: str | None = None
    needs: tuple[str, ...] = ()
    age: float | None = None
    needs_second_look: bool = False
    topics: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The check and its subject, as `because` names them."""
        return f"{self.check}:{self.subject}"


class CannotTell(msgspec.Struct, frozen=True, kw_only=True):
    """A check without a verdict, since a source is missing: *why*, and how to make it available."""

    why: str
    needs: tuple[str, ...] = ()


Judgement = Finding | CannotTell
Judge = Callable[[Facts], Iterable[Judgement]]


class Row(MaskedStruct, frozen=True, kw_only=True):
    """A row of the frame `FINDINGS`; it has the fields of `Finding` that its verdict has.

    *changed* says what changed within 15 min before *since*.
    """

    verdict: Verdict
    check: str
    finding: str
    severity: Severity | None = None
    subject_kind: SubjectKind | None = None
    subject: str | None = None
    evidence: Mapping[str, Any] = {}
    against: Mapping[str, Any] = {}
    because: str | None = None
    since: float | None = None
    effect: float | None = None
    changed: tuple[str, ...] = ()
    remedy: str | None = None
    call: str | None = None
    needs: tuple[str, ...] = ()
    age: float | None = None

    def masked(self, redaction: Redaction) -> Row:
        """Return the row with the secrets in its texts masked.

        Names in `subject`, `because` and `call` stay as the cluster has them, since calls need
        them.
        """
        return msgspec.structs.replace(
            self,
            finding=redaction.text(self.finding),
            evidence=_masked(self.evidence, redaction),
            against=_masked(self.against, redaction),
            changed=tuple(map(redaction.text, self.changed)),
            remedy=None if self.remedy is None else redaction.text(self.remedy),
        )


def _masked(values: Mapping[str, Any], redaction: Redaction) -> dict[str, Any]:
    """Return evidence with its secrets masked; its names come from tasktools and hold no
    secrets."""
    return {redaction.text(name): redaction.value(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """A check: its name, the level of its cause (1: node … 8: clock, layout), and its judge.

    The judge returns findings; nothing means: ruled out. It returns `CannotTell` only where the
    missing source could change the answer.
    """

    check: str
    level: int
    judge: Judge
    title: str
    """The condition that is looked for, in a few words, for the row that rules it out."""
