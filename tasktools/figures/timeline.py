"""Figure of what happened: spans and moments, a lane for each topic, worker or kind of failure."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from tasktools.core.frames.diagnosis_schemas import TIMELINE
from tasktools.core.plurals import counted
from tasktools.figures.figure_parts import Theme, escaped, figure, text_of
from tasktools.figures.palette import BARS, HATCH, INK_ON_BAR, TEXT
from tasktools.figures.series import expect

_LANE_PIXELS: Final = 30
_BELOW_PIXELS: Final = 100
_MAX_LANES: Final = 8  # of topics, of kinds of failures, of workers, and of locks
_HOVER_CHARS: Final = 90
_NAME_CHARS: Final = 34
_MARK_CHARS: Final = 28
_MAX_MARK_TEXTS: Final = 12
_LABEL_SHARE: Final = 0.05
"""Share of the shown time below which a bar has no label."""
_LATE_SHARE: Final = 0.8
"""Share of the shown time after which a symbol has its text on its left."""
_UNKNOWN_SHARE: Final = 0.1
"""The part of an unknown beginning that is shown, as a share of the known time."""
_MIN_SHARE: Final = 0.003
"""The least length of a bar, as a share of the shown time, so that it is visible."""

_CALM: Final = "no trouble"
_UNKNOWN: Final = "not known"
_STYLES: Final = ("critical", "warning", "suspect", _CALM, _UNKNOWN)
"""Styles of bars, the worst first."""
_SYMBOLS: Final = {
    "mark": "star",
    "settings": "diamond",
    "command": "square",
    "run": "hexagon",
    "worker came": "triangle-up",
    "worker said goodbye": "triangle-down",
    "worker not seen again": "x",
}
_WORKER_SYMBOLS: Final = {
    "came": "worker came",
    "stopped": "worker said goodbye",
    "lost sight of": "worker not seen again",
}
_OPERATORS: Final = ("mark", "settings", "command", "run")
_WHOLE_GAPS: Final = ("all", "events")
_GAP_LABELS: Final = {"all": "not recorded", "samples": "not sampled"}


class _Lane(NamedTuple):
    """A row of the figure."""

    kind: str
    name: str


_LANES_OF_KINDS: Final = {
    "mark": "marks",
    "operators": "operators",
    "alarm": "alarms",
    "moments": "workers",
    "gap": "recording",
}
"""Kinds that share one lane."""
_ORDER: Final = ("mark", "operators", "alarm", "topic", "failures", "moments", "worker", "lock")
"""The kinds of lanes, from above; others come next, and the gaps last."""


class _Item(NamedTuple):
    """A bar, or a symbol, in its lane. Times are UTC without a zone."""

    lane: _Lane
    style: str
    begin: pd.Timestamp
    end: pd.Timestamp
    label: str
    hover: str
    is_whole_gap: bool


def timeline(frame: pd.DataFrame, *, theme: Theme = "light") -> go.Figure:
    """Draw what happened: states of topics, failures, silent workers and locks as bars, actions of
    operators and workers that came and went as symbols.

    A gap of the recording is hatched through all lanes: nothing is known of that time, which does
    not mean that nothing happened. Of more than 8 topics, kinds of failures, workers or locks those
    with the worst and longest trouble are shown.

    Parameters
    ----------
    frame
        The frame of `tasktools.timeline`.
    theme
        ``light``, which a dark page of Jupyter shows in dark colours, or ``dark``.

    Returns
    -------
    The figure; one without anything in it says that there is nothing in this time.

    Raises
    ------
    ValueError
        If *frame* is not such a frame, or *theme* does not exist.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     figure = tt.widgets.figures.timeline(tt.timeline(cluster, since="1h"))
    >>> figure.layout.title.text
    'Timeline · DEMO'

    """
    expect(frame, TIMELINE, *TIMELINE.names)
    begin, end = _known(frame, *_window(frame))
    items = list(_items(frame, begin, end))
    lanes, remarks = _lanes(items)
    place = {lane: n for n, lane in enumerate(lanes)}
    shown = [item for item in items if item.lane in place]
    axis = {
        "title": {"text": "what happened"},
        "tickmode": "array",
        "tickvals": list(place.values()),
        "ticktext": [text_of(lane.name, _NAME_CHARS) for lane in lanes],
        "range": [len(lanes) - 0.5, -0.5],
        "automargin": True,
    }
    traces = [
        *_bars(shown, place, theme, (end - begin) * _LABEL_SHARE),
        *_symbols(shown, place, theme, begin + (end - begin) * _LATE_SHARE),
        *_hatches(shown, len(lanes), theme),
    ]
    made = figure(traces, frame, "Timeline", axis, theme=theme, remarks=remarks)
    if not traces:
        return made
    for item in [item for item in shown if item.style == "mark"][:_MAX_MARK_TEXTS]:
        made.add_vline(item.begin, line={"color": TEXT[theme], "dash": "dot", "width": 1})
    return made.update_layout(
        barmode="overlay",
        hovermode="closest",
        height=made.layout.margin.t + _BELOW_PIXELS + _LANE_PIXELS * max(len(lanes), 4),
        margin={"b": _BELOW_PIXELS},
        xaxis={"range": [begin, end]},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    )


# --- what is drawn -----------------------------------------------------------------------


def _utc(times: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_datetime(times, utc=True).dt.tz_localize(None)


def _window(frame: pd.DataFrame) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the begin and the end of the time that the frame covers."""
    window = frame.attrs.get("window")
    if window:
        begin, end = _utc(pd.Series([window["since"], window["until"]]))
        return begin, end
    times = _utc(pd.concat([frame["at"], frame["until"]]).dropna())
    margin = max((times.max() - times.min()) * 0.02, pd.Timedelta(seconds=1))
    return times.min() - margin, times.max() + margin


