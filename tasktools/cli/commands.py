"""The commands. Exit codes: 0 done; 1 could not be done, or not all of it; 2 wrong usage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import IO, Any, Final

import click
import pandas as pd

import tasktools
from tasktools.brokers.base import raise_unless_confirmed
from tasktools.cli import output, show
from tasktools.cli.access import Access, with_access, with_at, with_json
from tasktools.core import schemas
from tasktools.ops import task_file

_LISTED: Final = 20


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Set BROKER_DSN, or try --dsn demo:// for a small made-up cluster.",
)
@click.version_option(tasktools.__version__, prog_name="tasktools")
def main() -> None:
    """Look at a RabbitMQ task-worker cluster, publish to it, and operate it."""


@main.command()
@with_at
@with_json
@with_access
def status(access: Access, *, at: str | None, as_json: bool) -> None:
    """Show the cluster in figures: workers, load, messages."""
    with access.cluster() as cluster:
        frame = cluster.stats(at=at)
    output.answer(frame, schemas.STATS, as_json=as_json, render=show.facts)


@main.command()
@with_at
@with_json
@with_access
def workers(access: Access, *, at: str | None, as_json: bool) -> None:
    """Show the workers, dead ones of the last hour included."""
    with access.cluster() as cluster:
        frame = cluster.workers(at=at)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@main.command()
@click.argument("names", metavar="[TOPIC]...", nargs=-1)
@with_at
@with_json
@with_access
def topics(access: Access, names: tuple[str, ...], *, at: str | None, as_json: bool) -> None:
    """Show the topics: their queues, their load, their dead letters.

    Without the management API only topics that workers speak of can be found; naming a TOPIC
    shows it all the same, and nothing else.
    """
    with access.cluster(names) as cluster:
        cluster.workers(at=at)  # wait until the workers have named their topics
        frame = cluster.topics(at=at)
    if names:
        attrs, frame = frame.attrs, frame[frame["topic"].isin(names)]
        frame.attrs = attrs
    output.answer(frame, schemas.TOPICS, as_json=as_json)


@main.command()
@click.argument("topic", required=False)
@click.option(
    "--queued/--no-queued",
    default=True,
    help="Look at the queues, too (default); this marks messages redelivered.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 65_535),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many queued tasks of a topic to look at.",
)
@with_at
@with_json
@with_access
def tasks(
    access: Access,
    topic: str | None,
    *,
    queued: bool,
    limit: int,
    at: str | None,
    as_json: bool,
) -> None:
    """Show running and queued tasks, of TOPIC or of all topics."""
    with access.cluster() as cluster:
        frame = cluster.active_tasks(topic, queued=queued, limit=limit, at=at)
    output.answer(frame, schemas.ACTIVE_TASKS, as_json=as_json)


def _json(wanted: type, name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that reads an option as JSON of type *wanted*."""

    def read(_context: click.Context, _option: click.Parameter, given: str | None) -> Any:
        if given is None:
            return None
        try:
            value = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"this is not JSON ({error}).") from error
        if not isinstance(value, wanted):
            raise click.BadParameter(f"this is not a JSON {name}.")
        return value

    return read


@main.command()
@click.argument("topic", required=False)
@click.argument("task", required=False)
@click.option("--args", "task_args", callback=_json(list, "array"), metavar="JSON", help="Array.")
@click.option("--kwargs", callback=_json(dict, "object"), metavar="JSON", help="Object.")
@click.option("--headers", callback=_json(dict, "object"), metavar="JSON", help="Object.")
@click.option("--priority", type=click.IntRange(0, 255), metavar="N", help="AMQP priority.")
@click.option(
    "--ttl", type=float, metavar="S", help="It expires if not delivered within S seconds."
)
@click.option("--delay", type=float, metavar="S", help="It is queued after S seconds.")
@click.option("--create", is_flag=True, help="Create topics that do not exist.")
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8-sig"),
    metavar="FILE",
    help="Publish the tasks in a file: CSV, or one JSON object a line, with "
    f"{', '.join(task_file.COLUMNS)}; args, kwargs and headers are JSON. '-' reads stdin.",
)
@with_json
@with_access
def publish(  # noqa: PLR0913 - one an option
    access: Access,
    *,
    topic: str | None,
    task: str | None,
    task_args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    headers: dict[str, Any] | None,
    priority: int | None,
    ttl: float | None,
    delay: float | None,
    create: bool,
    file: IO[str] | None,
    as_json: bool,
) -> None:
    """Publish TASK (module:function) to TOPIC, or the tasks in a file.

    Waits until RabbitMQ has confirmed. Everything is checked before anything is sent. Prints
    the task's id; for a file, how many tasks had which outcome.
    """
    given = {
        "topic": topic,
        "task_name": task,
        "args": task_args,
        "kwargs": kwargs,
        "headers": headers,
        "priority": priority,
        "ttl": ttl,
        "delay": delay,
    }
    if file is not None:
        if any(value is not None for value in given.values()):
            raise click.UsageError("--from takes topics, tasks and their values from the file.")
        _publish_file(access, file, create=create, as_json=as_json)
    elif topic is None or task is None:
        raise click.UsageError("Give TOPIC and TASK, or --from FILE.")
    else:
        frame = pd.DataFrame([given], dtype=object)
        _publish_one(access, frame, create=create, as_json=as_json)


def _publish_one(access: Access, task: pd.DataFrame, *, create: bool, as_json: bool) -> None:
    with access.cluster() as cluster:
        published = cluster.publish_many(task, create=create)
        done = published.iloc[0]
        raise_unless_confirmed(done["outcome"], done["topic"])
    if as_json:
        output.write(show.document(published))
    else:
        output.write(str(done["task_id"]))
        demo = f" ({output.DEMO})" if "demo" in published.attrs else ""
        output.remark([show.harmless(f"Published to {done['topic']}, confirmed{demo}.")])


def _publish_file(access: Access, file: IO[str], *, create: bool, as_json: bool) -> None:
    with access.cluster() as cluster:
        frame = task_file.read(_text_of(file))
        with output.progress(len(frame)) as advance:
            published = cluster.publish_many(frame, create=create, progress=advance)
    outcomes = Counter({"confirmed": 0})
    outcomes.update(published["outcome"].tolist())
    if as_json:
        output.write(show.document(published, outcomes=outcomes))
    else:
        output.tally(outcomes, demo="demo" in published.attrs)
    if outcomes["confirmed"] < len(published):
        output.remark(_missed(published))
        click.get_current_context().exit(1)


def _text_of(file: IO[str]) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"The file is not UTF-8 ({error.reason} at byte {error.start}); nothing was published."
        ) from error


def _missed(published: pd.DataFrame) -> list[str]:
    rows = enumerate(published.to_dict("records"), start=1)
    lines = [
        show.harmless(
            f"{row['outcome']}: task {n} of the file, {row['task_name']} ({row['topic']})"
        )
        for n, row in rows
        if row["outcome"] != "confirmed"
    ]
    more = [f"and {len(lines) - _LISTED:,} more; --json lists them all"]
    return [*lines[:_LISTED], *(more if len(lines) > _LISTED else [])]
