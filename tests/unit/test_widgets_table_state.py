"""The state of a table, shown rows and selection, without a widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import traitlets

from tasktools.widgets.table import Column, Sort, TableState

COLUMNS = (Column("task", "Task"), Column("error", "Error"), Column("deaths", "Deaths", "count"))
ROWS = (
    ("a", "send_email", "Timeout: smtp", 3),
    ("b", "send_sms", "KeyError: 'to'", 1),
    ("c", "Send_Email", "timeout", None),
    ("d", "resize", None, 1),
    ("e", "send_email", "ValueError", 2),
)


def frame(rows: Any = ROWS) -> pd.DataFrame:
    made = pd.DataFrame(list(rows), columns=["key", "task", "error", "deaths"])
    return made.astype({"task": "string", "error": "string", "deaths": "Int64"})


def showing(rows: Any = ROWS) -> TableState:
    state = TableState(COLUMNS)
    state.show(frame(rows))
    return state


def shown(state: TableState) -> str:
    return "".join(row.key for row in state.page(0, 100).rows)


def selected(state: TableState) -> str:
    return "".join(state.selected)


# --- which rows ----------------------------------------------------------------------


def test_at_first_there_are_no_rows_and_it_says_so() -> None:
    page = TableState(COLUMNS).page(0, 10)
    assert (page.rows, page.total, page.nothing) == ([], 0, "No rows.")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("", "abcde"),
        ("TIMEOUT", "ac"),
        ("timeout email", "ac"),
        ("email timeout", "ac"),
        ("  smtp\t", "a"),
        ("'to'", "b"),
        ("sms timeout", ""),
        ("send_email ValueError", "e"),
        ("emailTimeout", ""),
        ("3", ""),
    ],
)
def test_a_filter_finds_rows_that_have_all_words_in_any_case_in_their_text(
    words: str, keys: str
) -> None:
    state = showing()
    state.filter = words
    assert shown(state) == keys


def test_a_filter_that_nothing_matches_says_so() -> None:
    state = showing()
    state.filter = "nowhere"
    assert state.page(0, 10).nothing == "No row matches."
    assert state.words == "0 shown of 5 rows"


def test_a_column_sorts_upwards_then_downwards_then_not_at_all() -> None:
    state = showing()
    orders = []
    for _ in range(4):
        state.sort_by("deaths")
        orders.append(shown(state))
    # Equals stay as they were, and what has no value is last, both ways.
    assert orders == ["bdeac", "aebdc", "abcde", "bdeac"]


def test_text_sorts_without_regard_to_case() -> None:
    state = showing()
    state.sort = Sort("task")
    assert shown(state) == "daceb"


def test_another_column_sorts_upwards_at_first() -> None:
    state = showing()
    state.sort_by("deaths")
    state.sort_by("error")
    assert state.sort == Sort("error")


def test_a_column_that_does_not_exist_sorts_nothing() -> None:
    state = showing()
    with pytest.raises(traitlets.TraitError, match="There is no column 'nope' to sort by"):
        state.sort_by("nope")
    state.filter = "send"
    assert (state.sort, shown(state)) == (None, "abce")


@pytest.mark.parametrize(
    "only",
    [
        ["e", "b", "unknown"],
        frozenset("be"),
        pd.Series(["b", "e"], dtype="string"),
        [False, True, False, False, True],
        np.array([False, True, False, False, True]),
        pd.Series([None, True, False, False, True], dtype="boolean"),
    ],
)
def test_only_some_rows_are_kept_by_key_or_by_a_mask(only: Any) -> None:
    state = showing()
    state.keep(only)
    assert shown(state) == "be"
    state.filter = "sms"
    assert shown(state) == "b"
    state.filter = ""
    state.keep(None)
    assert shown(state) == "abcde"


def test_none_at_all_may_be_kept() -> None:
    state = showing()
    state.keep([])
    assert shown(state) == ""


def test_a_mask_of_another_frame_is_refused() -> None:
    state = showing()
    with pytest.raises(ValueError, match="The mask is for 2 rows; there are 5"):
        state.keep(np.array([True, False]))
    assert shown(state) == "abcde"


def test_a_page_is_the_rows_between_two_places() -> None:
    state = showing()
    state.sort = Sort("deaths", descending=True)
    page = state.page(1, 3)
    assert (page.first, [row.key for row in page.rows]) == (1, ["e", "b"])
    assert [cell.text for cell in page.rows[0].cells] == ["send_email", "ValueError", "2"]


@pytest.mark.parametrize(
    ("first", "last", "keys"),
    [
        (4, 6, "de"),
        (10**9, 10**9 + 3, "cde"),
        (-2, 0, "ab"),
        (0, 9, "abcde"),
        (3, 3, ""),
        (3, 1, ""),
    ],
)
def test_a_page_past_an_end_is_the_rows_at_that_end(first: int, last: int, keys: str) -> None:
    page = showing().page(first, last)
    assert "".join(row.key for row in page.rows) == keys
    assert page.rows == showing().page(page.first, page.first + len(keys)).rows


def test_a_page_is_never_all_of_a_large_frame() -> None:
    many = showing((str(n), "send", "Timeout", 1) for n in range(5000))
    assert len(many.page(0, 10**9).rows) == 400


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (frame().drop(columns="error"), "The frame has no column error"),
        (frame().drop(columns="key"), "The frame has no column key"),
        (frame([*ROWS, ROWS[1]]), "'b' is there twice"),
        (frame().assign(key=range(5)), "must be a string"),
        (frame([*ROWS, (None, "resize", None, 1)]), "must be a string"),
    ],
)
def test_a_frame_without_a_key_for_each_row_is_refused_and_what_was_shown_stays(
    bad: pd.DataFrame, why: str
) -> None:
    state = showing()
    state.toggle("b")
    with pytest.raises(ValueError, match=why):
        state.show(bad)
    assert (shown(state), selected(state)) == ("abcde", "b")


def test_what_becomes_of_the_frame_afterwards_changes_nothing() -> None:
    state, mine = TableState(COLUMNS), frame()
    state.show(mine)
    mine.loc[0, "task"] = "other"
    del mine["error"]
    assert shown(state) == "abcde"
    assert state.page(0, 1).rows[0].cells[0].text == "send_email"


def test_any_index_of_the_frame_will_do() -> None:
    state = TableState(COLUMNS)
    state.show(frame().set_index(pd.Index([7, 7, 1, 0, 3])))
    state.sort_by("deaths")
    assert shown(state) == "bdeac"


# --- what is selected ----------------------------------------------------------------


def test_selected_keys_are_in_the_frames_order_however_they_are_sorted() -> None:
    state = showing()
    state.sort = Sort("deaths")
    for key in "ecb":
        state.toggle(key)
    assert selected(state) == "bce"
    state.toggle("c")
    assert selected(state) == "be"


def test_selected_rows_that_a_filter_hides_stay_selected_and_are_told_of() -> None:
    state = showing()
    state.select("abd")
    state.filter = "timeout"
    assert (selected(state), state.hidden) == ("abd", 2)
    assert state.words == "2 shown of 5 rows · 3 selected · 2 of them hidden"
    state.filter = ""
    assert state.words == "5 rows · 3 selected"


def test_all_means_the_rows_that_are_shown_and_none_means_hidden_ones_too() -> None:
    state = showing()
    state.toggle("d")
    state.filter = "timeout"
    state.select_all()
    assert selected(state) == "acd"
    state.select_none()
    assert selected(state) == ""


def test_the_box_in_the_heading_selects_the_shown_rows_and_lets_go_of_just_these() -> None:
    state = showing()
    state.toggle("d")
    state.filter = "send"
    assert state.page(0, 1).every == "false"
    state.toggle("a")
    assert state.page(0, 1).every == "mixed"
    state.toggle_all()
    assert (selected(state), state.page(0, 1).every) == ("abcde", "true")
    state.toggle_all()
    assert (selected(state), state.page(0, 1).every) == ("d", "false")


def test_a_range_is_what_lies_between_on_screen_not_in_the_frame() -> None:
    state = showing()
    state.sort = Sort("deaths")  # bdeac
    state.toggle("d")
    state.extend("a")
    assert selected(state) == "ade"
    state.extend("b")  # the other way: in place of the range before
    assert selected(state) == "bd"
    assert state.current == "b"


def test_a_range_takes_nothing_from_what_was_selected_before_it() -> None:
    state = showing()
    state.select("ae")
    state.open("b")
    state.extend("e")
    state.extend("c")
    assert selected(state) == "abce"


def test_a_range_ends_where_rows_are_arranged_anew() -> None:
    state = showing()
    state.open("a")
    state.extend("c")
    state.sort = Sort("deaths", descending=True)  # aebdc
    state.extend("e")
    assert selected(state) == "abce"


def test_a_range_whose_beginning_is_hidden_begins_anew() -> None:
    state = showing()
    state.open("d")
    state.filter = "send"
    state.extend("c")
    assert selected(state) == "c"
    state.extend("e")
    assert selected(state) == "ce"


def test_rows_that_are_not_there_are_neither_selected_nor_opened() -> None:
    state = showing()
    state.toggle("z")
    state.open("z")
    state.extend("z")
    state.select(["z"])
    assert (state.selected, state.current) == ((), None)


def test_a_new_frame_keeps_the_selection_of_what_is_still_there() -> None:
    state = showing()
    state.select("bce")
    state.open("b")
    state.show(frame([("n", "new", None, 1), *reversed(ROWS[2:])]))
    assert (shown(state), selected(state)) == ("nedc", "ec")
    assert state.current is None
    state.show(frame())
    assert selected(state) == "ce"  # what had gone was no longer selected


def test_the_selection_cannot_be_written_past_the_rules() -> None:
    with pytest.raises(traitlets.TraitError):
        showing().selected = ("z",)


# --- looking at one row, with the keys -----------------------------------------------


def test_opening_a_row_selects_nothing() -> None:
    state = showing()
    state.select("ae")
    state.open("c")
    assert (state.current, selected(state), state.page(0, 1).at) == ("c", "ae", 2)


def test_the_current_row_moves_through_what_is_shown_and_stops_at_its_ends() -> None:
    state = showing()
    state.sort = Sort("deaths")  # bdeac
    moved = []
    for by in (1, 1, -5, 2, 10**9, -1):
        state.move(by)
        moved.append(state.current)
    assert moved == ["b", "d", "b", "e", "c", "a"]
    state.filter = "sms"
    state.move(-1)
    assert state.current == "b"
    state.filter = "nowhere"
    state.move(1)
    assert state.current == "b"


def test_moving_may_draw_a_range_and_take_it_back() -> None:
    state = showing()
    state.open("b")
    state.move(2, extend=True)
    assert selected(state) == "bcd"
    state.move(-1, extend=True)
    assert (selected(state), state.current) == ("bc", "c")


def test_a_current_row_that_is_hidden_is_still_looked_at_but_not_selected_by_its_key() -> None:
    state = showing()
    state.open("d")
    state.toggle_current()
    assert selected(state) == "d"
    state.filter = "send"
    state.toggle_current()
    assert (state.current, selected(state), state.page(0, 1).at) == ("d", "d", None)


# --- what follows --------------------------------------------------------------------


def test_lists_of_rows_are_numbered_and_so_is_everything_seen() -> None:
    state = showing()
    seen = [(state.generation, state.revision)]
    changes: tuple[Callable[[], object], ...] = (
        lambda: state.toggle("a"),
        lambda: state.open("b"),
        lambda: setattr(state, "problem", "It failed."),
        lambda: setattr(state, "filter", "send"),
        lambda: state.sort_by("deaths"),
        lambda: state.keep("ab"),
        lambda: state.show(frame()),
    )
    for change in changes:
        change()
        seen.append((state.generation, state.revision))
    generations = [generation - seen[0][0] for generation, _ in seen]
    revisions = [revision for _, revision in seen]
    assert generations == [0, 0, 0, 0, 1, 2, 3, 4]
    assert revisions == sorted(set(revisions))


def test_who_sees_a_revision_finds_everything_in_step_with_it() -> None:
    state = showing()
    state.select("ab")
    seen = []
    state.observe(lambda _change: seen.append((state.shown, state.hidden, state.words)), "revision")
    state.filter = "sms"
    assert seen == [(1, 1, "1 shown of 5 rows · 2 selected · 1 of them hidden")]
