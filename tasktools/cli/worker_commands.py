"""Commands to workers; those whose effect cannot be undone ask first."""

from __future__ import annotations

import click

from tasktools.cli import output
from tasktools.cli.admin import setting
from tasktools.cli.completion import topic_names, worker_names
from tasktools.cli.confirmation import asked, with_yes
from tasktools.cli.connection_options import Access, with_access, with_json
from tasktools.cluster.commands import UNCHANGED, Unchanged
from tasktools.core.frames import schemas

_with_worker = click.argument("worker", shell_complete=worker_names)
_with_any_worker = click.option(
    "--worker",
    shell_complete=worker_names,
    metavar="NAME",
    help="Only this worker; else all that take such commands.",
)
_with_force = click.option(
    "--force",
    is_flag=True,
    help="Also a worker that is not of tasktools; such a worker runs its present tasks again.",
)


def _check_forced(worker: str, *, force: bool, yes: bool) -> None:
    if force:
        asked(f"Command {worker} even if peers run tasks twice then?", yes=yes)


# --- workers of tasktools and of Celery ------------------------------------------------


@click.command()
@_with_worker
@_with_force
@with_yes
@with_json
@with_access
def drain(access: Access, *, worker: str, force: bool, yes: bool, as_json: bool) -> None:
    """Make WORKER finish its running tasks and take no new ones.

    Shows the worker when it has confirmed that. For workers of tasktools; of Celery's, see
    leave-topic and shutdown.
    """
    _check_forced(worker, force=force, yes=yes)
    with access.cluster() as cluster:
        frame = cluster.drain(worker, force=force)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@_with_worker
@click.argument("topic", shell_complete=topic_names)
@_with_force
@with_yes
@with_json
@with_access
def join_topic(
    access: Access, *, worker: str, topic: str, force: bool, yes: bool, as_json: bool
) -> None:
    """Make WORKER consume TOPIC as well, which is created if it is missing.

    Shows the worker when it has confirmed that. It ends a drain; '*' ends that of a worker that
    consumes every topic. For workers of tasktools and of Celery.
    """
    _check_forced(worker, force=force, yes=yes)
    with access.cluster() as cluster:
        frame = cluster.join_topic(worker, topic, force=force)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@_with_worker
@click.argument("topic", shell_complete=topic_names)
@_with_force
@with_yes
@with_json
@with_access
def leave_topic(
    access: Access, *, worker: str, topic: str, force: bool, yes: bool, as_json: bool
) -> None:
    """Make WORKER stop consuming TOPIC; its running tasks finish.

    Shows the worker when it has confirmed that. For workers of tasktools and of Celery.
    """
    _check_forced(worker, force=force, yes=yes)
    with access.cluster() as cluster:
        frame = cluster.leave_topic(worker, topic, force=force)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


# --- workers of Celery -----------------------------------------------------------------


@click.command()
@_with_worker
@with_yes
@with_json
@with_access
def shutdown(access: Access, *, worker: str, yes: bool, as_json: bool) -> None:
    """Make WORKER finish its running tasks and stop. For workers of Celery.

    What it has prefetched goes back to its queue. Shows the worker as soon as the command is sent.
    """
    asked(f"Stop the worker {worker}, once its tasks have ended?", yes=yes)
    with access.cluster() as cluster:
        frame = cluster.shutdown(worker)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


def _nonzero(_context: click.Context, _option: click.Parameter, value: int) -> int:
    if value == 0:
        raise click.BadParameter("0 changes nothing. Name how many to add, or to end (-1).")
    return value


@click.command()
@_with_worker
@click.option(
    "--by",
    type=int,
    required=True,
    callback=_nonzero,
    metavar="N",
    help="Processes or threads to add; below 0: to end, once their tasks have ended.",
)
@with_json
@with_access
def resize_pool(access: Access, *, worker: str, by: int, as_json: bool) -> None:
    """Make WORKER run more tasks at once, or fewer. For workers of Celery.

    Its column 'capacity' changes a moment later.
    """
    with access.cluster() as cluster:
        frame = cluster.resize_pool(worker, by)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@click.argument("task_name")
@click.argument("rate")
@_with_any_worker
@with_json
@with_access
def rate_limit(
    access: Access, *, task_name: str, rate: str, worker: str | None, as_json: bool
) -> None:
    """Limit how often each worker begins TASK_NAME. For workers of Celery.

    RATE is like 10/s, 5/m or 100/h; 0 removes the limit. It lasts until the worker stops. Shows the
    workers that were commanded; notes say which refused, and why.
    """
    with access.cluster() as cluster:
        frame = cluster.rate_limit(task_name, rate, worker_id=worker)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@click.argument("task_name")
@click.option(
    "--soft",
    callback=setting,
    metavar="S",
    help="Seconds after which the task gets an exception that it can handle.",
)
@click.option(
    "--hard", callback=setting, metavar="S", help="Seconds after which its process is killed."
)
@_with_any_worker
@with_yes
@with_json
@with_access
def time_limit(
    access: Access,
    *,
    task_name: str,
    soft: int | Unchanged | None,
    hard: int | Unchanged | None,
    worker: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Limit for how long TASK_NAME may run. For workers of Celery.

    Sets both limits: the one that is not named, or 'none', is removed. They last until the worker
    stops. Shows the workers that were commanded; notes say which refused, and why.
    """
    if soft is UNCHANGED and hard is UNCHANGED:
        raise click.UsageError("Name --soft or --hard; 'none' removes the limits.")
    limits = {
        "soft": None if isinstance(soft, Unchanged) else soft,
        "hard": None if isinstance(hard, Unchanged) else hard,
    }
    if limits["hard"] is not None:
        asked(f"Kill each {task_name} that runs for over {hard} s, its work half done?", yes=yes)
    with access.cluster() as cluster:
        frame = cluster.time_limit(task_name, worker_id=worker, **limits)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@click.argument("task_id")
@click.option(
    "--terminate", is_flag=True, help="Also end the process that runs it: its work stays half done."
)
@with_yes
@with_json
@with_access
def revoke(access: Access, *, task_id: str, terminate: bool, yes: bool, as_json: bool) -> None:
    """Make workers drop the task TASK_ID when it comes. For workers of Celery.

    They remember that until they stop. Shows the workers that were commanded; notes say which
    refused, and why.
    """
    ended = ", and end it if it runs, its work half done" if terminate else ""
    asked(f"Drop the task {task_id} when it comes{ended}?", yes=yes)
    with access.cluster() as cluster:
        frame = cluster.revoke(task_id, terminate=terminate)
    output.answer(frame, schemas.WORKERS, as_json=as_json)


@click.command()
@_with_any_worker
@with_json
@with_access
def enable_task_events(access: Access, *, worker: str | None, as_json: bool) -> None:
    """Make workers send events of their tasks. For workers of Celery.

    Without that, failures, counts and durations of their tasks are not known. It lasts until the
    worker stops. Shows the workers that were commanded; notes say which refused, and why.
    """
    with access.cluster() as cluster:
        frame = cluster.enable_task_events(worker)
    output.answer(frame, schemas.WORKERS, as_json=as_json)
