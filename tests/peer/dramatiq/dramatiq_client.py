"""A client of the actors that does what it is asked: reads [method, arguments] a line."""

import json
import sys

import dramatiq
from dramatiq_actors import broker


def submit(messages):
    """Send each [actor, args, kwargs, options], and return their ids; the delay is in ms."""
    ids = []
    for actor, args, kwargs, options in messages:
        delay = options.pop("delay", None)
        message = dramatiq.Message("orders", actor, tuple(args), kwargs, options)
        ids.append(broker.enqueue(message, delay=delay).message_id)
    return ids


print("ready", flush=True)
for line in sys.stdin:
    method, arguments = json.loads(line)
    print("answer " + json.dumps({"submit": submit}[method](*arguments)), flush=True)
