"""Statuses of published tasks: the outcome of publishing, then the state of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pandas as pd

from tasktools.core import plurals
from tasktools.monitor.follow import ENDED

FATES: Final = (
    "succeeded",
    "running",
    "queued",
    "unknown",
    "failed",
    "refused",
    "unroutable",
    "not sent",
)
"""All statuses, from the best to the worst."""

COLOURS: Final = {
    "succeeded": "#2f9e5c",
    "running": "#3f83d6",
    "queued": "#8d949c",
    "unknown": "#b08a00",
    "failed": "#d3493d",
    "refused": "#c2570c",
    "unroutable": "#9450b5",
    "not sent": "#5d636b",
}
"""To be told apart on white and on dark grey, since the kernel does not know the theme."""

FINAL: Final = (*ENDED, "refused", "unroutable", "not sent")
"""Statuses that do not change any more."""

_ARRIVED: Final = ("confirmed", "in doubt")
_ATTENTION: Final = (*reversed(FATES[3:]), "running", "queued", "succeeded")


def fates(outcome: pd.DataFrame, followed: pd.DataFrame) -> pd.DataFrame:
    """Join the frames `PUBLISHED` and `FOLLOWED`; the column `fate` is one of `FATES`."""
    states = followed.drop(columns="topic").drop_duplicates("task_id")
    joined = outcome.merge(states, how="left", on="task_id")
    fate = joined["outcome"].where(~joined["outcome"].isin(_ARRIVED), joined["state"])
    return joined.assign(fate=fate.fillna("unknown"))


def tasks_to_follow(outcome: pd.DataFrame) -> pd.Series[str]:
    """Return the ids of the tasks in *outcome* that a worker may execute."""
    return outcome.loc[outcome["outcome"].isin(_ARRIVED), "task_id"]


def all_ended(followed: pd.DataFrame) -> bool:
    """Whether every followed task has ended."""
    return bool(followed["state"].isin(ENDED).all())


def counted(joined: pd.DataFrame) -> dict[str, int]:
    """Count the tasks of `fates` by their fate, in the order of `FATES`."""
    counts = joined["fate"].value_counts()
    return {fate: int(counts[fate]) for fate in FATES if fate in counts}


def in_words(outcome: pd.DataFrame, counts: Mapping[str, int]) -> str:
    """Return the statuses of the tasks in one line."""
    if outcome.empty:
        return ""
    results = outcome["outcome"].value_counts()
    total = plurals.counted(len(outcome), "task")
    sent = ", ".join(f"{number:,} {result}" for result, number in results.items())
    now = ", ".join(f"{n:,} {fate}" for fate, n in counts.items() if fate not in results.index)
    return f"{total}: {sent}" + (f" · {now}" if now else "")


def worth_showing(joined: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most *most* rows; if there are more, tasks that need attention first."""
    if len(joined) <= most:
        return joined
    rank = {fate: place for place, fate in enumerate(_ATTENTION)}
    return joined.sort_values("fate", key=lambda fate: fate.map(rank), kind="stable").head(most)
