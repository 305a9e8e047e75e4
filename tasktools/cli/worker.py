"""``tasktools worker``: execute tasks until a signal comes."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from types import ModuleType

import click

from tasktools.cli import render
from tasktools.cli.connection_options import Access, with_access
from tasktools.worker import DEFAULT, TaskRegistry, TaskRunner
from tasktools.worker.runner import POISON_LIMIT


@click.command()
@click.option(
    "--app",
    required=True,
    metavar="MODULE[:REGISTRY]",
    help="The module that registers the tasks, found from the current directory; REGISTRY is its "
    "TaskRegistry, when it does not use tasktools.task.",
)
@click.option(
    "--topics", required=True, metavar="A,B", help="The topics to consume; '*' is every topic."
)
@click.option("--capacity", type=click.IntRange(1), default=4, show_default=True)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long running tasks may take to end when it is stopped.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long a task may take that has no limit of its own.",
)
@click.option(
    "--prefetch",
    type=click.IntRange(1),
    help="Messages of a topic that are held at most; by default the capacity.",
)
@click.option(
    "--poison-limit",
    type=click.IntRange(0),
    default=POISON_LIMIT,
    show_default=True,
    help="How often a task that came back may be begun and end the process of its worker, until "
    "it is dead-lettered as poison; 0 is for ever.",
)
@click.option("--worker-id", metavar="NAME", help="How others see it.")
@with_access
def worker(
    access: Access,
    *,
    app: str,
    topics: str,
    capacity: int,
    grace: float,
    time_limit: float | None,
    prefetch: int | None,
    poison_limit: int,
    worker_id: str | None,
) -> None:
    """Execute tasks until SIGTERM or SIGINT; a second signal does not wait for running ones.

    Exits with 1 when tasks had to be given back unfinished; they run again elsewhere.
    """
    registry = _load(app)
    names = [name.strip() for name in topics.split(",") if name.strip()]
    if not names:
        raise click.BadParameter("name at least one topic.", param_hint="--topics")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.WARNING)
    with access.cluster() as cluster:
        runner = TaskRunner(
            broker=cluster.broker,
            topics=names,
            capacity=capacity,
            registry=registry,
            worker_id=worker_id,
            grace=grace,
            time_limit=time_limit,
            prefetch=prefetch,
            poison_limit=poison_limit or None,
        )
        given_back = runner.run()
    if given_back:
        raise click.ClickException(
            f"Tasks given back unfinished, which will run again: {given_back}."
        )


def _load(app: str) -> TaskRegistry:
    """Import the application and return its tasks."""
    module_name, _, attribute = app.partition(":")
    module = _import(module_name)
    registry = getattr(module, attribute, None) if attribute else DEFAULT
    if not isinstance(registry, TaskRegistry):
        raise click.ClickException(f"{app!r} is no TaskRegistry; nothing was started.")
    if not len(registry):
        raise click.ClickException(
            f"{app!r} registers no tasks; nothing was started. Decorate its functions with "
            "tasktools.task, or name its registry as MODULE:REGISTRY."
        )
    return registry


def _import(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise click.ClickException(
                f"There is no module {error.name!r}; nothing was started. It is looked for in the "
                "current directory and on PYTHONPATH."
            ) from error
        raise _broken(name, error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> click.ClickException:
    where = ""
    if not isinstance(error, SyntaxError):  # which says so itself
        frames = traceback.extract_tb(error.__traceback__)
        frame = [f for f in frames if not f.filename.startswith("<frozen")][-1]
        where = f" ({frame.filename}, line {frame.lineno})"
    return click.ClickException(
        render.harmless(
            f"The module {name!r} cannot be imported; nothing was started: "
            f"{type(error).__name__}: {error}{where}"
        )
    )
