"""The checks of `tasktools.diagnosis`, each a pure function of `Facts`."""

from __future__ import annotations

from typing import Final

from tasktools.diagnosis.finding import Rule
from tasktools.diagnosis.rules import (
    clocks,
    consumers,
    dead_letters,
    held_back,
    hung,
    leftovers,
    load,
    locks,
    loops,
    losses,
    node,
    node_resources,
    poison,
    prefetch,
    queues,
    restarts,
    routing,
    service_times,
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
    *service_times.RULES,
    *sharing.RULES,
    *prefetch.RULES,
    *held_back.RULES,
    *dead_letters.RULES,
    *locks.RULES,
    *clocks.RULES,
    *node_resources.RULES,
    *leftovers.RULES,
    *sources.RULES,
)
"""All checks."""
