"""``tasktools diagnose``: what is wrong with the cluster, and what was ruled out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group
from rich.padding import Padding
from rich.text import Text

import tasktools
from tasktools.cli import output, render
from tasktools.cli.connection_options import Access, with_access, with_at, with_json
from tasktools.cli.end_signal import end_signals
from tasktools.cli.suggested_command import next_step
from tasktools.cli.time_options import span
from tasktools.core.frames import export
from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.lazy_imports import pd
from tasktools.core.timespans import in_words
from tasktools.diagnosis.summary import nothing_found

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

_WATCH: Final = "5s"
_STYLES: Final = {"critical": "bold red", "warning": "yellow", "suspect": "cyan"}
_INDENT: Final = 2


@click.command()
@click.option(
    "--watch",
    is_flag=False,
    flag_value=_WATCH,
    callback=span,
    metavar="[SPAN]",
    help=f"Look every SPAN ({_WATCH} without one), and show what has changed, until Ctrl-C.",
)
@with_at
@with_json
@with_access
def diagnose(access: Access, *, watch: float | None, at: str | None, as_json: bool) -> None:
    """Show what is wrong with the cluster, the best explanation first.

    Changes nothing, and looks into no queue. The exit code is 1 when something critical is found,
    or when there is no answer. With --watch --json each change is a document on a line of its own.
    """
    if watch is not None and at is not None:
        raise click.UsageError("--watch begins now; give it without --at.")
    with access.cluster() as cluster:
        if watch is not None:
            findings = _watch(cluster, watch, as_json=as_json)
        else:
            findings = tasktools.diagnose(cluster, at=at)
            _show(findings, as_json=as_json)
    if _is_critical(findings):
        click.get_current_context().exit(1)


def _is_critical(findings: pd.DataFrame) -> bool:
    return bool(((findings["verdict"] == "found") & (findings["severity"] == "critical")).any())


def _watch(cluster: Cluster, every: float, *, as_json: bool) -> pd.DataFrame:
    """Look *every* so many seconds, and show the findings whenever they change, until a signal."""
    shown: list[Any] | None = None
    with end_signals() as end_signal:
        while True:
            findings = tasktools.diagnose(cluster, settle=0)
            keys = _keys(findings)
            if keys != shown:
                if not as_json:
                    output.write(f"{findings.attrs['window']['until']:%Y-%m-%d %H:%M:%S} UTC")
                _show(findings, as_json=as_json, is_one_line=True)
                shown = keys
            if end_signal.wait(every):
                return findings


def _keys(findings: pd.DataFrame) -> list[Any]:
    shown = findings[findings["verdict"].isin(PROBLEMS)]
    return shown[["verdict", "severity", "check", "subject"]].astype(object).to_numpy().tolist()


def _show(findings: pd.DataFrame, *, as_json: bool, is_one_line: bool = False) -> None:
    if as_json:
        written = render.line if is_one_line else render.document
        output.write(written(findings, summary=findings.attrs["summary"]))
        return
    output.heading(findings)
    output.draw(Group(*_blocks(findings)))
    output.notes(findings)


def _blocks(findings: pd.DataFrame) -> Iterator[Text | Padding]:
    """Yield a block for each finding and suspicion, and one line for the other checks."""
    shown = [row for row in export.records(findings) if row["verdict"] in PROBLEMS]
    if not shown:
        nothing = nothing_found(findings["verdict"], findings.attrs["left_behind"])
        yield Text(render.harmless(f"{nothing[0].upper()}{nothing[1:]}."))
    is_recorded = "recorded" in findings.attrs
    for row in shown:
        title = Text(f"{row['severity']}", style=_STYLES.get(row["severity"], ""))
        title.append(render.harmless(f"  {row['check']}, {row['subject_kind']} {row['subject']}"))
        yield title
        for line in _lines(row, is_recorded=is_recorded):
            yield Padding(Text(render.harmless(line)), (0, 0, 0, _INDENT))
    yield Text(render.harmless(findings.attrs["summary"]))


def _lines(row: dict[str, Any], *, is_recorded: bool) -> Iterator[str]:
    yield row["finding"]
    if not pd.isna(row["because"]):
        yield f"because of {row['because']}"
    times = []
    if not pd.isna(row["since"]):
        times.append(f"since {row['since']:%Y-%m-%d %H:%M:%S} UTC")
    if not pd.isna(row["effect"]) and row["effect"]:
        times.append(f"a new task waits {in_words(row['effect'].total_seconds())}")
    if times:
        yield ", ".join(times)
    if row["changed"]:
        yield f"before: {'; '.join(row['changed'])}"
    if not pd.isna(row["remedy"]):
        yield f"do: {row['remedy']}"
    if not pd.isna(row["call"]):
        yield f"next: {next_step(row['call'], is_recorded=is_recorded)}"
