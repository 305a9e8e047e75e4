"""A table against a model of it in plain Python, through any sequence of what can be done."""

from __future__ import annotations

from typing import Any

import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tasktools.widgets.table import Column, Sort, TableState

COLUMNS = (Column("name", "Name"), Column("note", "Note"), Column("number", "Number", "count"))

Row = tuple[str, str, str | None, int | None]

KEYS = st.sampled_from([f"k{n}" for n in range(12)])
ROW = st.tuples(
    KEYS,
    st.sampled_from(["Mail", "mail", "sms"]),
    st.sampled_from(["timeout", "Refused", None]),
    st.integers(0, 3) | st.none(),
)
ROWS = st.lists(ROW, max_size=12, unique_by=lambda row: row[0])


class Story(RuleBasedStateMachine):
    """The model keeps sets and lists of keys, and works everything out anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.state = TableState(COLUMNS)
        self.rows: list[Row] = []
        self.words: list[str] = []
        self.sort: Sort | None = None
        self.kept: set[str] | None = None
        self.selected: set[str] = set()
        self.before: set[str] = set()
        self.anchor: str | None = None
        self.current: str | None = None

    # --- the model ------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        return [row[0] for row in self.rows]

    @property
    def shown(self) -> list[str]:
        return [
            row[0]
            for row in self.in_order()
            if (self.kept is None or row[0] in self.kept)
            and all(self.has(row, word) for word in self.words)
        ]

    def in_order(self) -> list[Row]:
        if self.sort is None:
            return self.rows
        at = {"name": 1, "note": 2, "number": 3}[self.sort.column]

        def value(row: Row) -> Any:
            cell = row[at]
            return cell.lower() if isinstance(cell, str) else cell

        there = [row for row in self.rows if row[at] is not None]
        missing = [row for row in self.rows if row[at] is None]
        return sorted(there, key=value, reverse=self.sort.descending) + missing

    @staticmethod
    def has(row: Row, word: str) -> bool:
        return word in row[1].lower() or word in (row[2] or "").lower()

    def choose(self, keys: set[str]) -> None:
        self.selected = self.before = keys

    # --- what can be done -----------------------------------------------------------

    @initialize(rows=ROWS)
    def begin(self, rows: list[Row]) -> None:
        self.show(rows)

    @rule(rows=ROWS)
    def show(self, rows: list[Row]) -> None:
        frame = pd.DataFrame(rows, columns=["key", "name", "note", "number"])
        kinds = {"key": "string", "name": "string", "note": "string", "number": "Int64"}
        self.state.show(frame.astype(kinds))
        self.rows = rows
        self.choose(self.selected & set(self.keys))
        if self.current not in self.keys:
            self.current = None

    @rule(words=st.lists(st.sampled_from(["mail", "sms", "TIME", "refused"]), max_size=2))
    def filter(self, words: list[str]) -> None:
        self.state.filter = " ".join(words)
        if [word.lower() for word in words] != self.words:
            self.words = [word.lower() for word in words]
            self.choose(self.selected)

    @rule(column=st.sampled_from(["name", "note", "number"]))
    def sort_by(self, column: str) -> None:
        self.state.sort_by(column)
        if self.sort is None or self.sort.column != column:
            self.sort = Sort(column)
        else:
            self.sort = None if self.sort.descending else Sort(column, descending=True)
        self.choose(self.selected)

    @rule(only=st.none() | st.sets(KEYS))
    def keep(self, only: set[str] | None) -> None:
        self.state.keep(only)
        self.kept = only
        self.choose(self.selected)

    @rule(numbers=st.sets(st.integers(0, 3)))
    def keep_by_mask(self, numbers: set[int]) -> None:
        mask = [row[3] in numbers for row in self.rows]
        self.state.keep(pd.Series(mask, dtype="boolean"))
        self.kept = {key for key, is_kept in zip(self.keys, mask, strict=True) if is_kept}
        self.choose(self.selected)

    @rule(key=KEYS)
    def toggle(self, key: str) -> None:
        self.state.toggle(key)
        if key in self.keys:
            self.anchor = key
            self.choose(self.selected ^ {key})

    @rule()
    def toggle_current(self) -> None:
        self.state.toggle_current()
        if self.current in self.shown:
            self.anchor = self.current
            self.choose(self.selected ^ {self.current})

    @rule(key=KEYS)
    def open(self, key: str) -> None:
        self.state.open(key)
        self._open(key)

    @rule(key=KEYS)
    def extend(self, key: str) -> None:
        self.state.extend(key)
        self._extend(key)

    @rule(by=st.integers(-4, 4), extend=st.booleans())
    def move(self, by: int, *, extend: bool) -> None:
        self.state.move(by, extend=extend)
        if not (shown := self.shown):
            return
        there = 0
        if self.current in shown:
            there = min(max(shown.index(self.current) + by, 0), len(shown) - 1)
        (self._extend if extend else self._open)(shown[there])

    @rule(keys=st.sets(KEYS))
    def select(self, keys: set[str]) -> None:
        self.state.select(keys)
        self.choose(keys & set(self.keys))

    @rule()
    def select_all(self) -> None:
        self.state.select_all()
        self.choose(self.selected | set(self.shown))

    @rule()
    def select_none(self) -> None:
        self.state.select_none()
        self.choose(set())

    @rule()
    def toggle_all(self) -> None:
        self.state.toggle_all()
        shown = set(self.shown)
        self.choose(self.selected - shown if shown <= self.selected else self.selected | shown)

    def _open(self, key: str) -> None:
        if key in self.keys:
            self.current = self.anchor = key
            self.before = self.selected

    def _extend(self, key: str) -> None:
        shown = self.shown
        if key not in shown:
            return
        if self.anchor not in shown:
            self.anchor = key
        first, last = sorted((shown.index(self.anchor), shown.index(key)))
        self.selected = self.before | set(shown[first : last + 1])
        self.current = key

    # --- what is then so ------------------------------------------------------------

    @invariant()
    def the_selected_keys_are_those_of_the_model_in_the_frames_order(self) -> None:
        assert list(self.state.selected) == [key for key in self.keys if key in self.selected]
        assert self.state.hidden == len(self.selected - set(self.shown))

    @invariant()
    def the_rows_on_screen_are_those_of_the_model_and_tell_what_is_selected(self) -> None:
        shown, page = self.shown, self.state.page(0, 100)
        assert [(row.key, row.selected) for row in page.rows] == [
            (key, key in self.selected) for key in shown
        ]
        assert (page.shown, page.total) == (len(shown), len(self.rows))
        assert page.current == self.current
        assert page.at == (shown.index(self.current) if self.current in shown else None)

    @invariant()
    def any_window_is_a_piece_of_it(self) -> None:
        whole = self.state.page(0, 100).rows
        page = self.state.page(2, 5)
        assert page.rows == whole[page.first : page.first + 3]
        assert len(page.rows) == min(3, len(whole))


TestStory = Story.TestCase
TestStory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
