"""The state of the widget, all of it: the last part is running a plan. No widgets here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import traitlets

from tasktools.core.plans import Plan
from tasktools.ops.ledger import DONE
from tasktools.widgets.triage.orders import Ended, LookOrder, RunOrder
from tasktools.widgets.triage.planning import PlanningState

FATES: Final = ("queued", "running", "succeeded", "failed", "unknown")
"""What became of replayed tasks, as `Follower` tells it; none of it counts what was before."""
_IN_WORDS: Final = {"queued": "waiting", "failed": "failed again", "unknown": "not heard of"}
_ENDINGS: Final = {
    "finished": "",
    "cancelled": " was cancelled",
    "stopped": " was stopped by its ramp",
    "failed": " broke off",
}


class DeadLettersState(PlanningState):
    """The state of the dead-letter widget. Set what is entered, call what the buttons do, read
    the rest. `run()` asks, `confirm()` runs the plan."""

    # found out by the feed
    settled = traitlets.Int()  # messages that have come to an end in this run
    ended = traitlets.Instance(Ended, allow_none=True)
    run_refusal = traitlets.Unicode()  # why the last run was refused, or broke off, in words
    fates = traitlets.Dict()  # of the replayed tasks: how many there are of `FATES`

    # what follows
    armed = traitlets.Bool(default_value=False)
    label = traitlets.Unicode()  # what the second click does, with the count
    running = traitlets.Bool(default_value=False)
    cancelling = traitlets.Bool(default_value=False)
    total = traitlets.Int()
    progress = traitlets.Unicode()
    outcome = traitlets.Instance(pd.DataFrame, allow_none=True)  # (schema `OUTCOME`)
    summary = traitlets.Unicode()
    followed = traitlets.Unicode()

    # --- what the buttons do --------------------------------------------------------

    def run(self) -> bool:
        """Ask for the second click (`armed`). Says whether it could: if not, `blockers` say why."""
        with self.lock:
            self.armed = self.can_run
            return self.armed

    def confirm(self) -> bool:
        """Run the plan that was asked about. Says whether there was one."""
        with self.lock:
            if not (self.armed and self.can_run) or self.plan is None:
                return False
            order = RunOrder(self.plan, self.reason.strip(), self.ramp)
            self.armed, self.run_refusal = False, ""
            self.total, self.settled = len(self.plan), 0
            self.fates = {}
            self.running = True
            self._give(order, "Running the plan …")
            return True

    def decline(self) -> None:
        """Do not run the plan that was asked about."""
        self.armed = False

    def cancel(self) -> None:
        """End the run early; what was sent by then is accounted for."""
        with self.lock:
            if self.running and isinstance(self.order, RunOrder):
                self.order.cancelled.set()
                self.cancelling = True

    # --- what follows ---------------------------------------------------------------

    @traitlets.observe("plan")
    def _name(self, _change: Any) -> None:
        self.label = "" if self.plan is None else label_of(self.plan)

    @traitlets.observe("can_run", "plan")
    def _disarm(self, _change: Any) -> None:
        self.armed = False

    @traitlets.observe("settled", "total", "running", "cancelling")
    def _count(self, _change: Any) -> None:
        end = " · ending …" if self.cancelling else ""
        self.progress = f"{self.settled:,} of {self.total:,}{end}" if self.running else ""

    @traitlets.observe("ended")
    def _end(self, _change: Any) -> None:
        """Show how the run ended, and look again: what is selected and filtered stays."""
        if self.ended is None:
            return
        self.running = self.cancelling = False
        if self.ended.outcome is not None:
            self.outcome = self.ended.outcome
            self.summary = in_words(self.ended.outcome)
            self.planned, self.edits, self.reason = None, (), ""
        if self.looked is not None:
            self._give(LookOrder(self.looked.topic), "Looking again …")

    @traitlets.observe("fates")
    def _follow(self, _change: Any) -> None:
        told = (f"{n:,} {_IN_WORDS.get(fate, fate)}" for fate, n in self.fates.items() if n)
        self.followed = ", ".join(told)


def label_of(plan: Plan) -> str:
    """Say what the second click does."""
    count = "1 message" if len(plan) == 1 else f"{len(plan):,} messages"
    if plan.verb == "discard":
        return f"Discard {count}" + ("" if plan.archive else " for good")
    return f"Replay {count} to {' and '.join(plan.targets)}"


def in_words(outcome: pd.DataFrame) -> str:
    """Say how a run ended, in one line."""
    attrs: Mapping[Any, Any] = outcome.attrs
    counts = outcome["outcome"].value_counts()
    told = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    twice = int(outcome["possible_duplicate"].fillna(value=False).sum())
    doubled = f" ({twice:,} may have arrived twice)" if twice else ""
    run = attrs["run"]
    return f"Run {run}{_ENDINGS[attrs['ended']]}: {told}{doubled}. In the ledger: tt.ledger({run})."


def worth_showing(outcome: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of what could not be done as planned, or was perhaps done twice."""
    odd = ~outcome["outcome"].isin([*DONE.values(), "not sent"])
    return outcome[odd | outcome["possible_duplicate"].fillna(value=False)]
