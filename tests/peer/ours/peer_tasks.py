"""The peer's tasks, for a runner of ours: the same module and function names."""

import time

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
def fail(text: str = "boom") -> None:
    """Fail."""
    raise ValueError(text)
