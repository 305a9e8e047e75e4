"""The command line: ``tasktools status|workers|topics|tasks|publish``."""

from tasktools.cli.commands import main

__all__ = ("main",)
