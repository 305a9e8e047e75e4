"""Second part of the state: the form for the selection, and its plan. No widgets here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import traitlets

from tasktools.core.clock import moment
from tasktools.core.plans import Plan
from tasktools.core.plurals import counted
from tasktools.replay.ramp import Ramp
from tasktools.widgets.dead_letters import edits as editing
from tasktools.widgets.dead_letters.browse_state import BrowseState
from tasktools.widgets.dead_letters.edits import EditRow
from tasktools.widgets.dead_letters.requests import (
    ImpactInputs,
    ImpactResult,
    PlanInputs,
    PlanOrder,
    PlanResult,
)

READ_ONLY: Final = (
    "This cluster can only be looked at: it is a recording, or was opened with read_only=True. To "
    "change something, connect to the cluster itself without that."
)
NO_REASON: Final = "Say why: the number of an incident, or a sentence. It is written to the ledger."
STALE: Final = (
    "What was selected or entered has changed since this plan was made. Make the plan again."
)
_ENTERED: Final = ("verb", "to", "edits", "rate", "archive", "busy", "looked")


class PlanState(BrowseState):
    """The part of the state that plans an action on the selected rows. Set `verb` and the other
    fields, and call `make_plan()`."""

    # set by the user
    verb = traitlets.Enum(("replay", "discard"), default_value="replay")
    to = traitlets.Unicode()  # target queue of a replay; empty: the queue of the topic
    edits = traitlets.Tuple()  # of EditRow
    rate = traitlets.Unicode()  # messages per second; empty: no limit
    archive = traitlets.Unicode()  # file for discarded messages; empty: they are deleted for good
    ramps = traitlets.Bool(default_value=False)
    limit = traitlets.Unicode("10")  # per cent of the tasks that may fail again
    reason = traitlets.Unicode()

    # set by the feed
    planned = traitlets.Instance(PlanResult, allow_none=True)
    plan_refusal = traitlets.Unicode()
    impact = traitlets.Instance(ImpactResult, allow_none=True)

    # derived
    chosen = traitlets.Unicode()  # the selection in words
    is_replay = traitlets.Bool(default_value=True)
    home = traitlets.Unicode()  # the default target of a replay
    paths = traitlets.Tuple()  # paths that can be edited
    kinds = traitlets.Tuple()  # the type of each edit's value, in words
    impact_asked = traitlets.Instance(ImpactInputs, allow_none=True)
    impact_text = traitlets.Unicode()  # what the rate does to live tasks; empty: not known
    plan_blockers = traitlets.Tuple()
    can_plan = traitlets.Bool(default_value=False)
    plan = traitlets.Instance(Plan, allow_none=True)
    is_stale = traitlets.Bool(default_value=False)
    blockers = traitlets.Tuple()  # why the plan cannot be run
    can_run = traitlets.Bool(default_value=False)

    def __init__(self, **options: Any) -> None:
        self._suggested = ""
        self._edits: dict[str, Any] = {}
        self._rate: float | None = None
        super().__init__(**options)
        self.table.observe(self._derive_selected, ["selected", "hidden"])
        self._derive_selected()

    # --- actions of the buttons --------------------------------------------------------

    def add_edit(self, path: str = "", value: str = "") -> None:
        """Add an edit of *path*."""
        with self.lock:
            self.edits = (*self.edits, EditRow(path, value))

    def change_edit(self, number: int, **changes: Any) -> None:
        """Change `path`, `value` or `remove` of the edit *number*, counted from 0."""
        with self.lock:
            rows = list(self.edits)
            rows[number] = rows[number]._replace(**changes)
            self.edits = tuple(rows)

    def drop_edit(self, number: int) -> None:
        """Remove the edit *number*, counted from 0."""
        with self.lock:
            self.edits = (*self.edits[:number], *self.edits[number + 1 :])

    def make_plan(self) -> bool:
        """Order a plan from the feed, which changes nothing; return whether that was possible.

        If not, `plan_blockers` say why.
        """
        with self.lock:
            if not self.can_plan or self.looked is None:
                return False
            self.plan_refusal = ""
            rows = self.looked.rows(self.table.selected)
            order = PlanOrder(self._wanted(), rows, self._edits if self.is_replay else {})
            self._give(order, "Making the plan …")
            return True

    @property
    def ramp(self) -> Ramp | None:
        """The ramp in the form, or `None`. Raises `ValueError` with a sentence for the operator."""
        if not self.ramps or not self.is_replay:
            return None
        percent = _number(self.limit)
        if percent is None or not 0 <= percent < 100:
            raise ValueError(
                f"The limit of the ramp is {self.limit.strip()!r}, not a number of per cent from 0 "
                "to below 100."
            )
        return Ramp(limit=percent / 100)

    # --- derived traits ---------------------------------------------------------------

    @traitlets.observe("topic")
    def _begin_anew(self, _change: Any) -> None:
        """Empty the target and the edits, which were meant for tasks of another topic."""
        self.to, self.edits = "", ()

    @traitlets.observe("looked")
    def _suggest(self, _change: Any) -> None:
        """Suggest a file for discarded messages, unless the operator has named one."""
        if self.looked is not None and self.archive == self._suggested:
            now = moment(self._clock.time())
            self._suggested = f"{self.looked.queue}-{now:%Y%m%d-%H%M%S}.archive"
            self.archive = self._suggested

    def _derive_selected(self, _change: Any = None) -> None:
        selected, hidden = len(self.table.selected), self.table.hidden
        aside = f", {hidden:,} of them not shown by the filter" if hidden else ""
        self.chosen = (
            f"{counted(selected, 'message')} selected{aside}"
            if selected
            else "Nothing is selected."
        )
        if self.looked is not None:
            self.paths = editing.paths_in(self.looked.rows(self.table.selected[:200]))
        self._derive_plan()

    @traitlets.observe(*_ENTERED)
    def _derive_plan(self, _change: Any = None) -> None:
        self.is_replay = self.verb == "replay"
        self.home = "" if self.looked is None else self.looked.topic
        self.kinds = tuple(map(editing.kind_of, self.edits))
        self._edits, self._edit_problems = editing.read(self.edits)
        self._rate = _number(self.rate)
        self.plan_blockers = tuple(self._plan_blockers())
        self.can_plan = not self.plan_blockers
        self.impact_asked = self._impact_asked()
        self._derive_run()

    def _impact_asked(self) -> ImpactInputs | None:
        """Return the replay that the form describes; `None` if the form is for something else, or
        incomplete."""
        messages, topic = len(self.table.selected), self.to.strip() or self.home
        is_rate = not self.rate.strip() or bool(self._rate and self._rate > 0)
        if not (self.is_replay and messages and topic and is_rate):
            return None
        return ImpactInputs(topic, messages, self._rate)

    @traitlets.observe("impact", "impact_asked")
    def _derive_impact(self, _change: Any) -> None:
        answer = self.impact
        is_current = answer is not None and answer.asked == self.impact_asked
        self.impact_text = answer.text if answer is not None and is_current else ""

    def _plan_blockers(self) -> Iterator[str]:
        if self.busy:
            yield self.busy
        if not self.table.selected:
            yield "Select messages in the table."
        if self.is_replay:
            yield from self._edit_problems
            if self.rate.strip() and not (self._rate and self._rate > 0):
                yield f"The rate is {self.rate.strip()!r}, not a number of messages a second."

    def _wanted(self) -> PlanInputs:
        queue = "" if self.looked is None else self.looked.queue
        if self.is_replay:
            return PlanInputs(
                verb="replay",
                queue=queue,
                keys=self.table.selected,
                to=self.to.strip() or None,
                edits=tuple(row for row in self.edits if row.path.strip()),
                rate=self._rate,
            )
        archive = self.archive.strip() or None
        return PlanInputs(verb="discard", queue=queue, keys=self.table.selected, archive=archive)

    @traitlets.observe("planned")
    def _forget_secrets(self, _change: Any) -> None:
        """Remove typed secrets from the edits: the plan has them, and a saved notebook would store
        everything that is in its widgets."""
        planned = self.planned
        if planned is None or not planned.wanted.edits:
            return
        known = editing.without_secrets(planned.wanted.edits, self.redaction)
        if known == planned.wanted.edits:
            return
        secrets = dict(zip(planned.wanted.edits, known, strict=True))
        self.order = None  # which has the secrets, too
        self.edits = tuple(secrets.get(row, row) for row in self.edits)
        self.planned = PlanResult(replace(planned.wanted, edits=known), planned.plan)

    @traitlets.observe("planned", "reason", "ramps", "limit")
    def _derive_run(self, _change: Any = None) -> None:
        planned = self.planned
        self.plan = None if planned is None else planned.plan
        self.is_stale = planned is not None and planned.wanted != self._wanted()
        self.blockers = tuple(self._blockers())
        self.can_run = not self.blockers

    def _blockers(self) -> Iterator[str]:
        if self.read_only:
            yield READ_ONLY
        if self.busy:
            yield self.busy
        if self.plan is None:
            yield "Make a plan first."
        elif self.is_stale:
            yield STALE
        elif not len(self.plan):
            yield "The plan skips every message; it says why."
        if not self.reason.strip():
            yield NO_REASON
        try:
            _ = self.ramp
        except ValueError as error:
            yield str(error)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number < float("inf") else None
