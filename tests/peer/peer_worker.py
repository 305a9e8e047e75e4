"""A worker process of the peer, with four threads on both topics."""

import time

import peer_tasks  # noqa: F401 - registers the tasks
from fastpluggy_plugin.tasks_worker import start_workers_if_available

start_workers_if_available(topics=["emails", "reports"], max_workers=4)
while True:
    time.sleep(1)
