"""The command line: ``tasktools status|workers|topics|tasks|publish|worker``."""

from tasktools.cli.commands import main
from tasktools.cli.worker import worker

main.add_command(worker)

__all__ = ("main",)
