"""Capacity planning: the number of workers needed, and its uncertainty (`tt.capacity`)."""

from __future__ import annotations

from tasktools.capacity.demand import Demand, TopicDemand, WorkerSlots
from tasktools.capacity.erlang import late_share, slots_needed, wait_quantile
from tasktools.capacity.inputs import Inputs, inputs

__all__ = (
    "Demand",
    "Inputs",
    "TopicDemand",
    "WorkerSlots",
    "inputs",
    "late_share",
    "slots_needed",
    "wait_quantile",
)
