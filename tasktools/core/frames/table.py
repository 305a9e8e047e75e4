"""Tables: the rows of a frame as Python lists, for code that does not import pandas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from tasktools.core.frames.schema import DTYPES, Schema
from tasktools.core.models import Source

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Columns of values in the order of *schema*, and the *attrs* that travel with them.

    A missing value is `None`. Spans are stored in seconds, and returned as `timedelta`.

    >>> from tasktools.core.frames.schemas import LOCKS
    >>> table = Table.of_rows(LOCKS, [("nightly", "task-1", "worker-1", None, 1.5, False)])
    >>> table["held_for"]
    [datetime.timedelta(seconds=1, microseconds=500000)]
    >>> table.frame()["lock"].tolist()
    ['nightly']
    """

    def __init__(self, schema: Schema, columns: Sequence[Sequence[Any]], **attrs: Any) -> None:
        self.schema = schema
        self.attrs = attrs
        self._columns = columns

    @classmethod
    def of_rows(cls, schema: Schema, rows: Sequence[Sequence[Any]], **attrs: Any) -> Self:
        """Return *rows*, with values in the order of the columns of *schema*, as a table."""
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema.columns)
        return cls(schema, columns, **attrs)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, schema: Schema) -> Self:
        """Return *frame*, which has the columns of *schema*, as a table."""
        columns = []
        for name in schema.names:
            missing = frame[name].isna()
            columns.append(
                [
                    None if gone else _given(value)
                    for value, gone in zip(frame[name].tolist(), missing, strict=True)
                ]
            )
        table = cls(schema, columns)
        table.attrs = {str(name): value for name, value in frame.attrs.items()}
        return table

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.schema.names

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, name: str) -> list[Any]:
        """Return the values of the column *name*."""
        place = self.schema.names.index(name)
        values = self._columns[place]
        if not DTYPES[self.schema.columns[place].kind].startswith("timedelta"):
            return list(values)
        return [None if value is None else timedelta(seconds=value) for value in values]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows."""
        names = self.schema.names
        for values in zip(*(self[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))

    def at(self, places: Iterable[int]) -> Table:
        """Return the rows at the positions *places*, in that order."""
        chosen = list(places)
        columns = [[values[place] for place in chosen] for values in self._columns]
        return Table(self.schema, columns, **self.attrs)

    def head(self, count: int) -> Table:
        """Return the first *count* rows."""
        return self.at(range(min(count, len(self))))

    def frame(self) -> pd.DataFrame:
        """Return the table as a frame of exactly its schema."""
        from tasktools.core.frames.build import frame_of_columns

        frame = frame_of_columns(self.schema, self._columns)
        frame.attrs.update(self.attrs)
        return frame


def _given(value: Any) -> Any:
    """Return a value of a frame in the form that tables store: a span as seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def sources_attr(sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """Return `attrs["sources"]`: for each source its columns, whether it answered (`ok`), its age
    (`age`, seconds) and its problem (`note`)."""
    return {
        source.name: {
            "ok": source.ok,
            "columns": list(source.columns),
            "age": source.age,
            "note": source.note,
        }
        for source in sources
    }
