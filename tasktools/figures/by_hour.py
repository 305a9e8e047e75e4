"""Figure of waits and utilisation by hour of the week."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.capacity_schemas import HOURS
from tasktools.core.plurals import counted
from tasktools.core.timespans import Span, in_words, seconds
from tasktools.figures.figure_parts import Theme, figure, text_of
from tasktools.figures.palette import LIMIT, OTHER, styles
from tasktools.figures.series import MAX_LINES, busiest, expect, named
from tasktools.figures.spans import left_out, unit_of

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS: Final = range(24 * len(_DAYS))
_BELOW: Final = 0.36
"""Share of the height for the utilisation, below the waits."""
_BETWEEN: Final = 0.1


def by_hour(
    frame: pd.DataFrame,
    *,
    theme: Theme = "light",
    wait_below: Span | None = None,
    quantile: float = 0.95,
    what: str = "",
) -> go.Figure:
    """Draw how long tasks wait in each hour of the week, and below it how busy the slots are.

    An hour with too few tasks is a gap in the waits, never 0. Of more than 8 topics those with the
    most tasks are shown; slots that topics do not share are a line each.

    Parameters
    ----------
    frame
        The frame of `tasktools.capacity.by_hour`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.
    wait_below
        The target of the wait: seconds, or a span as ``"30s"``; drawn as a line across.
    quantile
        The quantile of the waits in *frame*, for the label.
    what
        A remark that says what *frame* was computed for.

    Returns
    -------
    The figure; one without lines says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import os, tempfile
    >>> import tasktools as tt
    >>> from tasktools.demo import write_week
    >>> path = os.path.join(tempfile.mkdtemp(), "week.db")
    >>> write_week(path)
    >>> with tt.connect(f"sqlite:///{path}") as week:
    ...     hours = tt.capacity.by_hour(week, {"orders": 6})
    >>> figure = tt.widgets.figures.by_hour(hours, wait_below="30s")
    >>> figure.layout.title.text
    'Wait and utilisation by hour of the week · DEMO'

    """
    expect(frame, HOURS, "topic", "hour_of_week", "slots", "tasks", "wait", "utilisation")
    waits = _wide(frame, frame["wait"].dt.total_seconds())
    tasks = _wide(frame, frame["tasks"])
    shown = busiest(waits, tasks.sum()).shown
    unit, length = unit_of(shown)
    style = styles(name for name, _ in named(waits))
    traces = [
        _steps(
            values / length,
            text_of(name),
            {"color": style[name].colour, "dash": style[name].dash},
            [_waited(name, hour, value) for hour, value in values.items()],
            cliponaxis=False,  # a wait of 0 is seen
        )
        for name, values in named(shown)
    ]
    colours = {name: each.colour for name, each in style.items()}
    traces += _utilisation(frame, colours)
    made = figure(
        traces,
        frame,
        "Wait and utilisation by hour of the week",
        {"title": {"text": f"wait ({unit})"}, "domain": [_BELOW + _BETWEEN, 1]},
        theme=theme,
        remarks=[*_remarks(what, waits, quantile), *left_out(waits)],
        time="",
    )
    return _laid_out(made, theme, None if wait_below is None else seconds(wait_below) / length)


def _wide(frame: pd.DataFrame, values: pd.Series[Any]) -> pd.DataFrame:
    """Return *values* with a row each hour of the week, and a column each topic; NaN: missing."""
    rows = pd.DataFrame(
        {
            "hour": frame["hour_of_week"].to_numpy(np.int64),
            "topic": frame["topic"].to_numpy(object),
            "value": values.to_numpy(np.float64, na_value=np.nan),
        }
    )
    wide = rows.groupby(["hour", "topic"])["value"].last().unstack("topic")  # noqa: PD010
    return wide.reindex(_HOURS) if len(rows) else pd.DataFrame(index=_HOURS)


def _utilisation(frame: pd.DataFrame, colours: Mapping[str, str]) -> list[go.Scatter]:
    """Return a line for the slots of each pool: topics that share them have the same values."""
    wide = _wide(frame, frame["utilisation"])
    topics: dict[tuple[float, ...], list[str]] = {}
    for name, values in named(wide):
        topics.setdefault(tuple(values.round(9).fillna(-1)), []).append(name)
    pools = sorted(topics.values(), key=lambda names: -wide[names[0]].sum())[:MAX_LINES]
    lines = []
    for names in pools:
        values = wide[names[0]]
        colour = OTHER if len(topics) == 1 else colours[names[0]]
        hovers = [f"{_hour(hour)}: {share:.0%} of the slots" for hour, share in values.items()]
        options = {"fill": "tozeroy"} if len(topics) == 1 else {}
        label = f"busy slots of {text_of(', '.join(names))}"
        lines.append(_steps(values, label, {"color": colour}, hovers, yaxis="y2", **options))
    return lines


def _steps(
    values: pd.Series[float], name: str, line: dict[str, str], hovers: list[str], **options: Any
) -> go.Scatter:
    """Return *values* as a line with a step each hour; an hour without a value is a gap."""
    hours = values.index.to_numpy()
    return go.Scatter(
        x=np.column_stack([hours, hours + 1]).ravel(),
        y=np.repeat(values.to_numpy(), 2),
        name=name,
        mode="lines",
        line={"width": 2, **line},
        connectgaps=False,
        customdata=np.repeat(np.array(hovers, dtype=object), 2),
        hovertemplate="%{customdata}<extra></extra>",
        **options,
    )


def _waited(name: str, hour: Any, value: float) -> str:
    return f"{text_of(name)}, {_hour(hour)}: {in_words(value) if value == value else 'not known'}"  # noqa: PLR0124 - NaN


def _hour(hour: Any) -> str:
    return f"{_DAYS[int(hour) // 24]} {int(hour) % 24:02d}:00 UTC"


def _remarks(what: str, waits: pd.DataFrame, quantile: float) -> list[str]:
    longest = f"{quantile * 100:.4g} % of the tasks of an hour wait this long at most"
    remarks = [f"{what}: {longest}" if what else longest]
    thin = int(waits.isna().all(axis="columns").sum())
    if thin:
        remarks.append(f"{counted(thin, 'hour')} with under 20 tasks, or not recorded: no wait")
    return remarks


def _laid_out(made: go.Figure, theme: Theme, limit: float | None) -> go.Figure:
    if not made.data:
        return made
    axis = made.layout.yaxis
    made.update_layout(
        hovermode="closest",
        height=made.layout.height - 76,
        margin={"t": made.layout.margin.t - 12},
        legend={"orientation": "h", "y": -0.13, "yanchor": "top", "x": 0},
        xaxis={
            "type": "linear",
            "title": None,
            "range": [0, len(_HOURS)],
            "tickvals": list(range(0, len(_HOURS), 24)),
            "ticktext": [f"{_DAYS[0]} 0:00 UTC", *_DAYS[1:]],
            "ticklabelposition": "outside right",
            "anchor": "y2",
        },
        yaxis2={
            "domain": [0, _BELOW],
            "range": [0, 1.02],
            "tickformat": ".0%",
            "title": {"text": "busy"},
            "gridcolor": axis.gridcolor,
            "linecolor": axis.linecolor,
            "zeroline": False,
        },
    )
    if limit is not None:
        made.add_hline(limit, line={"color": LIMIT[theme], "dash": "dash", "width": 1.5}, yref="y")
    return made
