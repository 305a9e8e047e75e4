"""The peer's tasks, for a worker of tasktools: the same module and function names."""

import os
import signal
import time

import tasktools as tt


def run(delay: float, error: str | None, *, kill: bool) -> None:
    """Take *delay* seconds, then end the process, or fail with *error*."""
    time.sleep(delay)
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    if error:
        raise ValueError(error)


@tt.task
def send_email(delay: float = 0.0, error: str | None = None, kill: bool = False) -> None:  # noqa: FBT001, FBT002
    """Do what the arguments say."""
    run(delay, error, kill=kill)


@tt.task
def report(delay: float = 0.0, error: str | None = None, kill: bool = False) -> None:  # noqa: FBT001, FBT002
    """Do what the arguments say."""
    run(delay, error, kill=kill)
