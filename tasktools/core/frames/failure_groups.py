"""Groups of failures: which kinds there are, how many of each, since when, with an example."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tasktools.core.frames.export import is_missing
from tasktools.core.frames.nested_paths import is_path, values_at
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import FAILURE_GROUPS
from tasktools.core.frames.table import Table
from tasktools.core.lazy_imports import pd

By = str | Sequence[str] | Callable[[Any], Any]
"""The key that rows are grouped by: a column, several, or a function of the row."""

_TIMES: Final = ("failed_at", "last_death", "first_death", "published_at")
_EXAMPLE: Final = ("key", "error", "error_kind", "fingerprint_why")
_TOLD: Final = ("topic", "task_name", *_EXAMPLE)
_OF_ERRORS: Final = ("error_type", "error", "error_kind", "fingerprint")
"""Columns of which a missing value says that no error is known."""
_OF_DEATHS: Final = ("error_type", "error", "fingerprint", "reason", "topic")
_KEPT_ATTRS: Final = ("cluster", "demo", "fingerprint_version")


def failure_groups(frame: pd.DataFrame, by: By = "fingerprint") -> pd.DataFrame:
    """Return the groups of the failures in *frame*, the largest first.

    Parameters
    ----------
    frame
        One row a failure, as `Cluster.dead_letters` returns it; only the columns of *by* must be
        there.
    by
        A column, or a path into arguments or headers as ``kwargs.customer.id``, ``args.0`` or
        ``headers.tenant``; several of them; or a function that gets each row as a named tuple and
        returns its group. A row without an error, or whose group is missing, is grouped by its
        death, as ``expired in orders``. Other rows without a group form a group of their own.

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
    >>> by_currency = tt.failure_groups(dead, by="kwargs.currency")

    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(  # noqa: TRY004 - whatever cannot be grouped is one error
            "Failures are grouped in a frame, as cluster.dead_letters() returns it, "
            f"not in a {type(frame).__name__}."
        )
    if callable(by):
        deaths = _deaths(frame)
        rows = frame.itertuples(index=False, name="Row")
        keys = [_or_death(_hashable(by(row)), deaths, n) for n, row in enumerate(rows)]
    else:
        names = [by] if isinstance(by, str) else list(by)
        _check(names, frame.columns)
        keys = _keys([group_values(frame, name) for name in names])
    columns: dict[str, list[Any]] = {
        name: _values(frame[name]) for name in _TOLD if name in frame.columns
    }
    return _grouped(keys, columns, _times(frame), frame.attrs).frame()


def group_table(table: Table, by: Sequence[str] = ("fingerprint",)) -> Table:
    """Return the groups of the failures in *table* as `failure_groups` does, without pandas."""
    _check(by, table.columns)
    columns: dict[str, list[Any]] = {name: table[name] for name in _TOLD if name in table.columns}
    times = [table[name] for name in _TIMES if name in table.columns]
    first_known = [next(filter(None, row), None) for row in zip(*times, strict=True)]
    deaths = _Deaths({name: table[name] for name in _OF_DEATHS if name in table.columns})
    keys = [
        values_at(name, table[name.partition(".")[0]])
        if is_path(name, table.columns)
        else deaths.instead_of_missing(name, table[name])
        for name in by
    ]
    return _grouped(_keys(keys), columns, first_known, table.attrs)


# --- what a row is grouped by ------------------------------------------------------------


def _check(names: Sequence[str], known: Iterable[Any]) -> None:
    """Raise `ValueError` if one of *names* is not among the *known* columns."""
    there = list(map(str, known))
    unknown = [str(name) for name in names if str(name) not in there and not is_path(name, there)]
    if unknown or not names:
        raise ValueError(
            f"The frame has no column {' or '.join(unknown) or 'to group by'}; "
            f"it has {', '.join(there) or 'none'}."
        )


def group_values(frame: pd.DataFrame, name: str) -> Sequence[Any]:
    """Return the values of *frame* in the column, or at the path, *name*, by which its rows are
    grouped."""
    if name not in frame.columns and is_path(name, frame.columns):
        return values_at(name, frame[name.partition(".")[0]])
    values = _values(frame[name])
    return _deaths(frame).instead_of_missing(name, values) if name in _OF_ERRORS else values


