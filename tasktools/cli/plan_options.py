"""The options of commands that make a plan: show it, save it, run it."""

from __future__ import annotations

import functools
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_json
from tasktools.core.frames import export
from tasktools.core.lazy_imports import pd
from tasktools.core.plans import Plan, Verb
from tasktools.monitor import consumption
from tasktools.replay.ledger import DONE
from tasktools.replay.ramp import Ramp
from tasktools.replay.replayed_tasks import causes, has_failed

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.brokers.base import Broker
    from tasktools.cluster.cluster import Cluster
    from tasktools.replay.outcome import Outcome

_MAX_LISTED: Final = 5
"""Lines about what was not done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The options that a plan is carried out with; *plan* is the file of a saved plan."""

    plan: str | None
    save: str | None
    yes: bool
    reason: str | None
    as_json: bool
    force: bool

    def check(self, *, others: Sequence[object] = (), **subject: str | None) -> None:
        """Refuse options that contradict each other, before the cluster is reached.

        *subject* has the arguments from which a new plan is made, *others* the options for making
        it.
        """
        ((name, value),) = subject.items()
        if self.plan is None and value is None:
            raise click.UsageError(f"Give {name.upper()}, or --plan FILE.")
        if self.plan is not None and (value is not None or any(others) or self.save):
            raise click.UsageError(
                "--plan FILE says what is done to which messages: leave everything else out but "
                "--yes, --reason, --ramp, --follow, --force and --json."
            )
        if self.yes and not (self.reason or "").strip():
            raise click.UsageError("--yes wants --reason TEXT, which the ledger keeps.")

    def carry_out(
        self,
        access: Access,
        verb: Verb,
        make: Callable[[Cluster], Plan],
        *,
        ramp: Ramp | None = None,
        follow: float = 0.0,
    ) -> None:
        """Show the plan that *make* returns, or the plan in the file; run it with --yes.

        Replayed tasks are followed for up to *follow* seconds.
        """
        with access.cluster() as cluster:
            plan = make(cluster) if self.plan is None else _loaded(self.plan, verb)
            demo = cluster.broker.demo
            if verb != "discard":
                self._warn(plan, cluster.broker)
            if self.save is not None:
                plan.save(self.save)
            if not (self.yes and self.as_json):
                self._show(plan, repr(cluster), demo=demo)
            if not self.yes:
                output.remark([self._what_next(verb)])
                return
            outcome = cluster.run(
                plan,
                reason=self.reason or "",
                ramp=ramp,
                progress=sys.stderr.isatty(),
                notice=None if sys.stderr.isatty() else _remark_notice,  # the bar shows it
                force=self.force,
            )
            followed = _followed(outcome, follow) if verb == "replay" and follow else None
        self._tell(outcome, verb, followed)

    def _warn(self, plan: Plan, broker: Broker) -> None:
        """Print warnings about sending now: all of them if *plan* is from a file and may be days
        old, else only warnings that *plan* does not contain."""
        warnings = [] if broker.note is None else [broker.note]
        if plan.is_loaded and plan.verb == "replay":
            warnings += consumption.unconsumed(broker, plan.targets).values()
        shown = () if plan.is_loaded else plan.warnings or ()
        new = [why for why in warnings if why not in shown]
        output.remark(render.harmless(f"warning: {why}") for why in new)

    def _show(self, plan: Plan, cluster: str, *, demo: bool) -> None:
        if self.as_json:
            frame = plan.frame()
            frame.attrs["cluster"] = cluster
            heading = {"verb": plan.verb, "plan": plan.hash, "summary": [plan.title, *plan.lines()]}
            output.write(render.document(frame, **heading))
            return
        if demo:
            output.write(output.DEMO)
        output.write(render.harmless(plan.title))
        for line in plan.lines():
            output.write(render.harmless(f"  {line}"))

    def _what_next(self, verb: Verb) -> str:
        if self.plan is not None or self.save is not None:
            file = render.harmless(shlex.quote(self.plan or self.save or ""))
            saved = "" if self.save is None else f"The plan is in {file}. "
            return f"{saved}To do it: tasktools {verb} --plan {file} --yes --reason '…'"
        return (
            "To do it: the same with --yes --reason '…'; it looks again then. To do it to exactly "
            "these messages, --save FILE first."
        )

    def _tell(self, outcome: pd.DataFrame, verb: Verb, followed: pd.DataFrame | None) -> None:
        outcomes = Counter({DONE[verb]: 0})
        outcomes.update(outcome["outcome"].tolist())
        run = outcome.attrs["run"]
        if self.as_json:
            ended = {name: outcome.attrs[name] for name in ("run", "ended", "reason")}
            if followed is not None:
                ended["followed"] = {
                    "summary": followed.attrs["summary"],
                    "states": dict(Counter(followed["state"])),
                    "causes": causes(followed),
                }
            output.write(render.document(outcome, outcomes=outcomes, **ended))
        else:
            if followed is not None:
                output.write(render.harmless(followed.attrs["summary"]))
            output.draw(render.counts(outcomes, "messages", width=output.width()))
            output.notes(outcome)
            if followed is not None:
                output.notes(followed)
            output.remark(_missed(outcome, verb))
            if outcomes["not sent"] and verb != "restore":
                output.remark(
                    ["Unsent messages are where they were; the same command continues the run."]
                )
            if "demo" not in outcome.attrs:  # whose ledger ends with this command
                output.remark([f"run {run} of the ledger: tasktools ledger {run}"])
        if outcomes[DONE[verb]] < len(outcome) or (followed is not None and has_failed(followed)):
            click.get_current_context().exit(1)


