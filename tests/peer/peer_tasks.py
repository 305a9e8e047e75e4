"""Tasks of the peer's own program; runs in the peer's environment, not in ours."""

import os
import time
from pathlib import Path

from fastpluggy_plugin.tasks_worker import TaskWorker


@TaskWorker.register(topic="emails")
def send_email(to, delay=0.0):
    time.sleep(delay)
    return to


@TaskWorker.register(topic="reports")
def report(n=1, delay=0.0):
    time.sleep(delay)
    return n


@TaskWorker.register(topic="emails")
def held(to):
    """Run until the test lets it go."""
    while not Path(os.environ["TASK_GATE"]).exists():
        time.sleep(0.05)
    return to


@TaskWorker.register(topic="emails")
def fail(text="boom"):
    raise ValueError(text)


@TaskWorker.register(topic="emails")
def logged(delay=0.0):
    """Write down when it begins and ends, by the clock of this machine."""
    write("began")
    time.sleep(delay)
    write("ended")


def write(what):
    line = f"{what} {time.time()}\n"
    with Path(os.environ["TASK_LOG"]).open("ab", buffering=0) as log:
        log.write(line.encode())  # one write, so that lines of several processes do not mix
