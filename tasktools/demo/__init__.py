"""The demo cluster, ``demo://``: the memory broker with a small simulated shop on it."""

from typing import TYPE_CHECKING, Any

from tasktools.demo.broker import DemoBroker
from tasktools.demo.shop import signatures

if TYPE_CHECKING:
    from tasktools.demo.week import write_week

__all__ = ("DemoBroker", "signatures", "write_week")

if not TYPE_CHECKING:  # hides no misspelt name from a type checker

    def __getattr__(name: str) -> Any:
        """Import what takes numpy when it is first used (PEP 562)."""
        if name != "write_week":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tasktools.demo.week import write_week

        return write_week
