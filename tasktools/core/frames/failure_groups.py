"""Groups of failures: which kinds there are, how many of each, since when, with an example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.core.frames.build import frame_from
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import FAILURE_GROUPS

By = str | Sequence[str] | Callable[[Any], Any]
"""The key that rows are grouped by: a column, several, or a function of the row."""

_TIMES: Final = ("failed_at", "last_death", "first_death", "published_at")
_KEPT_ATTRS: Final = ("cluster", "demo", "fingerprint_version")


def failure_groups(frame: pd.DataFrame, by: By = "fingerprint") -> pd.DataFrame:
    """Return the groups of the failures in *frame*, the largest first.

    Parameters
    ----------
    frame
        One row a failure, as `Cluster.dead_letters` returns it; only the columns of *by* must be
        there.
    by
        A column, several columns, or a function that gets each row as a named tuple and returns
        its group. Rows whose group is missing are a group as well.

    Returns
    -------
    pandas.DataFrame
        Schema `FAILURE_GROUPS`.

    Raises
    ------
    ValueError
        *frame* does not have a column of *by*.

    Examples
    --------
    >>> import tasktools as tt
    >>> with tt.connect("demo://") as cluster:
    ...     dead = cluster.dead_letters("orders")
    >>> groups = tt.failure_groups(dead)
    >>> bool(groups["count"].sum() == len(dead))
    True
    >>> by_error = tt.failure_groups(dead, by=["error_type", "reason"])

    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(  # noqa: TRY004 - whatever cannot be grouped is one error
            "Failures are grouped in a frame, as cluster.dead_letters() returns it, "
            f"not in a {type(frame).__name__}."
        )
    attrs = {name: frame.attrs[name] for name in _KEPT_ATTRS if name in frame.attrs}
    frame = frame.reset_index(drop=True)
    keys = _keys(frame, by)
    groups = keys.groupby(list(keys), dropna=False, sort=False).ngroup().to_numpy()
    names = keys.astype(object)[~pd.Series(groups).duplicated()].itertuples(index=False, name=None)
    answer = frame_from(FAILURE_GROUPS, _rows(frame, groups, map(_name, names)), **attrs)
    return answer.sort_values("count", ascending=False, kind="stable", ignore_index=True)


# --- what a row is grouped by ------------------------------------------------------------


def _keys(frame: pd.DataFrame, by: By) -> pd.DataFrame:
    """Return a frame of what each row is grouped by, in one or more columns."""
    if callable(by):
        results = [by(row) for row in frame.itertuples(index=False, name="Row")]
        return pd.DataFrame({0: _hashables(results)})
    names = [by] if isinstance(by, str) else list(by)
    unknown = [str(name) for name in names if name not in frame.columns]
    if unknown or not names:
        raise ValueError(
            f"The frame has no column {' or '.join(unknown) or 'to group by'}; "
            f"it has {', '.join(map(str, frame.columns)) or 'none'}."
        )
    columns = [frame[name] for name in names]
    return pd.DataFrame(
        {n: _hashables(c) if c.dtype == object else c for n, c in enumerate(columns)}
    )


def _hashables(values: Iterable[Any]) -> pd.Series[Any]:
    return pd.Series([_hashable(value) for value in values], dtype=object)


def _hashable(value: Any) -> Any:
    """Return *value*, or its text if it is a list or a dict, say."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _name(key: tuple[Any, ...]) -> str | None:
    if isinstance(key[0], tuple):  # a function may return several values
        key = key[0]
    if all(pd.isna(part) for part in key):
        return None
    return " · ".join("?" if pd.isna(part) else f"{part}" for part in key)


# --- what is said about a group ------------------------------------------------------------


def _rows(
    frame: pd.DataFrame, groups: np.ndarray[Any, Any], names: Iterable[str | None]
) -> list[tuple[Any, ...]]:
    """Return the rows of the answer; *groups* has for each row of *frame* its group's number."""
    counts = np.bincount(groups)
    times = _times(frame)
    spans = times.groupby(groups).agg(["min", "max"])
    latest = np.empty(len(counts), dtype=np.intp)
    order = np.argsort(times.to_numpy(dtype="datetime64[us]").view(np.int64), kind="stable")
    latest[groups[order]] = order  # of those with one index, the last is kept
    topics, tasks = (_distinct(frame, name, groups) for name in ("topic", "task_name"))
    return list(
        zip(
            names,
            counts.tolist(),
            (counts / max(len(frame), 1)).tolist(),
            spans["min"],
            spans["max"],
            [None if ids is None else len(ids) for ids in tasks],
            topics,
            _at(frame, "key", latest),
            *(_at(frame, name, latest) for name in ("error", "error_kind", "fingerprint_why")),
            strict=True,
        )
    )


def _times(frame: pd.DataFrame) -> pd.Series[Any]:
    """Return when each failure happened, as far as its row says."""
    dtype: Any = DTYPES["time"]
    times: pd.Series[Any] = pd.Series(pd.NaT, index=frame.index, dtype=dtype)
    for name in _TIMES:
        if name in frame.columns:
            times = times.fillna(pd.to_datetime(frame[name], utc=True).astype(dtype))
    return times


def _distinct(
    frame: pd.DataFrame, name: str, groups: np.ndarray[Any, Any]
) -> list[list[str] | None]:
    """Return for each group the different values that it has in a column; `None`: not known."""
    values_by_group: list[list[str]] = [[] for _ in range(groups.max(initial=-1) + 1)]
    if name in frame.columns:
        pairs = pd.DataFrame({"group": groups, "value": frame[name]}).dropna().drop_duplicates()
        pairs = pairs.sort_values("value")
        for group, value in zip(pairs["group"], pairs["value"], strict=True):
            values_by_group[group].append(value)
    return [values or None for values in values_by_group]


def _at(frame: pd.DataFrame, name: str, places: np.ndarray[Any, Any]) -> list[Any]:
    return [None] * len(places) if name not in frame.columns else frame[name].iloc[places].tolist()
