"""Speaks as many workers do: many_workers.py DSN WORKERS TASK_EVENTS_A_SECOND SECONDS.

Every worker's heartbeat comes every 3 s, as a peer of release 0.3.318 writes it; tasks start and
end, evenly. Prints how many heartbeats and how many task events were sent, and the last error.
"""

import sys
import time

import pika

from tasktools.core import events
from tasktools.core.events import TaskEvent
from tasktools.testing.factories import peer_heartbeat

dsn, workers, rate, seconds = sys.argv[1], *map(float, sys.argv[2:])
connection = pika.BlockingConnection(pika.URLParameters(dsn))
channel = connection.channel()
beats = [
    peer_heartbeat(f"worker-{n:05}", topics=[f"topic-{n % 20:02}"], last_heartbeat=None)
    for n in range(int(workers))
]
beats_a_second, step = workers / 3, 0.05


def task(n: int) -> bytes:
    """Return the n-th event of a task: starts and ends take turns."""
    started = n % 2 == 0
    number = n // 2
    return events.encode(
        TaskEvent(
            kind="task_started" if started else "task_completed",
            sender_id="node",
            task_id=f"00000000-0000-4000-8000-{number:012}",
            worker_id=f"worker-{number % max(int(workers), 1):05}",
            topic=f"topic-{number % 20:02}",
        )
    )


began = time.monotonic()
sent = tasks = 0
while (passed := time.monotonic() - began) < seconds:
    while sent < passed * beats_a_second:
        channel.basic_publish("fp.workers", "", beats[sent % len(beats)])
        sent += 1
    while tasks < passed * rate:
        channel.basic_publish("fp.workers", "", task(tasks))
        tasks += 1
    connection.process_data_events(0)
    time.sleep(max(0.0, step - (time.monotonic() - began - passed)))
if tasks % 2:
    channel.basic_publish("fp.workers", "", task(tasks))
    tasks += 1
connection.close()
print(sent, tasks, f"{time.monotonic() - began:.1f}")
