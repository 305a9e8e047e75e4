"""The demo cluster, ``demo://``: the memory broker with a small simulated shop on it."""

from tasktools.demo.broker import DemoBroker

__all__ = ("DemoBroker",)
