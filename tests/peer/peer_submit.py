"""Submit tasks as the peer does: reads [[function, kwargs], …] from its argument."""

import json
import sys

import peer_tasks
from fastpluggy_plugin.tasks_worker import TaskWorker

TaskWorker.get_broker().setup()
for name, kwargs in json.loads(sys.argv[1]):
    TaskWorker.submit(getattr(peer_tasks, name), kwargs=kwargs)
