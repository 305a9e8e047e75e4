"""The main command. Exit codes: 0 done; 1 failed, or done in part; 2 wrong usage.

A command is imported when it is used, so that ``tasktools --help`` and each of them begin at once.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

import tasktools
from tasktools.cli.examples import with_examples
from tasktools.cli.suggesting_group import SuggestingGroup

COMMANDS: Final = MappingProxyType(
    {
        "Look": {
            "status": ("overview", "Totals of the cluster, and the worst finding."),
            "diagnose": ("diagnose", "What is wrong, the best explanation first."),
            "workers": ("overview", "Workers, and those that died within the last hour."),
            "topics": ("overview", "Topics: their queues, their load, their dead letters."),
            "tasks": ("overview", "Running and queued tasks."),
            "locks": ("admin", "Locks that are held, and by whom."),
            "forecast": ("forecast", "When the queue of a topic is empty."),
            "capacity": ("capacity", "How many workers each topic needs."),
        },
        "Failures": {
            "dead": ("dead_letters", "Dead letters: groups of failures, then the messages."),
            "failures": ("failures", "Tasks that failed, also without a dead letter."),
            "replay": ("replay", "Send dead letters, or failed tasks, again."),
            "discard": ("replay", "Take dead letters out of their queue."),
            "restore": ("replay", "Put discarded messages back."),
            "ledger": ("dead_letters", "Who replayed, discarded or restored what, and why."),
        },
        "History": {
            "record": ("record", "Record the cluster into a file."),
            "timeline": ("timeline", "What happened, in the order of time."),
            "report": ("report", "Write one HTML file to read, print and pass on."),
            "mark": ("admin", 'Note what happens now, like "deploy 1.4".'),
            "tap": ("tap", "Keep published messages on the broker."),
            "published": ("tap", "Messages of a tap or a recording."),
            "untap": ("tap", "Stop keeping published messages."),
        },
        "Operate": {
            "publish": ("publish", "Publish a task, or the tasks in a file."),
            "topic": ("admin", "Create and delete topics, change their settings."),
            "unlock": ("admin", "Release a lock, whoever holds it."),
        },
        "Workers": {
            "drain": ("worker_commands", "Make a worker take no new tasks."),
            "join-topic": ("worker_commands", "Make a worker consume one more topic."),
            "leave-topic": ("worker_commands", "Make a worker leave a topic."),
            "shutdown": ("worker_commands", "Stop a worker of Celery."),
            "resize-pool": ("worker_commands", "Let a worker of Celery run more at once, or less."),
            "rate-limit": ("worker_commands", "Limit how often Celery begins a kind of task."),
            "time-limit": ("worker_commands", "Limit how long a kind of Celery task may run."),
            "revoke": ("worker_commands", "Make workers of Celery drop a task."),
            "enable-task-events": ("worker_commands", "Make workers of Celery send task events."),
        },
        "Run": {
            "board": ("board", "Open the live board in the browser."),
            "lab": ("lab", "Open JupyterLab on the notebooks."),
            "worker": ("worker", "Execute tasks."),
            "metrics": ("metrics", "Serve metrics for Prometheus."),
            "notebook": ("notebook", "Run notebooks without a browser."),
            "notebooks": ("lab", "Copy the notebooks into a folder."),
            "completion": ("completion", "Completion of commands and names in a shell."),
        },
    }
)
"""The commands by section: the module beside this one that has it, and what it does or shows."""
_MODULE_OF: Final = {
    name: module for section in COMMANDS.values() for name, (module, _) in section.items()
}


class _Commands(SuggestingGroup):
    """The command group; characters that a terminal cannot encode are escaped."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name."""
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # closed, as by >&-: nobody wants what is written there
                nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
                setattr(sys, name, nowhere)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return list(_MODULE_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or `None` if there is none of that name."""
        del ctx
        if cmd_name not in _MODULE_OF:
            return None
        module = import_module(f"tasktools.cli.{_MODULE_OF[cmd_name]}")
        return with_examples(getattr(module, cmd_name.replace("-", "_")), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the commands do, without importing them."""
        del ctx
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, words) for name, (_, words) in commands.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Set BROKER_DSN, or try --dsn demo:// for a small made-up cluster.",
)
@click.version_option(tasktools.__version__, prog_name="tasktools")
def main() -> None:
    """Look at a RabbitMQ task-worker cluster, publish to it, and operate it."""
