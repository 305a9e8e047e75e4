"""What waits, what ends and what dies, by topic."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from tasktools.core.history_schemas import QUEUE_DEPTH, THROUGHPUT
from tasktools.core.schemas import Schema
from tasktools.widgets.figures.page import Theme, figure, line, lines
from tasktools.widgets.figures.series import busiest, by_name, expect, with_gaps
from tasktools.widgets.palette import OTHER, Style


def queue_depth(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw how many messages waited, of the topics where most did."""
    return _by_topic(
        frame, QUEUE_DEPTH, "queued", "Queue depth", "messages ready", theme, threshold
    )


def dead_letters(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw how many messages lay dead, from the frame of `Cluster.queue_depth`."""
    return _by_topic(
        frame, QUEUE_DEPTH, "dead_letter", "Dead letters", "messages", theme, threshold
    )


def throughput(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw how many tasks ended a second, failed ones included."""
    return _by_topic(
        frame, THROUGHPUT, "rate", "Throughput", "tasks ended per second", theme, threshold
    )


def _by_topic(
    frame: pd.DataFrame,
    schema: Schema,
    column: str,
    title: str,
    unit: str,
    theme: Theme,
    threshold: float | None,
) -> go.Figure:
    expect(frame, schema, "topic", "at", column)
    wide = by_name(frame, column)
    found = busiest(wide.dropna(axis="columns", how="all"))
    traces = lines(with_gaps(found.shown), wide)
    if found.other is not None:
        rest = with_gaps(found.other.to_frame()).iloc[:, 0]
        traces.append(line(rest, f"other ({found.others} topics)", Style(OTHER, "dot")))
    axis = {"title": {"text": unit}}
    return figure(traces, frame, title, axis, theme=theme, threshold=threshold)
