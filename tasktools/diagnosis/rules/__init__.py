"""The checks of `tasktools.diagnosis`, each a pure function of `Facts`."""

from __future__ import annotations

from typing import Final

from tasktools.diagnosis.finding import Rule
from tasktools.diagnosis.rules import (
    clocks,
    consumers,
    dead_letters,
    hung,
    leftovers,
    load,
    locks,
    loops,
    losses,
    node,
    poison,
    prefetch,
    queues,
    reserves,
    restarts,
    routing,
    service,
    sharing,
    sources,
    workers,
)

RULES: Final[tuple[Rule, ...]] = (
    *node.RULES,
    *queues.RULES,
    *loops.RULES,
    *poison.RULES,
    *workers.RULES,
    *restarts.RULES,
    *consumers.RULES,
    *routing.RULES,
    *losses.RULES,
    *hung.RULES,
    *load.RULES,
    *service.RULES,
    *sharing.RULES,
    *prefetch.RULES,
    *dead_letters.RULES,
    *locks.RULES,
    *clocks.RULES,
    *reserves.RULES,
    *leftovers.RULES,
    *sources.RULES,
)
"""All checks."""
