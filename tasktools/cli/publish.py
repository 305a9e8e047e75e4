"""``tasktools publish``: publish one task, or the tasks in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import click

from tasktools.brokers.unconfirmed import raise_unless_confirmed
from tasktools.cli import output, render
from tasktools.cli.completion import topic_names
from tasktools.cli.connection_options import Access, with_access, with_json
from tasktools.cluster import task_file
from tasktools.core.frames import export
from tasktools.core.lazy_imports import pd

_MAX_LISTED: Final = 5
"""Lines about tasks that were not published."""
_MAX_FILE_CHARS: Final = 256_000_000


def _json(wanted: type, name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that reads an option as JSON of type *wanted*."""

    def read(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"this is not JSON ({error}).") from error
        if not isinstance(value, wanted):
            raise click.BadParameter(f"this is not a JSON {name}.")
        return value

    return read


@click.command()
@click.argument("topic", required=False, shell_complete=topic_names)
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
@click.option("--force", is_flag=True, help="Publish although a queue would drop messages.")
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
    force: bool,
    as_json: bool,
) -> None:
    """Publish TASK (of fastpluggy: module:function) to TOPIC, or the tasks in a file. A plain
    message, into a queue of programs that are not known, needs no TASK.

    Checks everything before anything is sent, and waits until RabbitMQ has confirmed. Prints
    the task's id; for a file, the number of tasks by outcome.
    """
    columns = {
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
        if any(value is not None for value in columns.values()):
            raise click.UsageError("--from takes topics, tasks and their values from the file.")
        _publish_file(access, file, create=create, force=force, as_json=as_json)
    elif topic is None:
        raise click.UsageError("Give TOPIC and TASK, or --from FILE.")
    else:
        frame = pd.DataFrame([columns], dtype=object)
        _publish_one(access, frame, create=create, force=force, as_json=as_json)


def _publish_one(
    access: Access, task: pd.DataFrame, *, create: bool, force: bool, as_json: bool
) -> None:
    with access.cluster() as cluster:
        published = cluster.publish_many(task, create=create, warn=_warn, force=force)
        done = published.iloc[0]
        reason = done["why"] if isinstance(done["why"], str) else None
        raise_unless_confirmed(done["outcome"], done["topic"], reason)
    if as_json:
        output.write(render.document(published))
    else:
        output.write(str(done["task_id"]))
        demo = f" ({output.DEMO})" if "demo" in published.attrs else ""
        output.remark([render.harmless(f"Published to {done['topic']}, confirmed{demo}.")])


def _publish_file(
    access: Access, file: IO[str], *, create: bool, force: bool, as_json: bool
) -> None:
    with access.cluster() as cluster:
        frame = task_file.read(text_of(file))
        with output.progress(len(frame)) as advance:
            published = cluster.publish_many(
                frame, create=create, progress=advance, warn=_warn, force=force
            )
    outcomes = Counter({"confirmed": 0})
    outcomes.update(published["outcome"].tolist())
    if as_json:
        output.write(render.document(published, outcomes=outcomes))
    else:
        output.tally(outcomes, demo="demo" in published.attrs)
    if outcomes["confirmed"] < len(published):
        output.remark(_missed(published))
        click.get_current_context().exit(1)


def _warn(warning: str) -> None:
    output.remark([render.harmless(f"warning: {warning}")])


def text_of(file: IO[str], *, max_chars: int = _MAX_FILE_CHARS) -> str:
    """Return the text in *file*, of at most *max_chars* characters."""
    try:
        text = file.read(max_chars + 1)
    except UnicodeDecodeError as error:
        raise click.ClickException(
            f"The file is not UTF-8 ({error.reason} at byte {error.start}); nothing was published."
        ) from error
    if len(text) > max_chars:
        raise click.ClickException(
            f"The file has more than {max_chars:,} characters; nothing was published. Split it."
        )
    return text


def _missed(published: pd.DataFrame) -> Iterator[str]:
    """Yield in words which tasks of the file were not published."""
    rows = export.rows(published)
    left = [{**row, "line": n} for n, row in enumerate(rows, start=1)]
    groups = render.alike([row for row in left if row["outcome"] != "confirmed"], _MAX_LISTED)
    for row, *others in groups[:_MAX_LISTED]:
        which = f"{1 + len(others):,} tasks, like " if others else ""
        which += f"task {row['line']} of the file, {row['task_name']} ({row['topic']})"
        why = f": {row['why']}" if row["why"] else ""
        yield render.harmless(f"{row['outcome']}: {which}{why}")
    if len(groups) > _MAX_LISTED:
        yield f"and {len(groups) - _MAX_LISTED:,} more reasons; --json lists all tasks"
