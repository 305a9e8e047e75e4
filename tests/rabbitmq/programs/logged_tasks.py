"""A task that writes down when it begins and ends; for `tasktools worker --app logged_tasks`."""

import os
import time

import tasktools as tt

_LOG = os.open(os.environ["TASK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _write(what: str, n: int) -> None:
    os.write(_LOG, f"{what} {n} {os.getpid()} {time.monotonic()}\n".encode())


@tt.task
def work(n: int, seconds: float = 0.0) -> None:
    """Take *seconds*."""
    _write("began", n)
    time.sleep(seconds)
    _write("ended", n)


@tt.task
def die(n: int) -> None:
    """End the process, as what runs out of memory does."""
    _write("began", n)
    os._exit(1)
