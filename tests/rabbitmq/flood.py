"""Floods the worker exchange with events of an unknown kind: flood.py DSN EVENTS_A_SECOND.

A process of its own, as in life; ends when its standard input is closed, and prints how many.
"""

import json
import select
import sys
import time

import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
rate = float(sys.argv[2])
body = json.dumps({"event": "novelty", "sender_id": "x", "data": "y" * 60}).encode()
began, sent = time.monotonic(), 0
while not select.select([sys.stdin], [], [], max(0.0, began + sent / rate - time.monotonic()))[0]:
    for _ in range(500):
        channel.basic_publish("fp.workers", "", body)
    sent += 500
    connection.process_data_events(0)
connection.close()
print(sent)
