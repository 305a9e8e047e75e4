"""Dramatiq's: ``dramatiq with_dramatiq``; run as a program it sends the tasks."""

import os
import sys

import dramatiq
import noop
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["BROKER_DSN"]))
task = dramatiq.actor(noop.noop, queue_name="dramatiq")

if __name__ == "__main__":
    for n in range(int(sys.argv[1])):
        task.send(n=n)
