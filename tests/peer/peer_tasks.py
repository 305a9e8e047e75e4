"""Tasks of the peer's own program; runs in the peer's environment, not in ours."""

import time

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
def fail(text="boom"):
    raise ValueError(text)
