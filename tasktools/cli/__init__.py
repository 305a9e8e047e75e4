"""The command line: ``tasktools status|workers|topics|tasks|publish|topic|drain|locks|…``."""

from tasktools.cli import operate
from tasktools.cli.commands import main
from tasktools.cli.worker import worker

for _command in (worker, operate.topic, operate.drain, operate.locks, operate.unlock):
    main.add_command(_command)

__all__ = ("main",)
