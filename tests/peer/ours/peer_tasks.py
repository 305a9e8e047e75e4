"""The peer's tasks, for a runner of ours: the same module and function names."""

import os
import time
from pathlib import Path

import tasktools as tt


@tt.task
def send_email(to: str, delay: float = 0.0) -> str:
    """Take *delay* seconds."""
    time.sleep(delay)
    return to


@tt.task
def report(n: int = 1, delay: float = 0.0) -> int:
    """Take *delay* seconds."""
    time.sleep(delay)
    return n


@tt.task
def held(to: str) -> str:
    """Run until the test lets it go."""
    while not Path(os.environ["TASK_GATE"]).exists():
        time.sleep(0.05)
    return to


@tt.task
def fail(text: str = "boom") -> None:
    """Fail."""
    raise ValueError(text)
