"""Flood the worker exchange with events of an unknown kind: flood.py DSN EVENTS_A_SECOND COUNT.

A process of its own, as in life. It ends after COUNT events, or when its standard input is closed,
and prints how many it has sent.
"""

import json
import select
import sys
import time

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
rate, count = float(sys.argv[2]), int(sys.argv[3])
body = json.dumps({"event": "novelty", "sender_id": "x", "data": "y" * 60}).encode()
began, sent = time.monotonic(), 0
while sent < count:
    pause = max(0.0, began + sent / rate - time.monotonic())
    if select.select([sys.stdin], [], [], pause)[0]:
        break
    for _ in range(500):
        channel.basic_publish("fp.workers", "", body)
    sent += 500
    connection.process_data_events(0)
connection.close()
print(sent)
