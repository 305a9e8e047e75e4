"""A node of the peer that does what it is told: reads [method, arguments] a line, answers JSON.

`["=", [attribute, value]]` sets an attribute of the broker.
"""

import dataclasses
import json
import sys

from fastpluggy_plugin.tasks_worker import TaskWorker
from fastpluggy_plugin.tasks_worker.broker.contracts import TopicConfig

broker = TaskWorker.get_broker()
broker.setup()
broker.enable_cluster_view(wait=1.0)
print("ready", flush=True)


def plain(value):
    """Dataclasses as dicts, everything else as it is or as text."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return str(value)


for line in sys.stdin:
    method, arguments = json.loads(line)
    if method == "=":
        answer = setattr(broker, *arguments)
    elif method == "set_topic_config":
        topic, config = arguments
        answer = broker.set_topic_config(topic, TopicConfig(**config))
    else:
        answer = getattr(broker, method)(*arguments)
    print("answer " + json.dumps(answer, default=plain), flush=True)
