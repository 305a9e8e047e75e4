"""Orders of the state to the feed, and the feed's answers."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import pandas as pd

from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.models import SeenMessage
from tasktools.core.peek_verdict import Verdict
from tasktools.core.plans import Plan
from tasktools.replay.ramp import Ramp
from tasktools.widgets.dead_letters.edits import EditRow


@dataclass(frozen=True, slots=True)
class TopicCount:
    """A topic and its number of dead letters; `None`: not known."""

    topic: str
    dead: int | None


@dataclass(frozen=True, slots=True)
class TopicVerdict:
    """The cost of a look at the dead letters of *topic*, or why no look is possible."""

    topic: str
    verdict: Verdict | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LookOrder:
    """An order to look at the dead letters of *topic*."""

    topic: str
    refusal: ClassVar[str] = "look_refusal"


@dataclass(frozen=True, eq=False, repr=False)
class LookResult(MaskedRepr):
    """The result of a look; *frame* has the schema `DEAD_LETTERS`."""

    topic: str
    queue: str
    frame: pd.DataFrame
    note: str = ""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.frame["key"])}

    def row(self, key: str) -> Mapping[Hashable, Any] | None:
        """Return the row of *key*, if there is one."""
        place = self._places.get(key)
        return None if place is None else self.frame.iloc[place].to_dict()

    def rows(self, keys: tuple[str, ...]) -> pd.DataFrame:
        """Return the rows of *keys*."""
        return self.frame[self.frame["key"].isin(list(keys))]


@dataclass(frozen=True, slots=True, eq=False)
class MessageOrder:
    """An order to fetch the whole message *key* of *queue*."""

    queue: str
    key: str
    refusal: ClassVar[str] = "message_refusal"


@dataclass(frozen=True, slots=True, eq=False)
class WholeMessage:
    """The whole message *key*, or `None` if it is gone. Secrets are masked."""

    key: str
    message: SeenMessage | None


@dataclass(frozen=True, slots=True)
class PlanInputs:
    """The input of a plan: equal inputs make the same plan."""

    verb: str
    queue: str
    keys: tuple[str, ...]
    to: str | None = None
    edits: tuple[EditRow, ...] = ()
    rate: float | None = None
    archive: str | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PlanOrder(MaskedRepr):
    """An order to make a plan of *rows*; *edits* are in the form that `Cluster.plan_replay`
    takes."""

    wanted: PlanInputs
    rows: pd.DataFrame
    edits: Mapping[str, Any]
    refusal: ClassVar[str] = "plan_refusal"


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult:
    """A plan and its input."""

    wanted: PlanInputs
    plan: Plan


@dataclass(frozen=True, slots=True, eq=False)
class RunOrder:
    """An order to run *plan*, until *cancelled* is set."""

    plan: Plan
    reason: str
    ramp: Ramp | None
    cancelled: threading.Event = field(default_factory=threading.Event)
    refusal: ClassVar[str] = "run_refusal"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunResult(MaskedRepr):
    """A run that ended; *outcome* has the schema `OUTCOME`, or is `None` if the run was refused
    or broke off."""

    plan: Plan
    outcome: pd.DataFrame | None


@dataclass(frozen=True, slots=True)
class ImpactInputs:
    """The replay of *messages* messages to *topic* whose impact is to be estimated.

    *rate* is in messages a second; `None`: all at once.
    """

    topic: str
    messages: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class ImpactResult:
    """The impact of a replay on live tasks, in words; empty if the history is too short."""

    asked: ImpactInputs
    text: str


Order = LookOrder | MessageOrder | PlanOrder | RunOrder
