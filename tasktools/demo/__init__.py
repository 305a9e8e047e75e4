"""The demo cluster, ``demo://``: the memory broker with a small simulated shop on it."""

from tasktools.demo.broker import DemoBroker
from tasktools.demo.shop import signatures
from tasktools.demo.week import write_week

__all__ = ("DemoBroker", "signatures", "write_week")
