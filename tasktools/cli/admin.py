"""Commands that change topics and locks; irreversible ones ask first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tasktools.cli import output, render
from tasktools.cli.confirmation import asked, with_yes
from tasktools.cli.connection_options import Access, with_access, with_at, with_json
from tasktools.cli.display import Display, with_display
from tasktools.cli.suggesting_group import SuggestingGroup
from tasktools.cluster.commands import UNCHANGED
from tasktools.core import marks
from tasktools.core.frames import schemas
from tasktools.core.models import QueueType
from tasktools.monitor.active_tasks import unknown_topic

if TYPE_CHECKING:  # imported when a cluster is opened
    from tasktools.brokers.base import Broker


def setting(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
    """Read a setting: a number, ``none`` to remove it, or nothing to leave it unchanged."""
    if value is None:
        return UNCHANGED
    if value == "none":
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise click.BadParameter(f"{value!r} is neither a number nor 'none'.")
    return int(value) if isinstance(value, str) else value


# --- topics --------------------------------------------------------------------------


@click.group(cls=SuggestingGroup)
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
    """Create the topic NAME with properties that cannot be changed later.

    A topic that exists with other properties is left unchanged, and that is an error.
    """
    with access.cluster() as cluster:
        cluster.create_topic(
            name, queue_type=queue_type, max_priority=max_priority, message_ttl=message_ttl
        )
    output.remark([render.harmless(f"The topic {name} is there.")])


@topic.command()
@click.argument("name")
@click.option(
    "--concurrency-limit",
    callback=setting,
    metavar="N",
    help="Tasks that run at once, in the whole cluster; 0 pauses the topic.",
)
@click.option(
    "--max-retries",
    callback=setting,
    metavar="N",
    help="Retries, for tasks that do not set their number themselves.",
)
@click.option(
    "--dead-letter/--no-dead-letter",
    "dead_letter_enabled",
    default=None,
    callback=setting,
    help="Whether what failed for good is kept.",
)
@click.option(
    "--retention",
    "retention_seconds",
    callback=setting,
    metavar="S",
    help="Seconds for which dead letters are kept.",
)
@with_json
@with_access
def configure(access: Access, *, name: str, as_json: bool, **settings: Any) -> None:
    """Change settings of the topic NAME and show them; 'none' removes one.

    Settings that are not named stay unchanged. The broker stores them, and sends them to all
    workers.
    """
    if all(value is UNCHANGED for value in settings.values()):
        raise click.UsageError("Name a setting to change; 'tasktools topic settings' shows them.")
    with access.cluster() as cluster:
        frame = cluster.configure_topic(name, **settings)
    output.answer(frame, schemas.SETTINGS, as_json=as_json)


@topic.command()
@with_display(schemas.SETTINGS)
@with_access
def settings(access: Access, *, display: Display) -> None:
    """Show the settings of all topics that have some."""
    with access.cluster() as cluster:
        display.show(cluster.topic_settings_table)


@topic.command()
@click.argument("name")
@click.option(
    "--force", is_flag=True, help="Delete it with its messages, and although it has consumers."
)
@with_yes
@with_access
def delete(access: Access, *, name: str, force: bool, yes: bool) -> None:
    """Delete the topic NAME: its queue, its dead-letter queue, and its settings.

    Without --force, a topic with messages or consumers is not deleted.
    """
    with_messages = ", with all messages that are in it" if force else ""
    with access.cluster() as cluster:
        if not yes:
            _check_topic(cluster.broker, name)
        asked(f"Delete the topic {name}{with_messages}?", yes=yes)
        deleted = cluster.delete_topic(name, force=force)
    lost = f", and {deleted} message{'' if deleted == 1 else 's'} with it" if deleted else ""
    output.remark([render.harmless(f"The topic {name} was deleted{lost}.")])


def _check_topic(broker: Broker, name: str) -> None:
    """Raise `UnknownTopic` if neither queue of the topic exists."""
    queues = (name, broker.layout.dead_queue(name))
    if not any(broker.queue_exists(queue) for queue in queues):
        raise unknown_topic(broker, name)


# --- marks ---------------------------------------------------------------------------


def _text(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Read the text of a mark."""
    try:
        return marks.checked(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("text", callback=_text)
@with_access
def mark(access: Access, *, text: str) -> None:
    """Note what happens now, like "deploy 1.4", in every recording of the cluster.

    Running recorders and notebooks get the mark as an event, which workers ignore. It is stored
    only there: record the cluster first.
    """
    with access.cluster() as cluster:
        frame = cluster.mark(text)
    if not frame.attrs["sent"]:  # and this process ends
        raise click.ClickException(
            render.harmless(f"Nothing was marked: {frame.attrs['why_not_sent']}")
        )
    shown = f"Marked at {frame['at'][0]:%Y-%m-%d %H:%M:%S} UTC: {frame['text'][0]}"
    output.remark([render.harmless(shown)])


# --- locks ---------------------------------------------------------------------------


@click.command()
@with_at
@with_display(schemas.LOCKS)
@with_access
def locks(access: Access, *, at: str | None, display: Display) -> None:
    """Show the locks that are held, their holders, and whether a holder is gone."""
    with access.cluster() as cluster:
        cluster.workers_table()  # wait for events of the workers, which show who is gone
        display.show(lambda: cluster.locks_table(at=at))


@click.command()
@click.argument("lock")
@with_yes
@with_access
def unlock(access: Access, *, lock: str, yes: bool) -> None:
    """Release LOCK, whoever holds it.

    A task that still runs is not stopped, and may use the protected resource at the same time as
    the next holder.
    """
    asked(f"Take the lock {lock} away, even if its task still runs?", yes=yes)
    with access.cluster() as cluster:
        was_held = cluster.force_release_lock(lock)
    answer = f"The lock {lock} was taken away." if was_held else f"Nobody had the lock {lock}."
    output.remark([render.harmless(answer)])