def _followed(outcome: Outcome, seconds: float) -> pd.DataFrame | None:
    """Follow the replayed tasks; an interrupt ends this, and the result so far is shown."""
    if not (outcome["outcome"] == DONE["replay"]).any():
        return None
    if sys.stderr.isatty():
        output.remark([f"following the replayed tasks for up to {seconds:g} s; Ctrl-C ends that"])
    try:
        return outcome.follow(seconds)
    except KeyboardInterrupt:
        return outcome.follow(0)


def _remark_notice(text: str) -> None:
    """Print why a run is held up, and when it continues."""
    output.remark([f"note: {render.harmless(text) or 'the run continues'}"])


def _missed(outcome: pd.DataFrame, verb: Verb) -> Iterator[str]:
    twice = int(outcome["possible_duplicate"].sum())
    if twice:
        yield f"note: {twice:,} may have arrived twice"
    if outcome.attrs["ended"] == "cancelled":
        yield "The run was cancelled before its end."
    left = export.rows(outcome[outcome["outcome"] != DONE[verb]])
    groups = render.alike(left, _MAX_LISTED)
    for rows in groups[:_MAX_LISTED]:
        row, *others = rows
        task = f" ({row['task_name']})" if row["task_name"] else ""
        why = f": {row['why']}" if row["why"] else ""
        which = f"{len(rows):,} messages, like {row['key']}" if others else row["key"]
        yield render.harmless(f"{row['outcome']}: {which}{task}{why}")
    if len(groups) > _MAX_LISTED:
        yield f"and {len(groups) - _MAX_LISTED:,} more reasons; --json lists all messages"


def _loaded(path: str, verb: Verb) -> Plan:
    plan = tasktools.load_plan(path)
    if plan.verb != verb:
        raise click.ClickException(
            render.harmless(
                f"{path} is a plan to {plan.verb}; nothing was done. "
                f"To do it: tasktools {plan.verb} --plan {path}"
            )
        )
    return plan


def with_order(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options with which a plan is carried out."""

    @click.option(
        "--plan", type=click.Path(), metavar="FILE", help="Take the plan that --save wrote."
    )
    @click.option(
        "--save", type=click.Path(), metavar="FILE", help="Write the plan to a file of yours."
    )
    @click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")
    @click.option(
        "--force",
        is_flag=True,
        help="Look, and do it, although messages could be dropped, or an archive was restored "
        "before.",
    )
    @click.option("--reason", metavar="TEXT", help="Why, for the ledger; --yes wants it.")
    @with_json
    @functools.wraps(command)
    def ordered(*args: Any, **options: Any) -> None:
        fields = {name: options.pop(name) for name in Order.__dataclass_fields__}
        command(*args, order=Order(**fields), **options)

    return ordered
