"""State of the dead-letter widget; this last part runs a plan. No widgets here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import traitlets

from tasktools.core.plans import Plan
from tasktools.core.plurals import counted
from tasktools.replay.ledger import DONE
from tasktools.widgets.dead_letters.plan_state import PlanState
from tasktools.widgets.dead_letters.requests import LookOrder, RunOrder, RunResult

FATES: Final = ("queued", "running", "succeeded", "failed", "died", "unknown")
"""States of replayed tasks, in the words of `Outcome.follow`."""
_IN_WORDS: Final = {
    "queued": "waiting",
    "failed": "failed again",
    "died": "died again",
    "unknown": "not known",
}
_ENDINGS: Final = {
    "finished": "",
    "cancelled": " was cancelled",
    "stopped": " was stopped by its ramp",
    "failed": " broke off",
}


class DeadLettersState(PlanState):
    """The state of the dead-letter widget. Set the fields, call the methods of the buttons, and
    read the rest. `run()` asks for confirmation, `confirm()` runs the plan."""

    # set by the feed
    settled = traitlets.Int()  # messages of this run that have an outcome
    ended = traitlets.Instance(RunResult, allow_none=True)
    run_refusal = traitlets.Unicode()  # why the last run was refused, or broke off, in words
    fates = traitlets.Dict()  # number of replayed tasks in each of `FATES`
    causes = traitlets.Tuple()  # why replayed tasks have failed or died again, in words

    # derived
    armed = traitlets.Bool(default_value=False)
    label = traitlets.Unicode()  # text of the button that runs the plan
    running = traitlets.Bool(default_value=False)
    cancelling = traitlets.Bool(default_value=False)
    total = traitlets.Int()
    progress = traitlets.Unicode()
    outcome = traitlets.Instance(pd.DataFrame, allow_none=True)  # (schema `OUTCOME`)
    summary = traitlets.Unicode()
    followed = traitlets.Unicode()

    # --- actions of the buttons --------------------------------------------------------

    def run(self) -> bool:
        """Ask for the second click (`armed`); return whether it is possible (else `blockers`)."""
        with self.lock:
            self.armed = self.can_run
            return self.armed

    def confirm(self) -> bool:
        """Run the plan after `run()`; return whether that was possible."""
        with self.lock:
            if not (self.armed and self.can_run) or self.plan is None:
                return False
            order = RunOrder(self.plan, self.reason.strip(), self.ramp)
            self.armed, self.run_refusal = False, ""
            self.total, self.settled = len(self.plan), 0
            self.fates, self.causes = {}, ()
            self.running = True
            self._give(order, "Running the plan …")
            return True

    def decline(self) -> None:
        """Cancel the question of `run()`."""
        self.armed = False

    def cancel(self) -> None:
        """End the run early. Messages that were sent by then are accounted for."""
        with self.lock:
            if self.running and isinstance(self.order, RunOrder):
                self.order.cancelled.set()
                self.cancelling = True

    # --- derived traits ---------------------------------------------------------------

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
        """Show the outcome, and look again; selection and filter stay."""
        if self.ended is None:
            return
        self.running = self.cancelling = False
        if self.ended.outcome is not None:
            self.outcome = self.ended.outcome
            self.summary = in_words(self.ended.outcome)
            self.planned, self.to, self.edits, self.reason = None, "", (), ""
        if self.looked is not None:
            self._give(LookOrder(self.looked.topic), "Looking again …")

    @traitlets.observe("fates", "causes")
    def _follow(self, _change: Any) -> None:
        counts = (f"{n:,} {_IN_WORDS.get(fate, fate)}" for fate, n in self.fates.items() if n)
        reasons = f": {' and '.join(self.causes)}" if self.causes else ""
        self.followed = ", ".join(counts) + reasons


def label_of(plan: Plan) -> str:
    """Return the text of the button that runs *plan*."""
    count = counted(len(plan), "message")
    if plan.verb == "discard":
        return f"Discard {count}" + ("" if plan.archive else " for good")
    return f"Replay {count} to {' and '.join(plan.targets)}"


def in_words(outcome: pd.DataFrame) -> str:
    """Return in one line how a run ended."""
    attrs: Mapping[Any, Any] = outcome.attrs
    counts = outcome["outcome"].value_counts()
    outcomes = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    twice = int(outcome["possible_duplicate"].fillna(value=False).sum())
    doubled = f" ({twice:,} may have arrived twice)" if twice else ""
    run, how = attrs["run"], _ENDINGS[attrs["ended"]]
    return f"Run {run}{how}: {outcomes}{doubled}. In the ledger: cluster.ledger({run})."


def worth_showing(outcome: pd.DataFrame) -> pd.DataFrame:
    """Return the messages that were not treated as planned, or perhaps twice."""
    odd = ~outcome["outcome"].isin([*DONE.values(), "not sent"])
    return outcome[odd | outcome["possible_duplicate"].fillna(value=False)]
