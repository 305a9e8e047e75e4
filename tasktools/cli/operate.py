"""Commands that change topics, workers and locks; what cannot be taken back asks first."""

from __future__ import annotations

from typing import Any

import click

from tasktools.cli import output, show
from tasktools.cli.access import Access, with_access, with_at, with_json
from tasktools.core import schemas
from tasktools.core.models import QueueType
from tasktools.ops.commands import UNCHANGED

with_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def _setting(_context: click.Context, _option: click.Parameter, given: Any) -> Any:
    """Read a setting: a number, or ``none`` for none; not given, it stays as it is."""
    if given is None:
        return UNCHANGED
    if given == "none":
        return None
    if isinstance(given, str) and not (given.isascii() and given.isdigit()):
        raise click.BadParameter(f"{given!r} is neither a number nor 'none'.")
    return int(given) if isinstance(given, str) else given


def _asked(question: str, *, yes: bool) -> None:
    if not yes:
        click.confirm(show.harmless(question), abort=True, err=True)


# --- topics --------------------------------------------------------------------------


@click.group()
def topic() -> None:
    """Create topics, and see and change their settings."""


@topic.command()
@click.argument("name")
@click.option(
    "--type",
    "queue_type",
    type=click.Choice(["classic", "quorum"]),
    default="classic",
    show_default=True,
    help="Of the queue; the dead-letter queue is classic.",
)
@click.option(
    "--max-priority",
    type=click.IntRange(1, 255),
    metavar="N",
    help="Gives a classic queue priorities up to N; quorum queues have their own.",
)
@click.option(
    "--message-ttl",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Messages are dead-lettered when they wait for longer than S seconds.",
)
@with_access
def create(
    access: Access,
    *,
    name: str,
    queue_type: QueueType,
    max_priority: int | None,
    message_ttl: float | None,
) -> None:
    """Create the topic NAME, with what can only be chosen now.

    A topic that exists and is different stays as it is, and that is an error.
    """
    with access.cluster() as cluster:
        cluster.create_topic(
            name, queue_type=queue_type, max_priority=max_priority, message_ttl=message_ttl
        )
    output.remark([show.harmless(f"The topic {name} is there.")])


@topic.command()
@click.argument("name")
@click.option(
    "--concurrency-limit",
    callback=_setting,
    metavar="N",
    help="Tasks that run at once, in the whole cluster; 0 pauses the topic.",
)
@click.option(
    "--max-retries",
    callback=_setting,
    metavar="N",
    help="Tries after the first, for tasks that do not say it themselves.",
)
@click.option(
    "--dead-letter/--no-dead-letter",
    "dead_letter_enabled",
    default=None,
    callback=_setting,
    help="Whether what failed for good is kept.",
)
@click.option(
    "--retention",
    "retention_seconds",
    callback=_setting,
    metavar="S",
    help="Seconds for which dead letters are kept.",
)
@with_json
@with_access
def configure(access: Access, *, name: str, as_json: bool, **settings: Any) -> None:
    """Change settings of the topic NAME and show them; 'none' takes one away.

    What is not named stays as it is. The broker keeps them, and all workers are told.
    """
    if all(value is UNCHANGED for value in settings.values()):
        raise click.UsageError("Name a setting to change; 'tasktools topic settings' shows them.")
    with access.cluster() as cluster:
        frame = cluster.configure_topic(name, **settings)
    output.answer(frame, schemas.SETTINGS, as_json=as_json)


@topic.command()
@with_json
@with_access
def settings(access: Access, *, as_json: bool) -> None:
    """Show the settings of topics that have any."""
    with access.cluster() as cluster:
        frame = cluster.topic_settings()
    output.answer(frame, schemas.SETTINGS, as_json=as_json)


# --- workers -------------------------------------------------------------------------


@click.command()
@click.argument("worker")
@click.option(
    "--force",
    is_flag=True,
    help="Also a worker that is not of tasktools; its peers run again what they have in hand.",
)
@with_yes
@with_json
@with_access
def drain(access: Access, *, worker: str, force: bool, yes: bool, as_json: bool) -> None:
    """Let WORKER take no more tasks and finish those that it runs.

    Shows the worker once it says that it does so.
    """
    if force:
        _asked(f"Drain {worker} even if peers run tasks twice then?", yes=yes)
    with access.cluster() as cluster:
        frame = cluster.drain(worker, force=force)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


# --- locks ---------------------------------------------------------------------------


@click.command()
@with_at
@with_json
@with_access
def locks(access: Access, *, at: str | None, as_json: bool) -> None:
    """Show the locks that are held, by whom, and whether that one is gone."""
    with access.cluster() as cluster:
        cluster.workers()  # wait until the workers were heard: they say who is gone
        frame = cluster.locks(at=at)
    output.answer(frame, schemas.LOCKS, as_json=as_json)


@click.command()
@click.argument("lock")
@with_yes
@with_access
def unlock(access: Access, *, lock: str, yes: bool) -> None:
    """Take LOCK away from whoever has it.

    A task that still runs goes on using what the lock protects.
    """
    _asked(f"Take the lock {lock} away, even if its task still runs?", yes=yes)
    with access.cluster() as cluster:
        was_held = cluster.force_release_lock(lock)
    said = f"The lock {lock} was taken away." if was_held else f"Nobody had the lock {lock}."
    output.remark([show.harmless(said)])
