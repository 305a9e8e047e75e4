"""The memory backend: a whole broker inside this process."""

from tasktools.brokers.memory.broker import MemoryBroker
from tasktools.brokers.memory.server import MemoryServer

__all__ = ("MemoryBroker", "MemoryServer")
