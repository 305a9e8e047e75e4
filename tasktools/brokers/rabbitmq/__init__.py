"""The RabbitMQ backend: the only home of pika and requests."""

from tasktools.brokers.rabbitmq.broker import RabbitMQBroker

__all__ = ("RabbitMQBroker",)
