"""A batch of tasks: a DataFrame or a file, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import pandas as pd

from tasktools.cluster import publish, task_file
from tasktools.core.errors import InvalidTask
from tasktools.core.masked_repr import MaskedRepr

_FROM_THE_FORM: Final = ("topic", "task_name")
_STAND_IN: Final = {"topic": "topic", "task_name": "task"}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Batch(MaskedRepr):
    """Tasks to publish, one per row. `problem` says in words why they cannot be published.

    `topics` are the topics in the rows, and `pairs` the distinct pairs of topic and task, with
    `None` for a value that is left to the form. `lacks` names the columns in which some row leaves
    the value to the form.
    """

    source: str
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    topics: tuple[str, ...] = ()
    pairs: tuple[tuple[str | None, str | None], ...] = ()
    lacks: frozenset[str] = frozenset()
    problem: str | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def of(cls, frame: pd.DataFrame, source: str = "the DataFrame") -> Self:
        """Check *frame*, which has the columns of `Cluster.publish_many`. `topic` and `task_name`,
        or single values of them, may be missing."""
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"A batch is a DataFrame, not {type(frame).__name__}.")
        try:
            publish.requests_from(_filled(frame, _STAND_IN))
        except InvalidTask as error:
            return cls(source=source, problem=str(error))
        if frame.empty:
            return cls(source=source, problem=f"There is no task in {source}.")
        named = {name: _named(frame, name) for name in _FROM_THE_FORM}
        return cls(
            source=source,
            frame=frame,
            topics=tuple(named["topic"].dropna().unique()),
            pairs=tuple(
                dict.fromkeys(
                    (None if pd.isna(topic) else topic, None if pd.isna(task) else task)
                    for topic, task in zip(named["topic"], named["task_name"], strict=True)
                )
            ),
            lacks=frozenset(name for name, values in named.items() if values.isna().any()),
        )

    @classmethod
    def from_file(cls, name: str, content: bytes) -> Self:
        """Read a file in UTF-8: CSV, or one JSON object per line."""
        try:
            frame = task_file.read(content.decode("utf-8-sig"), needed=())
        except UnicodeDecodeError as error:
            why = f"{name} is not UTF-8 ({error.reason} at byte {error.start})."
            return cls(source=name, problem=why)
        except InvalidTask as error:
            return cls(source=name, problem=str(error))
        return cls.of(frame, name)

    def forgotten(self) -> Self:
        """Return a batch without tasks, to replace this one, which may hold secrets, after
        sending."""
        why = (
            f"The tasks of {self.source} hold secrets, and are forgotten once they are sent. "
            "Choose a file."
        )
        return type(self)(source=self.source, problem=why)

    def completed(self, defaults: Mapping[str, Any]) -> pd.DataFrame:
        """Return the tasks, with *defaults* for missing values."""
        return _filled(self.frame, {k: v for k, v in defaults.items() if v is not None})


def _named(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    return frame[name] if name in frame.columns else pd.Series([None] * len(frame), dtype=object)


def _filled(frame: pd.DataFrame, defaults: Mapping[str, Any]) -> pd.DataFrame:
    columns = {}
    for name, default in defaults.items():
        values = _named(frame, name).astype(object).tolist()
        missing = _named(frame, name).isna().tolist()
        columns[name] = [default if m else value for value, m in zip(values, missing, strict=True)]
    return frame.assign(**{n: pd.Series(c, frame.index, dtype=object) for n, c in columns.items()})