class _Deaths:
    """Texts that stand for a row's missing error: why and where its message died, from
    *columns*."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = columns

    def instead_of_missing(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        """Return *values*, a column of the error, with missing values replaced by the known facts
        of the row's death."""
        if name not in _OF_ERRORS:
            return values
        return [self.of(n) if is_missing(value) else value for n, value in enumerate(values)]

    def of(self, place: int) -> str | None:
        """Return the text for the row at *place*; `None` if its error is known, or the reason of
        its death is not."""
        known = {name: values[place] for name, values in self._columns.items()}
        reason, topic = known.get("reason"), known.get("topic")
        errors = known.get("error_type"), known.get("error")
        if is_missing(reason) or not all(map(is_missing, errors)):
            return None
        if not is_missing(known.get("fingerprint")):
            return str(known["fingerprint"])
        return f"{reason}" if is_missing(topic) else f"{reason} in {topic}"


def _deaths(frame: pd.DataFrame) -> _Deaths:
    return _Deaths({name: _values(frame[name]) for name in _OF_DEATHS if name in frame.columns})


def _or_death(key: Hashable, deaths: _Deaths, place: int) -> Hashable:
    """Return *key*, with its first missing part replaced by the known facts of the row's death."""
    if not isinstance(key, tuple):
        return deaths.of(place) if is_missing(key) else key
    at = next((at for at, part in enumerate(key) if is_missing(part)), None)
    return key if at is None else (*key[:at], deaths.of(place), *key[at + 1 :])


def _values(column: pd.Series[Any]) -> list[Any]:
    """Return the values of a column; a missing one is `None`."""
    missing = column.isna()
    values = column.tolist()
    if not missing.any():
        return values
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _times(frame: pd.DataFrame) -> list[Any]:
    """Return the time of each failure (UTC, without the zone); missing if its row has none."""
    dtype: Any = DTYPES["time"]
    times: pd.Series[Any] = pd.Series(pd.NaT, index=frame.index, dtype=dtype)
    for name in _TIMES:
        if name in frame.columns:
            times = times.fillna(pd.to_datetime(frame[name], utc=True).astype(dtype))
    values: list[Any] = times.dt.tz_localize(None).to_numpy().tolist()  # faster without it
    return values


def _keys(columns: Sequence[Sequence[Any]]) -> list[Hashable]:
    """Return for each row the values of *columns*."""
    return list(zip(*map(_hashables, columns), strict=True))


def _hashables(values: Sequence[Any]) -> Sequence[Hashable]:
    """Return *values*, or their texts if some cannot be hashed, like lists and dicts."""
    try:
        set(values)
    except TypeError:
        return [_hashable(value) for value in values]
    return values


def _hashable(value: Any) -> Hashable:
    """Return *value*, or its text if it cannot be hashed; a missing one is `None`."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return None if is_missing(value) else value


def _name(key: Hashable) -> str | None:
    parts = key if isinstance(key, tuple) else (key,)
    if all(map(is_missing, parts)):
        return None
    return " · ".join("?" if is_missing(part) else f"{part}" for part in parts)


# --- what is said about a group ------------------------------------------------------------


def _grouped(
    keys: Sequence[Hashable],
    columns: Mapping[str, Sequence[Any]],
    times: Sequence[datetime | None],
    attrs: Mapping[Any, Any],
) -> Table:
    """Return the groups of rows with equal *keys*; *columns* are values of the rows, *times* when
    they failed."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    rows = [
        _row(key, places, columns, times, len(keys))
        for key, places in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]
    kept_attrs = {name: attrs[name] for name in _KEPT_ATTRS if name in attrs}
    return Table.of_rows(FAILURE_GROUPS, rows, **kept_attrs)


def _row(
    key: Hashable,
    places: Sequence[int],
    columns: Mapping[str, Sequence[Any]],
    times: Sequence[datetime | None],
    total: int,
) -> tuple[Any, ...]:
    """Return the row of the group with the rows at the positions *places*, of *total* rows."""
    known = [time for time in map(times.__getitem__, places) if time is not None]
    first, last = (min(known), max(known)) if known else (None, None)
    latest = next(place for place in reversed(places) if times[place] == last)
    topics, tasks = (_distinct(columns.get(name), places) for name in ("topic", "task_name"))
    return (
        _name(key),
        len(places),
        len(places) / total,
        _in_utc(first),
        _in_utc(last),
        None if tasks is None else len(tasks),
        topics,
        *(columns[name][latest] if name in columns else None for name in _EXAMPLE),
    )


def _in_utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _distinct(values: Sequence[Any] | None, places: Iterable[int]) -> list[Any] | None:
    """Return the distinct *values* at the positions *places*; `None` if they are unknown."""
    known = {values[place] for place in places} - {None} if values is not None else None
    return sorted(known) if known else None
