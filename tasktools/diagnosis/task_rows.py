"""Tasks that failed and tasks that succeeded: one row a task, and the columns of use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from tasktools.core.masked_repr import MaskedRepr
from tasktools.core.plurals import counted

_FOLLOWS: Final = frozenset(
    {
        *("error_type", "error", "fingerprint", "error_kind", "reason", "state", "outcome"),
        "fingerprint_why",
        "durations",
        *("duration", "recovered", "deaths", "replays", "first_death", "last_death", "failed_at"),
        *("ended_at", "ended", "problem", "unreadable", "ttl", "expires_at", "possible_duplicate"),
    }
)
"""Columns that say how a task ended, or follow from it: they explain nothing."""
_PLACES: Final = frozenset({"key", "queue", "position", "task_id"})
"""Columns of our frames that name one message, or where it lies."""
_OBSERVED: Final = frozenset(
    {
        *("args", "kwargs", "headers", "size", "task_name", "published_at", "started_at"),
        *("first_wait", "worker_id", "host", "version", "attempts", "tries"),
    }
)
"""Columns of our frames in which a missing value says that nobody observed it."""
_COUNTS_OF_TRIES: Final = ("attempts", "tries")
_TIMES: Final = ("ended_at", "failed_at", "last_death", "at", "started_at", "published_at")
"""Columns with the time of a try, the best first."""


@dataclass(frozen=True, slots=True, repr=False)
class TaskRows(MaskedRepr):
    """The columns of all tasks, whether each failed, and the columns that were left out, with the
    reason."""

    columns: dict[str, pd.Series[Any]]
    is_failed: np.ndarray[Any, np.dtype[np.bool_]]
    skipped: dict[str, str]
    notes: list[str]

    def unknown(self, name: str) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        """Return a mask of the tasks for which the column *name* was not observed. `None`: it was
        for all, or a missing value in this column is a value like others."""
        if name not in _OBSERVED:
            return None
        is_unknown = self.columns[name].isna().to_numpy(dtype=bool)
        return is_unknown if is_unknown.any() else None


def one_row_a_task(
    failed: pd.DataFrame, succeeded: pd.DataFrame, fields: Sequence[str] | None
) -> TaskRows:
    """Return the tasks of two frames, each task once, with its last try."""
    notes: list[str] = []
    failed, succeeded = _last_tries(failed, "failed", notes), _last_tries(succeeded, "other", notes)
    succeeded = _without(succeeded, failed, notes)
    is_failed = np.zeros(len(failed) + len(succeeded), dtype=bool)
    is_failed[: len(failed)] = True
    skipped: dict[str, str] = {}
    columns: dict[str, pd.Series[Any]] = {}
    for name in dict.fromkeys([*failed.columns, *succeeded.columns]):
        why = _useless(name, failed, succeeded, fields)
        if why is not None:
            skipped[str(name)] = why
        elif fields is None or any(is_in(field, str(name)) for field in fields):
            columns[str(name)] = _joined(failed[name], succeeded[name])
    return TaskRows(columns, is_failed, skipped, notes)


def is_in(path: str, field: str) -> bool:
    """Whether *path* is *field*, or a part of it.

    >>> is_in("kwargs.to", "kwargs"), is_in("kwargs.total", "kwargs.to")
    (True, False)
    """
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _last_tries(frame: pd.DataFrame, what: str, notes: list[str]) -> pd.DataFrame:
    """Return the last row of each task, so that a task with three tries counts once."""
    frame = frame.reset_index(drop=True)
    if "task_id" not in frame.columns:
        if len(frame):
            notes.append(f"the {what} tasks have no task_id: each row counts as a task")
        return frame
    order = np.arange(len(frame))
    known = [name for name in (*_COUNTS_OF_TRIES, *_TIMES) if _is_ordered(frame, name)]
    times = [name for name in known if name in _TIMES]
    names = [name for name in known if name in _COUNTS_OF_TRIES] + times[:1]
    ranks = (frame[name].rank(method="dense").fillna(0).to_numpy(np.float64) for name in names)
    keys = (order, *ranks)
    ids = frame["task_id"].iloc[np.lexsort(keys)]
    last = ids[ids.isna() | ~ids.duplicated(keep="last")].index.sort_values()
    if len(last) < len(frame):
        notes.append(
            f"of {len(frame):,} rows of {what} tasks {len(last):,} count: one a task, its last try"
        )
    return frame.loc[last].reset_index(drop=True)


def _is_ordered(frame: pd.DataFrame, name: str) -> bool:
    if name not in frame.columns:
        return False
    dtype = frame[name].dtype
    return pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype)


def _without(succeeded: pd.DataFrame, failed: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return *succeeded* less the tasks that are in *failed*: the caller counts these as failed."""
    if "task_id" not in succeeded.columns or "task_id" not in failed.columns:
        return succeeded
    ids = succeeded["task_id"]
    is_in_both = (ids.isin(failed["task_id"].dropna()) & ids.notna()).to_numpy(bool)
    if is_in_both.any():
        both = counted(int(is_in_both.sum()), "task")
        notes.append(f"{both} of both frames: counted as failed, by the try that failed")
    return succeeded[~is_in_both].reset_index(drop=True)


def _useless(
    name: Any, failed: pd.DataFrame, succeeded: pd.DataFrame, fields: Sequence[str] | None
) -> str | None:
    """Return why a column cannot distinguish tasks; `None` if it can."""
    if name not in failed.columns or name not in succeeded.columns:
        which = "succeeded" if name in succeeded.columns else "failed"
        return f"only the {which} tasks have this column"
    if fields is not None:
        return None
    if name in _FOLLOWS:
        return "it follows from how the task ended"
    if name in _PLACES and (name != "queue" or "topic" in failed.columns):
        return "it names a message, or where it lies"
    return _unequal(name, failed[name], succeeded[name])


def _unequal(name: Any, failed: pd.Series[Any], succeeded: pd.Series[Any]) -> str | None:
    """Return why the values of the column in *failed* and *succeeded* cannot be compared; `None` if
    they can."""
    if name in _OBSERVED:
        columns = {"failed ": failed, "succeeded ": succeeded}
        unknown = [which for which, column in columns.items() if column.isna().all()]
        if unknown:
            return f"it is not known of any of the {unknown[0] if len(unknown) == 1 else ''}tasks"
    if name in _COUNTS_OF_TRIES and _is_used_up(failed, succeeded):
        return "all that failed were tried as often as any: failing tasks are tried again"
    return None


def _is_used_up(failed: pd.Series[Any], succeeded: pd.Series[Any]) -> bool:
    """Whether failed tasks all have the same count of tries, and no other task has a higher one."""
    if not pd.api.types.is_numeric_dtype(failed.dtype) or failed.isna().all():
        return False
    highest = failed.max()
    return bool(
        failed.min() == highest and not (succeeded > highest).any() and (succeeded < highest).any()
    )


def _joined(failed: pd.Series[Any], succeeded: pd.Series[Any]) -> pd.Series[Any]:
    if failed.dtype != succeeded.dtype:
        failed, succeeded = failed.astype(object), succeeded.astype(object)
    return pd.concat([failed, succeeded], ignore_index=True)
