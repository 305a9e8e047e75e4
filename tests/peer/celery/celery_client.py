"""A client of the application that does what it is asked: reads [method, arguments] a line."""

import sys

from celery_tasks import app
from kombu.utils.json import dumps, loads  # they pass on dates and bytes as Celery's JSON does

V1 = app.amqp.as_task_v1
V2 = app.amqp.as_task_v2


def submit(tasks):
    """Send each [name, args, kwargs, options], and return their ids; `protocol` is an option."""
    ids = []
    for name, args, kwargs, options in tasks:
        app.amqp.create_task_message = V1 if options.pop("protocol", 2) == 1 else V2
        if "chain" in options:
            options["chain"] = [app.signature(*each) for each in options["chain"]]
        ids.append(app.send_task(name, args, kwargs, **options).id)
    return ids


def control(command, arguments=None, destination=None, timeout=5.0, workers=1):
    """Ask *workers* workers, and return what they reply."""
    return app.control.broadcast(
        command, arguments, destination, reply=True, timeout=timeout, limit=workers
    )


def shutdown():
    """Let all workers end what they run, and then themselves."""
    app.control.shutdown()


METHODS = {method.__name__: method for method in (submit, control, shutdown)}
print("ready", flush=True)
for line in sys.stdin:
    method, arguments = loads(line)
    print("answer " + dumps(METHODS[method](*arguments)), flush=True)
