"""The peer's runner, with as many threads as its argument says."""

import sys
import time

import noop
from fastpluggy_plugin.tasks_worker import TaskWorker, start_workers_if_available

TaskWorker.register(topic="peer")(noop.noop)
start_workers_if_available(topics=["peer"], max_workers=int(sys.argv[1]))
while True:
    time.sleep(1)
