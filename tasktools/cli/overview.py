"""The commands that show the cluster as it is: its totals, workers, topics and tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

import tasktools
from tasktools.cli import output, render
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access, with_at, with_json
from tasktools.cli.display import Display, with_display, with_rows
from tasktools.core.frames import export, schemas
from tasktools.core.frames.diagnosis_schemas import PROBLEMS
from tasktools.core.frames.table import Table

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.cluster.cluster import Cluster

HOW_TO_KNOW: Final = (
    "tasktools failures --watch 60s listens from now on, tasktools record keeps all"
)
"""The ways to learn why tasks failed."""


@click.command()
@with_at
@with_json
@with_access
def status(access: Access, *, at: str | None, as_json: bool) -> None:
    """Show totals of the cluster (workers, load, messages) and the worst finding."""
    with access.cluster() as cluster:
        table = cluster.stats_table(at=at)
        failed = sum(count or 0 for count in cluster.workers_table(at=at)["failed"])
        findings = tasktools.diagnose(cluster, at=at, settle=0)
        is_recorded = "recorded" in table.attrs
    if failed:
        how = "tasktools failures" if is_recorded else HOW_TO_KNOW
        table.attrs["notes"] += [f"{failed:,} tasks failed since the workers started; why: {how}"]
    if table["dead_letter"][0] and not is_recorded:
        table.attrs["notes"] += ["why messages are dead letters: tasktools dead TOPIC"]
    if as_json:
        worst = findings[findings["verdict"].isin(PROBLEMS)].head(1)
        output.write(render.document(table, worst=next(iter(export.rows(worst)), None)))
        return
    output.answer(table, schemas.STATS, as_json=False, render=render.facts)
    output.write(render.harmless(findings.attrs["headline"]))


@click.command()
@with_at
@with_display(schemas.WORKERS)
@with_access
def workers(access: Access, *, at: str | None, display: Display) -> None:
    """Show the workers, including those that died within the last hour."""
    with access.cluster() as cluster:
        display.show(lambda: cluster.workers_table(at=at))


@click.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1, shell_complete=topic_names)
@with_at
@with_display(schemas.TOPICS)
@with_access
def topics(access: Access, names: tuple[str, ...], *, at: str | None, display: Display) -> None:
    """Show the topics: their queues, their load, their dead letters.

    Without the management API only topics that workers mention can be found; with a TOPIC,
    only that one is shown, in any case.
    """

    def look(cluster: Cluster) -> Table:
        table = cluster.topics_table(at=at)
        if not names:
            return table
        return table.at(n for n, topic in enumerate(table["topic"]) if topic in names)

    with access.cluster(names) as cluster:
        display.show(lambda: look(cluster))


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
@click.option(
    "--queued/--no-queued",
    default=False,
    help="Look into the queues, too, which marks their messages redelivered; by default not.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 65_535),
    default=1000,
    show_default=True,
    metavar="N",
    help="With --queued: how many queued tasks of a topic to look at.",
)
@with_rows("tasks")
@with_at
@with_display(schemas.ACTIVE_TASKS)
@with_access
def tasks(
    access: Access,
    topic: str | None,
    *,
    queued: bool,
    limit: int,
    rows: int,
    at: str | None,
    display: Display,
) -> None:
    """Show running tasks, of TOPIC or of all topics; with --queued those in the queues, too."""
    with access.cluster() as cluster:
        display.show(
            lambda: cluster.active_tasks_table(topic, queued=queued, limit=limit, at=at), rows=rows
        )
