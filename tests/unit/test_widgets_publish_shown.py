"""Tasks as the publish widget shows them: the table, the words and the bar."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_from
from tasktools.widgets import html
from tasktools.widgets.publish.html import bar_html, tasks_html
from tasktools.widgets.publish.statuses import COLOURS, FATES, counted, fates, in_words

SCRIPT = "<script>window.pwned = 1</script>"


def published(**values: Any) -> pd.DataFrame:
    row = {"task_id": "t", "message_id": "m", "topic": "emails", "task_name": "send"}
    cells = row | {"outcome": "confirmed"} | values
    return frame_from(schemas.PUBLISHED, [[cells.get(name) for name in schemas.PUBLISHED.names]])


def followed(**values: Any) -> pd.DataFrame:
    cells = {"task_id": "t", "state": "failed"} | values
    return frame_from(schemas.FOLLOWED, [[cells.get(name) for name in schemas.FOLLOWED.names]])


@pytest.mark.parametrize(
    "where", ["topic", "task_name", "task_id", "worker_id", "error", "error_type"]
)
def test_markup_is_shown_as_text_wherever_it_comes_from(where: str) -> None:
    values = {where: SCRIPT}
    of_outcome = {k: v for k, v in values.items() if k in schemas.PUBLISHED.names}
    of_state = {k: v for k, v in values.items() if k in schemas.FOLLOWED.names}
    table = tasks_html(fates(published(**of_outcome), followed(**of_state)))
    assert "&lt;script&gt;window.pwned" in table
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td|span)\b)", table)


def test_markup_is_text_in_every_other_part_as_well() -> None:
    for made in (
        html.heading(SCRIPT, SCRIPT, demo=False).partition("</style>")[2],
        html.title(SCRIPT),
        html.table([SCRIPT], [[html.cell(SCRIPT, tooltip=SCRIPT)]]),
        html.quiet(SCRIPT),
        html.status(SCRIPT),
        html.reasons([SCRIPT]),
        html.alert(SCRIPT),
    ):
        assert "&lt;script&gt;" in made
        assert "<script" not in made


def test_passwords_in_errors_are_masked() -> None:
    error = "amqp://u:geheim@host failed"
    assert "geheim" not in tasks_html(fates(published(), followed(error=error)))
    assert "geheim" not in html.alert(error)


def test_of_many_tasks_those_that_need_attention_are_shown() -> None:
    outcome = pd.concat([published(task_id=str(n)) for n in range(40)], ignore_index=True)
    states = pd.concat(
        [followed(task_id=str(n), state="failed" if n == 39 else "succeeded") for n in range(40)]
    )
    table = tasks_html(fates(outcome, states))
    assert table.count("<tr>") == 13
    assert table.index("failed") < table.index("succeeded")
    assert "28 more" in table


def test_a_fate_is_the_outcome_where_nothing_arrived_and_else_how_far_it_got() -> None:
    assert fates(published(outcome="refused"), followed())["fate"].tolist() == ["refused"]
    assert fates(published(outcome="in doubt"), followed())["fate"].tolist() == ["failed"]
    assert fates(published(), frame_from(schemas.FOLLOWED, []))["fate"].tolist() == ["unknown"]
    assert fates(frame_from(schemas.PUBLISHED, []), frame_from(schemas.FOLLOWED, [])).empty


def test_the_summary_says_what_was_sent_and_how_far_it_is() -> None:
    outcome = pd.concat([published(), published(task_id="u", outcome="refused")])
    joined = fates(outcome, followed(state="running"))
    assert in_words(outcome, counted(joined)) == "2 tasks: 1 confirmed, 1 refused · 1 running"


# --- the bar -------------------------------------------------------------------------


def test_the_bar_has_a_part_for_each_fate_as_wide_as_it_is_frequent() -> None:
    made = bar_html({"succeeded": 1_200, "failed": 1})
    assert re.findall(r'style="flex: (\d+); background: (#\w+)"', made) == [
        ("1200", COLOURS["succeeded"]),
        ("1", COLOURS["failed"]),
    ]
    assert re.findall(r">([^<]+)<", made) == ["1,200 succeeded", "1 failed"]


@pytest.mark.parametrize("counts", [{}, {"queued": 1}])
def test_a_single_task_has_no_bar(counts: dict[str, int]) -> None:
    assert bar_html(counts) == ""


def test_every_fate_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(FATES)
    assert len(set(COLOURS.values())) == len(FATES)
