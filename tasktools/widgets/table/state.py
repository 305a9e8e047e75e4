"""State of a table: its rows, filter, order and selection, and every rule. No widgets here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import traitlets

from tasktools.core.clock import Clock, SystemClock, moment
from tasktools.core.plurals import counted
from tasktools.widgets.state import SharedState
from tasktools.widgets.table.columns import Cell, Column
from tasktools.widgets.table.rows import Mask, Places, Rows, Sort

_MAX_PAGE_ROWS: Final = 400


class Row(NamedTuple):
    """One row of a page."""

    key: str
    selected: bool
    cells: list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The screen at one instant: the rows from place *first* on, and everything around them."""

    generation: int
    revision: int
    first: int
    rows: list[Row]
    shown: int
    total: int
    filter: str
    sort: Sort | None
    unseen: tuple[str, ...]
    current: str | None
    at: int | None  # where the current row is, if it is shown
    every: str  # whether all shown rows are selected: "true", "false" or "mixed"
    counts: tuple[tuple[str, str], ...]
    nothing: str
    problem: str


class TableState(SharedState):
    """The state of a table. Set `filter` and `sort`, and call the methods.

    A row is always named by its `key`, so a selection means the same rows after the user filters,
    sorts or scrolls. `generation` increases with each new list of shown rows, `revision` with
    each change on screen.
    """

    # set by the user
    filter = traitlets.Unicode()  # words that a row must contain, in any case
    sort = traitlets.Instance(Sort, allow_none=True)
    unseen = traitlets.Tuple()  # names of columns that are not shown; a filter searches them, too
    current = traitlets.Unicode(None, allow_none=True)  # key of the current row

    # derived
    selected = traitlets.Tuple(read_only=True)  # keys, in the frame's order
    total = traitlets.Int()
    shown = traitlets.Int()
    hidden = traitlets.Int()  # selected, but not shown
    words = traitlets.Unicode()  # the counts in words
    generation = traitlets.Int()
    revision = traitlets.Int()

    _rows: Rows
    _listed: Places  # places of the shown rows, in their order
    _chosen: Mask  # which rows are selected
    _before: Mask  # the selection without the range that is being extended

    def __init__(self, columns: Sequence[Column], *, clock: Clock | None = None) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self._clock = clock or SystemClock()
        self._kept: frozenset[str] | None = None
        self._anchor: str | None = None  # key of the row where a range begins
        self.show(pd.DataFrame(columns=["key", *(column.name for column in columns)]))

    # --- which rows -----------------------------------------------------------------

    def show(self, frame: pd.DataFrame) -> None:
        """Show the rows of *frame*, each with a unique `key`. Rows that are still there stay
        selected."""
        with self.lock:
            rows = Rows(frame, self.columns)
            self._rows, self._chosen = rows, rows.having(self.selected)
            self.total = len(rows)
            self._arrange()
            if self.current is not None and rows.place(self.current) is None:
                self.current = None

    def keep(self, only: Collection[str] | pd.Series[bool] | Mask | None) -> None:
        """Show *only* these rows: keys, or a mask over the frame; `None` shows all."""
        with self.lock:
            self._kept = None if only is None else self._keys_of(only)
            self._arrange()

    def sort_by(self, column: str) -> None:
        """Sort by *column*: ascending, at the second call descending, at the third not at all."""
        with self.lock:
            if self.sort is None or self.sort.column != column:
                self.sort = Sort(column)
            else:
                self.sort = None if self.sort.descending else Sort(column, descending=True)

    def page(self, first: int, last: int) -> Page:
        """Return the shown rows from *first* up to, but without, *last*; the last ones if there
        are fewer."""
        with self.lock:
            size = max(0, min(last - first, _MAX_PAGE_ROWS))
            first = max(0, min(first, self.shown - size))
            places = self._listed[first : first + size]
            cells = self._rows.cells(places, moment(self._clock.time()))
            keys, chosen = self._rows.keys[places], self._chosen[places].tolist()
            return Page(
                generation=self.generation,
                revision=self.revision,
                first=first,
                rows=[Row(*row) for row in zip(keys, chosen, cells, strict=True)],
                shown=self.shown,
                total=self.total,
                filter=self.filter,
                sort=self.sort,
                unseen=self.unseen,
                current=self.current,
                at=None if self.current is None else self._at(self.current),
                every=self._every(),
                counts=self._counts(),
                nothing="" if self.shown else "No row matches." if self.total else "No rows.",
                problem=self.problem,
            )

    # --- what is selected -----------------------------------------------------------

    def select(self, keys: Collection[str]) -> None:
        """Select the rows of *keys* that exist, and no others."""
        with self.lock:
            self._choose(self._rows.having(keys))

    def select_all(self) -> None:
        """Add all shown rows to the selection."""
        with self.lock:
            self._choose(self._chosen | self._mask(self._listed))

    def select_none(self) -> None:
        """Empty the selection, hidden rows included."""
        with self.lock:
            self._choose(np.zeros_like(self._chosen))

    def toggle_all(self) -> None:
        """Select all shown rows, or unselect them if all are selected."""
        with self.lock:
            if self._every() == "true":
                self._choose(self._chosen & ~self._mask(self._listed))
            else:
                self.select_all()

    def toggle(self, key: str) -> None:
        """Select or unselect the row of *key*; a range begins here."""
        with self.lock:
            place = self._rows.place(key)
            if place is not None:
                chosen = self._chosen.copy()
                chosen[place] = not chosen[place]
                self._anchor = key
                self._choose(chosen)

    def toggle_current(self) -> None:
        """Select or unselect the current row, if it is shown."""
        with self.lock:
            if self.current is not None and self._at(self.current) is not None:
                self.toggle(self.current)

    def open(self, key: str) -> None:
        """Make the row of *key* the current one; a range begins here. The selection stays."""
        with self.lock:
            if self._rows.place(key) is not None:
                self._anchor, self._before = key, self._chosen
                self.current = key

    def extend(self, key: str) -> None:
        """Select the shown rows from the beginning of the range to *key*, instead of the range that
        was selected before."""
        with self.lock:
            here = self._at(key)
            if here is None:
                return
            begin = None if self._anchor is None else self._at(self._anchor)
            if begin is None:
                self._anchor, begin = key, here
            first, last = sorted((begin, here))
            between = self._mask(self._listed[first : last + 1])
            self._choose(self._before | between, before=self._before)
            self.current = key

    def move(self, by: int, *, extend: bool = False) -> None:
        """Move the current row down by *by* shown rows; with *extend*, the range too."""
        with self.lock:
            if not self.shown:
                return
            here = None if self.current is None else self._at(self.current)
            there = 0 if here is None else max(0, min(here + by, self.shown - 1))
            key = self._rows.keys[self._listed[there]]
            if extend:
                self.extend(key)
            else:
                self.open(key)

    # --- derived traits ---------------------------------------------------------------

    @traitlets.validate("sort")
    def _known(self, proposal: Any) -> Sort | None:
        sort: Sort | None = proposal["value"]
        if sort is not None and sort.column not in self._rows.columns:
            raise traitlets.TraitError(f"There is no column {sort.column!r} to sort by.")
        return sort

    @traitlets.validate("unseen")
    def _some_are_seen(self, proposal: Any) -> tuple[str, ...]:
        unseen: tuple[str, ...] = proposal["value"]
        names = [column.name for column in self.columns]
        if not set(unseen) < set(names):
            raise traitlets.TraitError(
                f"One of the columns {', '.join(names)} must be seen, and no others can be unseen."
            )
        return unseen

    @traitlets.observe("filter", "sort")
    def _arranged(self, _change: Any) -> None:
        self._arrange()

    @traitlets.observe("current", "problem", "unseen")
    def _revise(self, _change: Any = None) -> None:
        self.revision += 1

    def _arrange(self) -> None:
        """List the shown rows in their order."""
        is_shown = self._rows.matching(self.filter)
        if self._kept is not None:
            is_shown &= self._rows.having(self._kept)
        order = self._rows.order(self.sort)
        self._listed = order[is_shown[order]]
        self.shown = len(self._listed)
        self.generation += 1
        self._choose(self._chosen)

    def _choose(self, chosen: Mask, before: Mask | None = None) -> None:
        """Select *chosen*; *before* is the selection without the range that is being extended."""
        self._chosen, self._before = chosen, chosen if before is None else before
        self.hidden = int(chosen.sum() - chosen[self._listed].sum())
        self.set_trait("selected", tuple(self._rows.keys[chosen]))
        self.words = " · ".join(text for text, _tone in self._counts())
        self._revise()  # last: observers of it find the other traits up to date

    def _counts(self) -> tuple[tuple[str, str], ...]:
        """Return the counts in words, each with its style."""
        of = "" if self.shown == self.total else f"{self.shown:,} shown of "
        counts = [(f"{of}{counted(self.total, 'row')}", "")]
        if self.selected:
            counts.append((f"{len(self.selected):,} selected", "selected"))
        if self.hidden:
            counts.append((f"{self.hidden:,} of them hidden", "hidden"))
        return tuple(counts)

    def _every(self) -> str:
        shown = len(self.selected) - self.hidden
        return "false" if not shown else "true" if shown == self.shown else "mixed"

    def _at(self, key: str) -> int | None:
        """Return the position of *key* in the list of shown rows."""
        place = self._rows.place(key)
        places = () if place is None else np.flatnonzero(self._listed == place).tolist()
        return places[0] if places else None

    def _mask(self, places: Places) -> Mask:
        mask = np.zeros(len(self._rows), dtype=bool)
        mask[places] = True
        return mask

    def _keys_of(self, only: Collection[str] | pd.Series[bool] | Mask) -> frozenset[str]:
        """Return the keys selected by *only*, a mask or keys."""
        values = pd.Series(only if hasattr(only, "dtype") else list(only))
        if not pd.api.types.is_bool_dtype(values):
            return frozenset(values)
        mask = values.fillna(value=False).to_numpy(dtype=bool)
        if len(mask) != len(self._rows):
            raise ValueError(f"The mask is for {len(mask):,} rows; there are {self.total:,}.")
        return frozenset(self._rows.keys[mask])
