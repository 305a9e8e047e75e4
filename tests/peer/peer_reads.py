"""Reads bodies as a worker of the peer does: base64, one a line; says whether it could."""

import base64
import sys

from fastpluggy_plugin.tasks_worker import TaskWorker
from fastpluggy_plugin.tasks_worker.core.context import TaskContext

broker = TaskWorker.get_broker()
for line in sys.stdin:
    try:
        message = broker._deserialize_message(base64.b64decode(line))
        message.attempts += 1
        message.headers["worker_id"] = "w"
        TaskContext.from_payload(message.payload or {})
        print("read", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, the peer goes on
        print(f"not read: {error}", flush=True)
