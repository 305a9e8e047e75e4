"""A worker process of the peer; the environment says its topics and threads, and when it dies."""

import os
import signal
import threading
import time

import fault_tasks  # noqa: F401 - registers the tasks
from fastpluggy_plugin.tasks_worker import start_workers_if_available

start_workers_if_available(
    topics=os.environ["FAULT_TOPICS"].split(","), max_workers=int(os.environ["FAULT_CAPACITY"])
)
if "FAULT_DIES_AFTER" in os.environ:
    seconds = float(os.environ["FAULT_DIES_AFTER"])
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
while True:
    time.sleep(1)
