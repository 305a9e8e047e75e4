"""Examples of the commands, which their help ends with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "status": ("tasktools status", "tasktools status --at 2h --dsn sqlite:///ops.db"),
        "diagnose": ("tasktools diagnose", "tasktools diagnose --watch 30s --json"),
        "workers": ("tasktools workers --sort -failed", "tasktools workers --watch 2s"),
        "topics": (
            "tasktools topics --sort -queued --watch 2s",
            "tasktools topics emails orders --json",
            "tasktools topics --at 2h --dsn sqlite:///ops.db",
        ),
        "tasks": ("tasktools tasks --sort -age", "tasktools tasks emails --queued --rows 50"),
        "locks": ("tasktools locks --sort -held_for",),
        "forecast": ("tasktools forecast emails --watch 3m",),
        "capacity": ("tasktools capacity --dsn sqlite:///ops.db --wait 30s",),
        "dead": (
            "tasktools dead",
            "tasktools dead emails --by error_type",
            "tasktools dead emails --where error_type=Timeout --where kwargs.to~@example.com",
        ),
        "failures": (
            "tasktools failures emails --since 1D --by error_type --dsn sqlite:///ops.db",
            "tasktools failures --watch 60s",
        ),
        "replay": (
            "tasktools replay emails --where error_type=Timeout --save plan.json",
            "tasktools replay --plan plan.json --yes --reason INC-42",
            "tasktools replay emails --set kwargs.to=a@b --ramp --yes --reason INC-42",
        ),
        "discard": (
            "tasktools discard emails --where kwargs.to~test --archive junk.jsonl",
            "tasktools discard emails --archive junk.jsonl --yes --reason INC-42",
        ),
        "restore": ("tasktools restore junk.jsonl --yes --reason INC-42",),
        "ledger": ("tasktools ledger --last 5", "tasktools ledger 3 --csv"),
        "record": (
            "tasktools record ops.db --bodies",
            "tasktools record ops.db --every 5s --for 8h --keep 30D",
        ),
        "timeline": ("tasktools timeline --since 2h --dsn sqlite:///ops.db",),
        "report": ("tasktools report --since 2h -o incident.html --dsn sqlite:///ops.db",),
        "mark": ("tasktools mark 'deploy 1.4'",),
        "tap": ("tasktools tap --max-age 1D", "tasktools tap --max-age 1D --yes"),
        "published": ("tasktools published emails --since 2h",),
        "untap": ("tasktools untap --yes",),
        "publish": (
            'tasktools publish emails shop.mail:send --kwargs \'{"to": "a@b"}\'',
            "tasktools publish --from tasks.csv",
        ),
        "topic": ("tasktools topic settings", "tasktools topic create orders --type quorum"),
        "topic create": ("tasktools topic create orders --type quorum --message-ttl 3600",),
        "topic configure": (
            "tasktools topic configure emails --concurrency-limit 3",
            "tasktools topic configure emails --concurrency-limit none",
        ),
        "topic settings": ("tasktools topic settings --csv",),
        "topic delete": ("tasktools topic delete orders",),
        "unlock": ("tasktools unlock nightly",),
        "drain": ("tasktools drain mail-1",),
        "join-topic": ("tasktools join-topic w1@shop reports", "tasktools join-topic mail-1 '*'"),
        "leave-topic": ("tasktools leave-topic w1@shop reports",),
        "shutdown": ("tasktools shutdown w1@shop",),
        "resize-pool": (
            "tasktools resize-pool w1@shop --by 2",
            "tasktools resize-pool w1@shop --by -1",
        ),
        "rate-limit": (
            "tasktools rate-limit shop.send_email 10/m --worker w1@shop",
            "tasktools rate-limit shop.send_email 0",
        ),
        "time-limit": (
            "tasktools time-limit shop.report --soft 60 --hard 90",
            "tasktools time-limit shop.report --hard none",
        ),
        "revoke": ("tasktools revoke 8b1c5a2e-6c0f-4a2b-9d53-0c7e9a1f4b6d --terminate",),
        "enable-task-events": ("tasktools enable-task-events",),
        "worker": ("tasktools worker --app shop.mail --topics emails,reports --capacity 8",),
        "metrics": ("tasktools metrics --port 9105",),
        "notebook": ("tasktools notebook run notebooks/05_live_dashboard.ipynb -o out.ipynb",),
        "notebook run": (
            "tasktools notebook run notebooks/05_live_dashboard.ipynb -p since=2h -o out.ipynb",
        ),
        "notebooks": ("tasktools notebooks night",),
        "board": ("tasktools board", "tasktools board --theme dark --no-browser --port 8901"),
        "lab": (
            "tasktools lab",
            "tasktools lab --folder night --dsn sqlite:///ops.db -- --no-browser --port 8900",
        ),
        "completion": (
            'eval "$(tasktools completion bash)"      # in ~/.bashrc',
            'eval "$(tasktools completion zsh)"       # in ~/.zshrc',
            "tasktools completion fish | source       # in ~/.config/fish/config.fish",
        ),
    }
)
"""The examples of each command, and of each command of a group."""


def with_examples(command: click.Command, name: str) -> click.Command:
    """Return *command* with its examples, and those of its subcommands, at the end of the help."""
    if name in EXAMPLES:
        lines = (f"  {line}" for line in EXAMPLES[name])
        command.epilog = "\n".join(("\b", "Examples:", *lines))
    if isinstance(command, click.Group):
        for inner, below in command.commands.items():
            with_examples(below, f"{name} {inner}")
    return command
