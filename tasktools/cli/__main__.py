"""``python -m tasktools.cli`` is ``tasktools``."""

from tasktools.cli import main

main(prog_name="tasktools")
