"""The values that failed tasks have in common: what is found, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import tasktools as tt
from benchmarks import explain as checks
from benchmarks import explain_cases as cases
from benchmarks.explain_cases import CAUSES, FEW_ROWS, INTERACTIONS, Case
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import EXPLANATIONS

HOSTS = ["a", "b", "c", "d"]


def tasks(count: int = 400, **columns: Any) -> pd.DataFrame:
    """Return tasks on four hosts in turn; of host b two of three fail."""
    frame = pd.DataFrame({"task_id": [f"t{n}" for n in range(count)]})
    frame["host"] = pd.Series([HOSTS[n % 4] for n in range(count)], dtype="string")
    return frame.assign(**columns)


def explained(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    is_failed = (frame["host"] == "b").to_numpy(bool) & (frame.index % 3 > 0)
    return tt.explain(frame[is_failed], frame[~is_failed], **options)


# --- the checks, a few seeds of each; all of them by `python -m benchmarks.explain` --------


@pytest.mark.parametrize("case", [*CAUSES, FEW_ROWS, *INTERACTIONS], ids=lambda case: case.name)
def test_the_cause_comes_first_and_is_all_that_is_left(case: Case) -> None:
    rng = np.random.default_rng([21, len(case.name)])
    frame = cases.tasks(rng, 8_000)
    is_failed = cases.fails(rng, case.cause(frame))
    rows = tt.explain(frame[is_failed], frame[~is_failed])
    assert checks.is_first(rows, case), checks.names(rows)
    assert checks.left(rows) == checks.names(rows)[:1]


def test_copies_and_what_mostly_agrees_are_told_apart_from_causes() -> None:
    for check in checks.copies(4_000, 2):
        assert check.met, check.line()


def test_a_task_that_is_tried_three_times_counts_once() -> None:
    same, naive = checks.tries(2_000, 3)
    assert same.met
    assert not all(naive.right)  # three rows a failure show what is not there


@pytest.mark.parametrize("shape", checks._SHAPES)
def test_chance_alone_shows_nothing(shape: str) -> None:
    assert checks.shuffled(shape, 6).right.count(False) <= 1


def test_all_of_a_cause_may_fail_and_no_other() -> None:
    assert checks.certain(600, 1).met


# --- the frame ---------------------------------------------------------------------------


def test_a_row_has_the_counts_and_the_effect() -> None:
    rows = explained(tasks())
    assert dict(rows.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in EXPLANATIONS.columns}
    (row,) = rows.to_dict("records")
    assert (row["field"], row["value"], row["failed"], row["rows"]) == ("host", "b", 67, 100)
    assert row["share_failed"] == 1
    assert row["share_succeeded"] == pytest.approx(33 / 333)
    assert row["risk_difference"] == pytest.approx(0.67)
    assert row["difference_low"] < 0.67 < row["difference_high"] <= 1
    assert row["low"] < row["risk_ratio"] < row["high"]
    assert row["odds_ratio"] == pytest.approx(67.5 * 300.5 / (33.5 * 0.5))
    assert 0 < row["p"] < 1e-30
    assert rows.attrs["tests"] == {"values": 4, "factor": 4, "pairs": 6}
    assert "task_id" in rows.attrs["skipped"]


def test_without_failures_or_others_nothing_is_claimed() -> None:
    frame = tasks()
    for failed, succeeded in (
        (frame.head(0), frame),
        (frame, frame.head(0)),
        (frame.head(0), frame.head(0)),
        (frame.head(3), frame.tail(100)),
    ):
        rows = tt.explain(failed, succeeded)
        assert rows.empty
        assert list(rows.columns) == list(EXPLANATIONS.names)
        assert "are too few" in rows.attrs["notes"][-1]


def test_where_nothing_passes_a_note_says_what_was_tried() -> None:
    frame = tasks()
    rows = tt.explain(frame[::5], frame.drop(frame.index[::5]))
    assert rows.empty
    assert rows.attrs["notes"] == [
        "of 4 values none is more frequent among 80 failed tasks than chance allows (level 0.01)"
    ]


def test_what_follows_from_failing_explains_nothing() -> None:
    frame = tasks()
    is_failed = (frame["host"] == "b").to_numpy(bool)
    frame["error_type"] = pd.Series(["Timeout" if f else None for f in is_failed], dtype="string")
    frame["duration"] = pd.Series(np.where(is_failed, 9, 1), dtype="timedelta64[us]")
    frame["tries"] = pd.Series(np.where(is_failed, 3, 1), dtype="Int64")
    rows = tt.explain(frame[is_failed], frame[~is_failed])
    assert rows["field"].tolist() == ["host"]
    assert rows.attrs["skipped"].keys() == {"task_id", "error_type", "duration", "tries"}
    assert tt.explain(frame[is_failed], frame[~is_failed], ["tries"])["value"].tolist() == ["3"]


def test_attempts_count_where_not_all_failed_tasks_used_them_up() -> None:
    frame = tasks(attempts=pd.Series([n % 3 for n in range(400)], dtype="Int64"))
    is_failed = (frame["attempts"] == 1).to_numpy(bool)
    rows = tt.explain(frame[is_failed], frame[~is_failed])
    assert rows[["field", "value"]].to_numpy().tolist() == [["attempts", "1"]]


def test_what_only_one_frame_knows_is_not_compared() -> None:
    frame = tasks(kwargs=[{"to": "x"}] * 400)
    is_failed = (frame["host"] == "b").to_numpy(bool)
    dead = frame[is_failed].assign(position=1)
    succeeded = frame[~is_failed].assign(kwargs=None)
    dead["version"] = succeeded["version"] = pd.Series(dtype="string")
    rows = tt.explain(dead, succeeded)
    assert rows["field"].tolist() == ["host"]
    assert rows.attrs["skipped"]["position"] == "only the failed tasks have this column"
    assert rows.attrs["skipped"]["kwargs"] == "it is not known of any of the succeeded tasks"
    assert rows.attrs["skipped"]["version"] == "it is not known of any of the tasks"


def test_what_nobody_told_of_some_tasks_is_no_answer() -> None:
    """`task_name = (missing)` came first: the events of the others name their tasks."""
    frame = tasks(task_name=pd.Series(["send"] * 400, dtype="string"), kwargs=[{"to": "x"}] * 400)
    is_failed = (frame["host"] == "b").to_numpy(bool) & (frame.index % 3 > 0)
    failed, succeeded = frame[is_failed], frame[~is_failed]
    names: Any = [None] * 60 + ["send"] * (len(failed) - 60)
    arguments: Any = [None] * 60 + [{"to": "x"}] * (len(failed) - 60)
    failed = failed.assign(task_name=pd.array(names, dtype="string"), kwargs=arguments)
    rows = tt.explain(failed, succeeded)
    assert rows[["field", "value"]].to_numpy().tolist() == [["host", "b"]]
    assert rows.attrs["notes"] == [
        "not known, and so not compared: task_name of 60 failed and 0 others, "
        "kwargs of 60 failed and 0 others"
    ]
    without: Any = [{"cc": "y"}] * len(failed)  # known, and without it
    rows = tt.explain(failed.assign(kwargs=without), succeeded)
    assert ["kwargs.to", "(missing)"] in rows[["field", "value"]].to_numpy().tolist()


def test_a_task_in_both_frames_failed() -> None:
    frame = tasks()
    is_failed = (frame["host"] == "b").to_numpy(bool)
    rows = tt.explain(frame[is_failed], frame)
    assert rows["rows"].tolist() == [100]
    assert rows.attrs["notes"] == [
        "100 tasks of both frames: counted as failed, by the try that failed"
    ]


def test_the_last_try_of_a_task_counts() -> None:
    frame = tasks(failed_at=pd.Timestamp("2026-11-24T12:00Z"))
    failed = frame[(frame["host"] == "b").to_numpy(bool)]
    earlier = failed.assign(host="c", failed_at=pd.Timestamp("2026-11-24T11:00Z"))
    succeeded = frame[(frame["host"] != "b").to_numpy(bool)]
    for tries in ([earlier, failed], [failed, earlier]):
        rows = tt.explain(pd.concat(tries), succeeded)
        assert rows[["value", "failed"]].to_numpy().tolist() == [["b", 100]]
        assert "100 count" in rows.attrs["notes"][0]


def test_rows_without_a_task_id_all_count() -> None:
    frame = tasks(task_id=pd.Series([None] * 400, dtype="string"))
    assert explained(frame)["failed"].tolist() == [67]
    rows = explained(frame.drop(columns="task_id"))
    assert rows["failed"].tolist() == [67]
    assert "each row counts as a task" in rows.attrs["notes"][0]


# --- what is asked for ---------------------------------------------------------------------


def test_fields_are_columns_or_paths_in_them() -> None:
    frame = tasks(kwargs=[{"to": HOSTS[n % 4], "n": n % 2} for n in range(400)])
    assert explained(frame, fields="kwargs.to")["field"].tolist() == ["kwargs.to"]
    assert explained(frame, fields=["kwargs"])["field"].tolist() == ["kwargs.to", "kwargs.n"]
    rows = explained(frame, fields=["host", "kwargs.to"])
    assert rows["same_as"].fillna("").tolist() == ["", "host=b"]


def test_a_name_with_a_dot_may_be_a_column() -> None:
    frame = tasks().rename(columns={"host": "worker.host"}).assign(host=tasks()["host"])
    assert explained(frame, fields=["worker.host"])["field"].tolist() == ["worker.host"]


@pytest.mark.parametrize("fields", [["hots"], ["host", "kwargs.to"]])
def test_a_field_that_is_nowhere_is_refused(fields: list[str]) -> None:
    with pytest.raises(ValueError, match=r"nothing was compared\. Known are .*host"):
        explained(tasks(), fields=fields)


@pytest.mark.parametrize("wrong", [None, "emails", [{"task_id": "t1"}], pd.Series(["t1"])])
def test_what_is_no_frame_is_refused(wrong: Any) -> None:
    """It was an `AttributeError` of pandas."""
    for pair in ((wrong, tasks()), (tasks(), wrong)):
        with pytest.raises(ValueError, match=r"not a frame of tasks .* nothing was compared"):
            tt.explain(*pair)


def test_two_columns_of_one_name_are_refused() -> None:
    frame = tasks()
    twice = pd.concat([frame, frame[["host"]]], axis=1)
    for pair in ((twice, frame), (frame, twice)):
        with pytest.raises(ValueError, match=r"two columns 'host'.* nothing was compared"):
            tt.explain(*pair)


def test_a_field_may_have_a_name_that_is_no_text() -> None:
    frame = tasks().assign(host_too=tasks()["host"]).rename(columns={"host_too": 7})
    fields: Any = [7]
    assert explained(frame, fields=fields)["field"].tolist() == ["7"]


@pytest.mark.parametrize("level", [0, 1, -1, 2])
def test_a_level_is_a_chance(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        explained(tasks(), level=level)


def test_the_demo_says_that_it_is_one() -> None:
    frame = tasks()
    frame.attrs = {"demo": "DEMO", "cluster": "<demo>", "notes": ["a note"]}
    attrs = explained(frame).attrs
    assert (attrs["demo"], attrs["cluster"]) == ("DEMO", "<demo>")


def test_what_strangers_write_is_shown_harmless() -> None:
    frame = tasks(kwargs=[{"to\u202e": f"x\u202e{HOSTS[n % 4]}"} for n in range(400)])
    rows = explained(frame, fields=["kwargs"])
    assert "\u202e" not in rows.to_string()
    assert rows["value"].tolist() == ["x\u202eb"]


def test_a_column_that_is_empty_everywhere_may_be_asked_for() -> None:
    """Celery tells of most tasks that they have no keyword arguments."""
    frame = pd.DataFrame({"task_id": [f"t{n}" for n in range(20)], "kwargs": ["{}"] * 20})
    assert len(tt.explain(frame.head(10), frame.tail(10), fields=["kwargs"])) == 0