def _known(
    frame: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the interval to draw: a long unrecorded time at its beginning is mostly left out."""
    is_gap = (frame["kind"] == "gap") & frame["event"].isin(_WHOLE_GAPS)
    first = frame[is_gap & (_utc(frame["at"]) <= begin)]
    known = min([_utc(first["until"]).max(), *_utc(frame.loc[~is_gap, "at"])])
    if first.empty or first["lasts"].any() or pd.isna(known) or known - begin < (end - begin) / 2:
        return begin, end
    return known - (end - known) * _UNKNOWN_SHARE, end


def _items(frame: pd.DataFrame, begin: pd.Timestamp, end: pd.Timestamp) -> Iterator[_Item]:
    """Yield the shapes of each row, within *begin* and *end*."""
    least = (end - begin) * _MIN_SHARE
    frame = frame.assign(at=_utc(frame["at"]), until=_utc(frame["until"]))
    for row in frame.to_dict("records"):
        lasts = not pd.isna(row["lasts"]) and bool(row["lasts"])
        last = end if lasts or pd.isna(row["until"]) else row["until"]
        style, label = _style(row), _label(row)
        first = max(row["at"], begin)
        yield _Item(
            lane=_lane(row),
            style=style,
            begin=first,
            end=max(min(last, end), first + least),
            label=f"{label} ▸" if lasts and style not in _SYMBOLS else label,
            hover=_hover(row, lasts=lasts),
            is_whole_gap=row["kind"] == "gap" and row["event"] in _WHOLE_GAPS,
        )


def _style(row: Mapping[Any, Any]) -> str:
    """Return a style of a bar, or the name of a symbol."""
    if row["kind"] in _OPERATORS:
        return str(row["kind"])
    if row["kind"] == "worker" and row["event"] in _WORKER_SYMBOLS:
        return _WORKER_SYMBOLS[row["event"]]
    if row["kind"] == "gap" or row["event"] == "cannot tell":
        return _UNKNOWN
    return _CALM if row["severity"] not in _STYLES else str(row["severity"])


def _lane(row: Mapping[Any, Any]) -> _Lane:
    kind, subject = str(row["kind"]), str(row["subject"])
    if kind in _OPERATORS:
        kind = "mark" if kind == "mark" else "operators"
    elif kind == "worker" and row["event"] in _WORKER_SYMBOLS:
        kind = "moments"
    if kind in _LANES_OF_KINDS:
        return _Lane(kind, _LANES_OF_KINDS[kind])
    details = row["details"] if isinstance(row["details"], dict) else {}
    name = details.get("fingerprint")
    if kind == "lock":
        return _Lane(kind, f"lock {subject}")
    return _Lane(kind, f"{subject}: {name}" if name else subject)


def _label(row: Mapping[Any, Any]) -> str:
    if row["kind"] == "mark":
        return text_of(str(row["sentence"]), _MARK_CHARS)
    if row["kind"] == "gap":
        return _GAP_LABELS.get(str(row["event"]), text_of(f"no {row['event']}"))
    details = row["details"] if isinstance(row["details"], dict) else {}
    return text_of(f"{details.get('count', '')} {row['event']}".strip())


def _hover(row: Mapping[Any, Any], *, lasts: bool) -> str:
    """Return the lines of the hover text, escaped: when, and what."""
    times = f"{row['at']:%H:%M:%S}"
    if lasts:
        times += " on, and lasts"
    elif not pd.isna(row["until"]):
        times += f" to {row['until']:%H:%M:%S}"
    lines = textwrap.wrap(str(row["sentence"]), _HOVER_CHARS)
    return "<br>".join([f"<b>{times} UTC</b>", *map(escaped, lines)])


def _lanes(items: Iterable[_Item]) -> tuple[list[_Lane], list[str]]:
    """Return the lanes in their order, and which were left out."""
    weights: defaultdict[_Lane, list[float]] = defaultdict(lambda: [0.0] * len(_STYLES))
    for item in items:
        place = _STYLES.index(item.style) if item.style in _STYLES else -1
        weights[item.lane][place] += (item.end - item.begin).total_seconds()
    lanes: list[_Lane] = []
    remarks = []
    others = sorted({lane.kind for lane in weights} - {*_ORDER, "gap"})
    for kind in (*_ORDER, *others, "gap"):
        its = [lane for lane in weights if lane.kind == kind]
        worst = sorted(its, key=lambda lane: weights[lane], reverse=True)
        lanes += worst[:_MAX_LANES]
        if len(worst) > _MAX_LANES:
            what = {"failures": "kind of failure", "worker": "silent worker"}.get(kind, kind)
            remarks.append(
                f"{_MAX_LANES} of {counted(len(worst), what)}, those with the worst trouble"
            )
    return lanes, remarks


# --- traces ------------------------------------------------------------------------------


def _bars(
    items: Sequence[_Item], place: Mapping[_Lane, int], theme: Theme, labelled: pd.Timedelta
) -> Iterator[go.Bar]:
    colours = BARS.get(theme, BARS["light"])
    inks = INK_ON_BAR.get(theme, INK_ON_BAR["light"])
    for style, colour, ink in zip(_STYLES, colours, inks, strict=True):
        bars = [item for item in items if item.style == style]
        if not bars:
            continue
        shape = "/" if style == _UNKNOWN else ""
        yield go.Bar(
            orientation="h",
            base=[item.begin for item in bars],
            x=[(item.end - item.begin).total_seconds() * 1000 for item in bars],
            y=[place[item.lane] for item in bars],
            width=0.66,
            name=style,
            marker={
                "color": colour,
                "line": {"width": 0},
                "pattern": {"shape": shape, "fgcolor": HATCH.get(theme), "size": 6},
            },
            text=[item.label if item.end - item.begin >= labelled else "" for item in bars],
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            insidetextfont={"color": ink, "size": 12},
            customdata=[item.hover for item in bars],
            hovertemplate="%{customdata}<extra></extra>",
        )


def _symbols(
    items: Sequence[_Item], place: Mapping[_Lane, int], theme: Theme, late: pd.Timestamp
) -> Iterator[go.Scatter]:
    for style, symbol in _SYMBOLS.items():
        moments = [item for item in items if item.style == style]
        if not moments:
            continue
        has_text = style == "mark" and len(moments) <= _MAX_MARK_TEXTS
        yield go.Scatter(
            x=[item.begin for item in moments],
            y=[place[item.lane] for item in moments],
            mode="markers+text" if has_text else "markers",
            name=style,
            marker={"symbol": symbol, "size": 12, "color": TEXT.get(theme)},
            text=[f" {item.label} " for item in moments] if has_text else None,
            textposition=[f"middle {'left' if item.begin > late else 'right'}" for item in moments],
            customdata=[item.hover for item in moments],
            hovertemplate="%{customdata}<extra></extra>",
        )


def _hatches(items: Sequence[_Item], lanes: int, theme: Theme) -> Iterator[go.Scatter]:
    """Yield the hatched times in which nothing was recorded, or no events, through all lanes."""
    for n, gap in enumerate(item for item in items if item.is_whole_gap):
        yield go.Scatter(
            x=[gap.begin, gap.end, gap.end, gap.begin],
            y=[-0.5, -0.5, lanes - 0.5, lanes - 0.5],
            mode="none",
            fill="toself",
            fillcolor="rgba(128, 128, 128, 0.12)",
            fillpattern={"shape": "/", "fgcolor": HATCH.get(theme), "size": 9, "solidity": 0.15},
            name="nothing recorded",
            legendgroup="nothing recorded",
            showlegend=n == 0,
            hoveron="fills",
            hoverinfo="skip",
        )
