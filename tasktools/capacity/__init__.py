"""Capacity planning: the number of workers needed, and its uncertainty (`tt.capacity`)."""

from __future__ import annotations

from tasktools.capacity.by_hour import by_hour
from tasktools.capacity.curve import curve
from tasktools.capacity.demand import Demand, TopicDemand, WorkerSlots
from tasktools.capacity.erlang import late_share, slots_needed, wait_quantile
from tasktools.capacity.inputs import Inputs, inputs
from tasktools.capacity.solve import solve

__all__ = (
    "Demand",
    "Inputs",
    "TopicDemand",
    "WorkerSlots",
    "by_hour",
    "curve",
    "inputs",
    "late_share",
    "slots_needed",
    "solve",
    "wait_quantile",
)
