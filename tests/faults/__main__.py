"""Inject faults and judge what was seen: ``python -m tests.faults [FAULT…]``."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import click

from tasktools.brokers.rabbitmq.queues.queue_facts import version_of
from tasktools.testing import RabbitMQNode
from tests.faults import decisive, judging, registry, results, table
from tests.faults.records import header
from tests.faults.registry import Fault
from tests.faults.running import run

ROOT = Path(__file__).parents[2]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--root", type=click.Path(path_type=Path), help="A root with another RabbitMQ.")
@click.option("--lanes", default=2, show_default=True, help="Faults that run side by side.")
@click.option("--alone/--loud", "alone", default=None, help="Only one of the two variants.")
@click.option("--missing", is_flag=True, help="Only what has no facts yet.")
@click.option(
    "--facts",
    default=ROOT / ".faults",
    type=click.Path(path_type=Path),
    help="Where the facts are kept.  [default: .faults]",
)
@click.option("--judge", "only_judge", is_flag=True, help="Judge what is kept, inject nothing.")
@click.option("--show", is_flag=True, help="Print the rows of each look.")
def main(
    names: Sequence[str],
    root: Path | None,
    lanes: int,
    alone: bool | None,  # noqa: FBT001
    facts: Path,
    *,
    missing: bool,
    only_judge: bool,
    show: bool,
) -> None:
    """Inject the faults NAMES (by default, all) on a private node, alone and with a loud change
    beside each, keep the facts and judge them. Without NAMES, or without any with --judge, write
    benchmarks/FAULTS.md, where faults without facts keep their rows."""
    faults = registry.load()
    if unknown := set(names) - set(faults):
        raise click.UsageError(f"There are no faults {sorted(unknown)}.")
    chosen = [faults[name] for name in names] or list(faults.values())
    failed = 0
    if not only_judge:
        failed = _inject(chosen, root, lanes, alone, facts, missing=missing)
    files = [file for file in sorted(facts.glob("*/*.gz")) if header(file).fault in faults]
    judged = [judging.outcome(file, faults[header(file).fault]) for file in files]
    outcomes = results.renewed(results.read(), judged)
    if show:
        _show(file for file in files if header(file).fault in {each.name for each in chosen})
    if not names:
        results.write(outcomes)
        table.write(outcomes, faults)
        decisive.write(_oldest(files, faults))
    for line in table.summary(outcomes, faults):
        print(line)
    if failed:
        raise click.ClickException(f"{failed} faults could not be injected.")


def _inject(
    faults: Sequence[Fault],
    root: Path | None,
    lanes: int,
    alone: bool | None,  # noqa: FBT001
    facts: Path,
    *,
    missing: bool,
) -> int:
    """Inject *faults*; returns how many could not be."""
    os.environ["TASKTOOLS_LEDGER"] = tempfile.mkdtemp() + "/ledger.db"  # not the user's own
    made = subprocess.check_output([ROOT / "scripts" / "peer"], text=True)
    peer = Path(made.strip()).absolute()
    failures = 0
    printing = threading.Lock()
    with RabbitMQNode(root=root) as node, tempfile.TemporaryDirectory() as logs:
        version = node.request("GET", "/api/overview")["rabbitmq_version"]

        def one_run(fault: Fault, *, loud: bool) -> None:
            nonlocal failures
            name = f"{fault.name}{'.loud' if loud else ''}"
            file = facts / version / f"{name}.gz"
            if missing and file.exists():
                return
            try:
                with _own_node(root, fault) if fault.own_node else nullcontext(node) as place:
                    run(fault, place, version, file, Path(logs) / name, peer, loud=loud)
                text = _line(judging.outcome(file, fault))
            except Exception:  # noqa: BLE001 - the other faults shall run
                failures += 1
                text = traceback.format_exc()
            with printing:
                print(f"{name}: {text}", flush=True)

        chosen = [
            (fault, loud)
            for loud in (False, True)
            for fault in sorted(faults, key=lambda each: each.kind == "healthy")  # days come last
            if alone is not loud and (fault.has_loud or not loud)
            if version_of(version) >= fault.since
        ]
        with ThreadPoolExecutor(lanes) as pool:
            runs = [
                pool.submit(one_run, fault, loud=loud) for fault, loud in chosen if not fault.solo
            ]
            try:
                for each in runs:
                    each.result()
            finally:
                pool.shutdown(cancel_futures=True)
        for fault, loud in chosen:
            if fault.solo:
                one_run(fault, loud=loud)
    return failures


@contextmanager
def _own_node(root: Path | None, fault: Fault) -> Iterator[RabbitMQNode]:
    """Start a node for *fault* alone, which may open as many files as it says."""
    node = RabbitMQNode(root=root)
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as running:
        resource.setrlimit(resource.RLIMIT_NOFILE, (fault.open_files or usual, most))
        try:
            running.enter_context(node)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
        yield node


def _oldest(files: Iterable[Path], faults: Mapping[str, Fault]) -> Iterator[tuple[Path, Fault]]:
    """Yield each fault with the file of its run on the oldest RabbitMQ, with nothing beside it."""
    heads = {file: header(file) for file in files}
    oldest = min((each.version for each in heads.values()), default="")
    for file, head in heads.items():
        if head.version == oldest and not head.loud:
            yield file, faults[head.fault]


def _line(outcome: judging.Outcome) -> str:
    at = "never" if outcome.at is None else f"{outcome.at:.0f} s"
    doubt = "" if outcome.is_true in (True, None) else " NOT THERE"
    return (
        f"place {outcome.place}, in two rows {at}, cold {outcome.cold}, AMQP {outcome.amqp}{doubt};"
        f" {', '.join(outcome.beside)}; false: {', '.join(outcome.false) or 'none'}"
    )


def _show(files: Iterable[Path]) -> None:
    for file in files:
        print(f"## {file}")
        for look in judging.looks(file):
            print(f"{look.seconds:6.1f} s")
            for row in look.shown:
                print(f"    {row.verdict} {row.severity} {row.check}: {row.finding}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the node and workers end, too
    sys.exit(main())
