"""From a plan to its end: it is shown, saved, and done when that was said."""

from __future__ import annotations

import functools
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import pandas as pd

import tasktools
from tasktools.cli import output, show
from tasktools.cli.access import Access, with_json
from tasktools.core.plans import Plan, Verb
from tasktools.ops.canary import Ramp
from tasktools.ops.cluster import Cluster
from tasktools.ops.ledger import DONE

_LISTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done with a plan; *plan* names the file that it is in already."""

    plan: str | None
    save: str | None
    yes: bool
    reason: str | None
    as_json: bool

    def check(self, *, others: Sequence[object] = (), **subject: str | None) -> None:
        """Refuse what makes no sense, before anything is reached.

        *subject* is what a new plan is made of, *others* are the options of making one.
        """
        ((name, given),) = subject.items()
        if self.plan is None and given is None:
            raise click.UsageError(f"Give {name.upper()}, or --plan FILE.")
        if self.plan is not None and (given is not None or any(others) or self.save):
            raise click.UsageError(
                "--plan FILE says what is done to which messages: leave everything else out but "
                "--yes, --reason, --ramp and --json."
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
    ) -> None:
        """Show the plan that *make* makes, or that of the file; do it if that was said."""
        with access.cluster() as cluster:
            plan = make(cluster) if self.plan is None else _loaded(self.plan, verb)
            demo = cluster.broker.demo
            if self.save is not None:
                _saved(plan, self.save)
            if not (self.yes and self.as_json):
                self._show(plan, repr(cluster), demo=demo)
            if not self.yes:
                output.remark([self._what_next(verb)])
                return
            outcome = cluster.run(
                plan, reason=self.reason or "", ramp=ramp, progress=sys.stderr.isatty()
            )
        self._tell(outcome, verb)

    def _show(self, plan: Plan, cluster: str, *, demo: bool) -> None:
        if self.as_json:
            frame = plan.frame()
            frame.attrs.update({"cluster": cluster} | ({"demo": "DEMO"} if demo else {}))
            told = {"verb": plan.verb, "plan": plan.hash, "summary": [plan.title, *plan.lines()]}
            output.write(show.document(frame, **told))
            return
        if demo:
            output.write(output.DEMO)
        output.write(show.harmless(plan.title))
        for line in plan.lines():
            output.write(show.harmless(f"  {line}"))

    def _what_next(self, verb: Verb) -> str:
        if self.plan is not None or self.save is not None:
            file = show.harmless(shlex.quote(self.plan or self.save or ""))
            saved = "" if self.save is None else f"The plan is in {file}. "
            return f"{saved}To do it: tasktools {verb} --plan {file} --yes --reason '…'"
        return (
            "To do it: the same with --yes --reason '…'; it looks again then. To do it to exactly "
            "these messages, --save FILE first."
        )

    def _tell(self, outcome: pd.DataFrame, verb: Verb) -> None:
        outcomes = Counter({DONE[verb]: 0})
        outcomes.update(outcome["outcome"].tolist())
        run = outcome.attrs["run"]
        if self.as_json:
            ended = {name: outcome.attrs[name] for name in ("run", "ended", "reason")}
            output.write(show.document(outcome, outcomes=outcomes, **ended))
        else:
            output.draw(show.counts(outcomes, "messages", width=output.width()))
            output.notes(outcome)
            output.remark(_missed(outcome, verb))
            if outcomes["not sent"] and verb != "restore":
                output.remark(["What was not sent is where it was; the same command goes on."])
            output.remark([f"run {run} of the ledger: tasktools ledger {run}"])
        if outcomes[DONE[verb]] < len(outcome):
            click.get_current_context().exit(1)


def _missed(outcome: pd.DataFrame, verb: Verb) -> Iterator[str]:
    twice = int(outcome["possible_duplicate"].sum())
    if twice:
        yield f"note: {twice:,} may have arrived twice"
    left = outcome[outcome["outcome"] != DONE[verb]]
    for row in show.rows(left.head(_LISTED)):
        task = f" ({row['task_name']})" if row["task_name"] else ""
        why = f": {row['why']}" if row["why"] else ""
        yield show.harmless(f"{row['outcome']}: {row['key']}{task}{why}")
    if len(left) > _LISTED:
        yield f"and {len(left) - _LISTED:,} more; --json lists them all"


def _loaded(path: str, verb: Verb) -> Plan:
    try:
        plan = tasktools.load_plan(path)
    except OSError as error:
        raise click.ClickException(
            show.harmless(f"{path} cannot be read ({error.strerror}); nothing was done.")
        ) from error
    if plan.verb != verb:
        raise click.ClickException(
            show.harmless(
                f"{path} is a plan to {plan.verb}; nothing was done. "
                f"To do it: tasktools {plan.verb} --plan {path}"
            )
        )
    return plan


def _saved(plan: Plan, path: str) -> None:
    try:
        plan.save(path)
    except OSError as error:
        raise click.ClickException(
            show.harmless(f"{path} cannot be written ({error.strerror}); nothing was done.")
        ) from error


def with_order(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is done with a plan."""

    @click.option(
        "--plan", type=click.Path(), metavar="FILE", help="Take the plan that --save wrote."
    )
    @click.option(
        "--save", type=click.Path(), metavar="FILE", help="Write the plan to a file of yours."
    )
    @click.option("--yes", is_flag=True, help="Do it; without this nothing happens.")
    @click.option("--reason", metavar="TEXT", help="Why, for the ledger; --yes wants it.")
    @with_json
    @functools.wraps(command)
    def ordered(*args: Any, **options: Any) -> None:
        told = {name: options.pop(name) for name in Order.__dataclass_fields__}
        command(*args, order=Order(**told), **options)

    return ordered
