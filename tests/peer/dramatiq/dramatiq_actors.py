"""Actors of Dramatiq on the queues `orders` and `returns`. Each execution is a line of JSON in the
log."""

import json
import os
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker


class Log(dramatiq.Middleware):
    """Writes down messages as they are processed."""

    def before_process_message(self, broker, message):
        line = message.asdict() | {"pid": os.getpid(), "at": time.time()}
        with Path(os.environ["TASK_LOG"]).open("ab", buffering=0) as log:
            log.write(json.dumps(line).encode() + b"\n")  # one write, one line


broker = RabbitmqBroker(url=os.environ["BROKER_DSN"])
broker.add_middleware(Log())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="orders")
def charge(order, amount=1):
    pass


@dramatiq.actor(queue_name="returns")
def refund(order):
    pass


@dramatiq.actor(queue_name="orders")
def held(order):
    """Run until the test lets it go."""
    while not Path(os.environ["TASK_GATE"]).exists():
        time.sleep(0.05)


@dramatiq.actor(queue_name="orders", max_retries=1, min_backoff=100, max_backoff=200)
def fail(order, text="boom"):
    """Fail, also when it is tried again: then the message dies."""
    raise ValueError(text)


@dramatiq.actor(queue_name="orders", max_retries=1, min_backoff=100, max_backoff=200)
def fail_until_let_go(order):
    """Fail until the test lets it go: its cause is mended."""
    if not Path(os.environ["TASK_GATE"]).exists():
        raise ConnectionError(f"no answer for {order}")


@dramatiq.actor(queue_name="orders", max_retries=0)
def fail_once(order):
    raise ValueError(order)


@dramatiq.actor(queue_name="orders", max_retries=10, min_backoff=3_600_000)
def fail_slowly(order):
    """Fail; the next attempt is an hour later."""
    raise ConnectionError(f"no answer for {order}")
