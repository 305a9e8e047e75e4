"""The command line: ``tasktools status|diagnose|workers|topics|tasks|publish|dead|…``."""

from tasktools.cli.main import main

__all__ = ("main",)
