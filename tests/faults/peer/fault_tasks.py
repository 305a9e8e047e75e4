"""Tasks of the peer's own program, which do what their arguments say."""

import os
import signal
import time

from fastpluggy_plugin.tasks_worker import TaskWorker


def run(delay, error, kill):
    """Take *delay* seconds, then end the process, or fail with *error*."""
    time.sleep(delay)
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    if error:
        raise ValueError(error)


@TaskWorker.register(topic="emails")
def send_email(delay=0.0, error=None, kill=False):
    run(delay, error, kill)


@TaskWorker.register(topic="reports")
def report(delay=0.0, error=None, kill=False):
    run(delay, error, kill)
