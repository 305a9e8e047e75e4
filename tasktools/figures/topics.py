"""Figures of queue depth, dead letters and throughput by topic."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.history_schemas import QUEUE_DEPTH, THROUGHPUT
from tasktools.core.frames.schema import Schema
from tasktools.figures.figure_parts import Theme, figure, line, lines
from tasktools.figures.palette import OTHER, Style
from tasktools.figures.series import busiest, by_name, expect, with_gaps


def queue_depth(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw the number of waiting messages, of the topics with the most.

    Parameters
    ----------
    frame
        The frame of `Cluster.queue_depth`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        Number of messages; drawn as a line across.

    Returns
    -------
    The figure; one without lines says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     figure = tt.widgets.figures.queue_depth(cluster.queue_depth(since="1D"))
    >>> figure.layout.title.text
    'Queue depth · DEMO'

    """
    return _by_topic(
        frame, QUEUE_DEPTH, "queued", "Queue depth", "messages ready", theme, threshold
    )


def dead_letters(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw the number of dead letters, of the topics with the most.

    Parameters
    ----------
    frame
        The frame of `Cluster.queue_depth`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        Number of messages; drawn as a line across.

    Returns
    -------
    The figure; one without lines says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     figure = tt.widgets.figures.dead_letters(cluster.queue_depth(since="1D"))
    >>> figure.layout.title.text
    'Dead letters · DEMO'

    """
    return _by_topic(
        frame, QUEUE_DEPTH, "dead_letter", "Dead letters", "messages", theme, threshold
    )


def throughput(
    frame: pd.DataFrame, *, theme: Theme = "light", threshold: float | None = None
) -> go.Figure:
    """Draw the number of tasks that ended per second, failed ones included.

    Parameters
    ----------
    frame
        The frame of `Cluster.throughput`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    threshold
        Tasks per second; drawn as a line across.

    Returns
    -------
    The figure; one without lines says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     figure = tt.widgets.figures.throughput(cluster.throughput(since="1h"))
    >>> figure.layout.title.text
    'Throughput · DEMO'

    """
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
    known = frame.loc[frame[column].notna(), "at"]
    if len(known):  # what came before would leave most of the figure blank
        frame = frame[frame["at"] >= known.min()]
    wide = by_name(frame, column)
    selection = busiest(wide.dropna(axis="columns", how="all"))
    traces = lines(with_gaps(selection.shown), wide)
    if selection.other is not None:
        rest = with_gaps(selection.other.to_frame()).iloc[:, 0]
        traces.append(line(rest, f"other ({selection.others} topics)", Style(OTHER, "dot")))
    axis = {"title": {"text": unit}}
    return figure(traces, frame, title, axis, theme=theme, threshold=threshold)
