"""A Celery application; runs in Celery's environment, not in ours.

What dies in `mail` goes where the queue's arguments say, what dies in `reports` where a policy
says. Each execution is a line of JSON in the log.
"""

import base64
import json
import os
import time
from pathlib import Path

from celery import Celery, Task
from celery.exceptions import Reject
from kombu import Exchange, Queue, serialization

serialization.register(
    "base64",  # a serializer as some have of their own; no worker reads base64 by the encoding
    lambda value: base64.b64encode(json.dumps(value).encode()),
    lambda body: json.loads(base64.b64decode(body)),
    content_type="application/x-json-base64",
    content_encoding="base64",
)


class Logged(Task):
    """A task whose executions are written down as the worker got them."""

    def before_start(self, task_id, args, kwargs):
        request = dict(self.request.__dict__)
        names = ("headers", "retries", "delivery_info", "eta", "expires", "root_id", "parent_id")
        line = {"id": task_id, "task": self.name, "args": args, "kwargs": kwargs}
        line |= {name: request.get(name) for name in names}
        line |= {"hostname": request.get("hostname"), "pid": os.getpid(), "at": time.time()}
        with Path(os.environ["TASK_LOG"]).open("ab", buffering=0) as log:
            log.write(json.dumps(line, default=repr).encode() + b"\n")  # one write, one line


app = Celery("shop", broker=os.environ["BROKER_DSN"], task_cls=Logged)
shop = Exchange("shop", type="direct")
to_dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "mail.dlq"}
app.conf.update(
    accept_content=["json", "pickle", "base64"],
    broker_connection_retry_on_startup=True,
    task_default_queue="mail",
    task_queues=[
        Queue("mail", shop, routing_key="mail", queue_arguments=to_dead),
        Queue("reports", shop, routing_key="reports"),
    ],
    task_routes={"shop.report": {"queue": "reports"}},
    task_send_sent_event="TASK_SENT_EVENTS" in os.environ,
)


@app.task(name="shop.send_email")
def send_email(to, **_more):
    return to


@app.task(name="shop.report")
def report(n=1):
    return n


@app.task(name="shop.held")
def held(to, **_more):
    """Run until the test lets it go."""
    while not Path(os.environ["TASK_GATE"]).exists():
        time.sleep(0.05)
    return to


@app.task(name="shop.fail")
def fail(text="boom"):
    """Fail as most tasks do: the message is acknowledged all the same."""
    raise ValueError(text)


@app.task(name="shop.fail_late", acks_late=True, acks_on_failure_or_timeout=False)
def fail_late(text="boom"):
    """Fail, and let the message die of it."""
    raise ValueError(text)


@app.task(name="shop.refuse_until_let_go", acks_late=True)
def refuse_until_let_go(to):
    """Refuse the message until the test lets it go: its cause is mended."""
    if not Path(os.environ["TASK_GATE"]).exists():
        raise Reject(f"no answer for {to}", requeue=False)


@app.task(name="shop.refuse", acks_late=True)
def refuse(text="not this one"):
    raise Reject(text, requeue=False)


@app.task(name="shop.give_back", acks_late=True)
def give_back():
    """Give the message back to its queue, from where it comes again."""
    time.sleep(0.2)
    raise Reject("not yet", requeue=True)


@app.task(name="shop.charge", bind=True, max_retries=2)
def charge(self, order, failures=1, countdown=0.2):
    """Fail the first *failures* times, and try again after *countdown*."""
    if self.request.retries < failures:
        raise self.retry(exc=ConnectionError(f"no answer for {order}"), countdown=countdown)
    return order
