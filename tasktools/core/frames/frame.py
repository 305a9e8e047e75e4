"""The class of all frames: a `DataFrame` that people can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Self

from tasktools.core.frames import html_table, text_table
from tasktools.core.frames.caption import Caption, caption_of, notes_in
from tasktools.core.frames.cell_text import as_json
from tasktools.core.frames.excerpt import excerpt_of
from tasktools.core.frames.export import is_missing, plain
from tasktools.core.frames.schema import Schema
from tasktools.core.lazy_imports import pd


class Frame(pd.DataFrame):
    """A `DataFrame` with a display for people; in everything else it is pandas'.

    The display shows the frame's name, its sources, and ``attrs["notes"]``; times, spans and sizes
    in words; alarming values first, and marked. Rows, columns and copies of a frame are shown
    alike; values, order and files are those of any `DataFrame`.
    """

    _metadata: ClassVar[list[str]] = ["_schema"]
    _schema: Schema | None = None

    @property
    def _constructor(self) -> Callable[..., Frame]:
        return Frame

    def __finalize__(self, other: Any, method: str | None = None, **kwargs: Any) -> Self:
        super().__finalize__(other, method=method, **kwargs)  # type: ignore[misc]
        if parts := getattr(other, "input_objs", ()):  # of a concat or merge
            schemas = [getattr(part, "_schema", None) for part in parts]
            self._schema = schemas[0] if all(each == schemas[0] for each in schemas) else None
            self.attrs = _common([part.attrs for part in parts if part.attrs])
        return self

    def __repr__(self) -> str:
        if not self._is_shown():
            return super().__repr__()
        chars = text_table.width()
        part, caption = self._part(), self._caption()
        excerpt = excerpt_of(part, self._schema, chars, text_table.GAP)
        return text_table.text(caption, excerpt, chars=chars, nothing=self._nothing())

    def _repr_html_(self) -> str | None:
        if not self._is_shown() or not pd.get_option("display.notebook_repr_html"):
            html: str | None = super()._repr_html_()  # type: ignore[misc]
            return html
        excerpt = excerpt_of(self._part(), self._schema, html_table.ROOM, html_table.GAP)
        return html_table.html(self._caption(), excerpt, nothing=self._nothing())

    def _part(self) -> pd.DataFrame:
        """Return the rows and columns that are worth showing."""
        return self

    def _nothing(self) -> str:
        """Return the text for a frame without rows."""
        return "no rows"

    def _is_shown(self) -> bool:
        """Whether the display is for frames like this; others are shown by pandas."""
        names = self.columns
        is_plain = names.nlevels == 1 and names.is_unique and all(isinstance(n, str) for n in names)
        return is_plain and len(names) > 0 and pd.get_option("display.large_repr") != "info"

    def _caption(self) -> Caption:
        index = self.index
        is_row = index.nlevels == 1 and index.name is None and pd.api.types.is_integer_dtype(index)
        return caption_of(self.attrs, self._schema, len(self), derived=not is_row)

    # --- for Arrow, Polars and Parquet --------------------------------------------------

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._for_arrow().__arrow_c_stream__(requested_schema)

    def to_parquet(self, *args: Any, **kwargs: Any) -> Any:
        """Write a Parquet file, as `DataFrame.to_parquet`; arguments and headers are JSON in it."""
        return self._for_arrow().to_parquet(*args, **kwargs)

    def _for_arrow(self) -> pd.DataFrame:
        """Return this frame with values that Arrow has types for: objects as JSON, attrs of plain
        values.

        Arguments may have another type in each row, and some are masked.
        """
        frame = pd.DataFrame(self)
        kinds = {} if self._schema is None else {c.name: c.kind for c in self._schema.columns}
        for name, dtype in frame.dtypes.items():
            if pd.api.types.is_object_dtype(dtype) and kinds.get(str(name)) != "names":
                values = [None if is_missing(v) else as_json(v) for v in frame[name]]
                frame[name] = pd.Series(values, index=frame.index, dtype="string")
        frame.attrs = plain(self.attrs)
        return frame


def _common(attrs: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Return the *attrs* that are equal in all frames, and the notes of all."""
    first, *others = attrs or [{}]
    common = {
        key: value for key, value in first.items() if all(o.get(key) == value for o in others)
    }
    notes = dict.fromkeys(note for each in attrs for note in notes_in(each))
    return deepcopy(common | ({"notes": list(notes)} if notes else {}))
