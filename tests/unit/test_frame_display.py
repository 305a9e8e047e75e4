"""The display of a frame: what is alarming is in sight, what is strange is text."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from tasktools.core.frames.diagnosis_schemas import FINDINGS, TIMELINE
from tasktools.core.frames.schema import Column, Schema
from tasktools.core.frames.schemas import ACTIVE_TASKS, DEAD_LETTERS, LOCKS, TOPICS, WORKERS
from tasktools.core.redaction import MASKED
from tests.unit.test_frame import AT, frame_of, html_of

ID = "70993322-10aa-4538-a3ee-1d952d1d7e57"


def lines_of(frame: pd.DataFrame, width: int = 80) -> list[str]:
    with pd.option_context("display.width", width):
        return repr(frame).split("\n")


def test_a_caption_says_where_it_comes_from_how_old_it_is_and_what_to_know() -> None:
    sources = {
        "events": {"ok": True, "columns": [], "age": 0.2, "note": None},
        "broker": {"ok": True, "columns": [], "age": 75.0, "note": None},
        "management": {"ok": False, "columns": [], "age": None, "note": "refused"},
    }
    looks = [
        {"queue": "a", "cost": "harmless", "why": "", "refused": False},
        {"queue": "b", "cost": "reorders", "why": "a consumer is active", "refused": False},
    ]
    frame = frame_of(
        *(TOPICS, {"topic": "a"}),
        sources=sources,
        notes=["refused"],
        looks=looks,
        demo="DEMO",
        cluster="<Cluster DEMO, demo://, layout fp>",
    )
    text, html = " ".join(" ".join(lines_of(frame)).split()), html_of(frame)
    facts = ["1 row", "from events, broker (1 min 15 s old), management (no answer)"]
    facts += ["looking at a was harmless", "demo://, layout fp"]
    assert text.startswith(f"DEMO topics: {'; '.join(facts)} ")
    assert f">{' · '.join(facts)}<" in html
    for note in ("note: refused", "note: looking at b reorders: a consumer is active"):
        assert note in text
        assert note in html
    assert '<b title="one row: one topic">topics</b>' in html


def test_times_spans_sizes_and_shares_are_for_people_and_exact_on_hover() -> None:
    row = {"worker_id": "w", "last_seen": AT, "silence": 261.597067, "utilisation": 0.786}
    row |= {"clock_offset": 7200.0, "succeeded": 12345}
    html = html_of(frame_of(WORKERS, row, row))
    assert "<small>2026-03-01</small>last_seen</th>" in html
    assert 'title="2026-03-01 12:30:05.597067 UTC">12:30:05</td>' in html
    assert 'title="261.597 s">4 min 22 s</td>' in html
    assert ">79%</td>" in html
    assert ">+2 h</td>" in html
    assert ">12,345</td>" in html
    size = html_of(frame_of(DEAD_LETTERS, {"key": "k", "size": 12_345}, {"key": "l"})[["size"]])
    assert 'title="12,345 bytes">12.3 kB</td>' in size


def test_times_of_several_days_have_their_date() -> None:
    rows = [{"worker_id": "w", "last_seen": AT - timedelta(days=n)} for n in range(2)]
    text = repr(frame_of(WORKERS, *rows)[["worker_id", "last_seen"]])
    assert "2026-03-01 12:30:05" in text
    assert "2026-02-28 12:30:05" in text


def test_ids_are_as_short_as_they_differ_and_whole_on_hover() -> None:
    other = f"{ID[:8]}-2{ID[10:]}"
    key = "745881b17009b9f36eea"
    rows = [{"key": f"{key}#2", "task_id": ID}, {"key": key[::-1], "task_id": other}]
    html = html_of(frame_of(DEAD_LETTERS, *rows))
    assert f'title="{ID}">70993322-10a…</td>' in html
    assert f'title="{other}">70993322-21a…</td>' not in html
    assert f'title="{other}">70993322-20a…</td>' in html
    assert f'title="{key}#2">745881b1…#2</td>' in html
    names = html_of(frame_of(WORKERS, {"worker_id": "mail-1-11011-f2a74de4"}, {"worker_id": "b"}))
    assert ">mail-1-11011-f2a74de4</td>" in names
    assert ID in repr(frame_of(LOCKS, {"lock": "a", "task_id": ID}))  # of one row all is in sight


def test_what_is_alarming_comes_first_and_is_marked_without_colour() -> None:
    rows: list[dict[str, Any]] = [
        {"topic": "fine", "consumers": 2, "queued": 5, "dead_letter": 0, "exists": True},
        {"topic": "dead", "consumers": 2, "queued": 5, "dead_letter": 3, "exists": True},
        {"topic": "idle", "consumers": 0, "queued": 0, "dead_letter": 0, "exists": True},
        {"topic": "lost", "consumers": 0, "queued": 7, "dead_letter": 0, "exists": True},
        {"topic": "dark"},
    ]
    frame = frame_of(TOPICS, *rows)
    order = [line.split()[:3] for line in lines_of(frame) if re.match(r"\d", line)]
    assert [words[0] for words in order] == ["3!!", "1!", "2!", "0", "4"]
    assert list(frame["topic"]) == ["fine", "dead", "idle", "lost", "dark"]
    head = re.findall(r"<th[^>]*>([^<]*(?:<wbr>[^<]*)*)</th>", html_of(frame))
    names = [name.replace("<wbr>", "") for name in head]
    assert names[:3] == ["", "topic", "queued"]  # there is room: as they are
    narrow = next(line for line in lines_of(frame, 36) if " topic " in line)
    assert narrow.split()[:3] == ["topic", "consumers", "dead_letter"]
    html = html_of(frame)
    assert '<span title="critical">✖</span> 3</th>' in html
    assert '<td class="tt-number tt-critical" align="right"><b>0</b></td>' in html
    assert html.count('tt-critical"') == 1 + 1  # the row and the cell


@pytest.mark.parametrize(
    "changed",
    [
        lambda frame: frame.astype(str),
        lambda frame: frame.astype(object),
        lambda frame: frame.assign(queued="lots", dead_letter="none"),
        lambda frame: frame.isna(),
        lambda frame: frame.apply(lambda row: row, axis=1),
    ],
)
def test_what_is_no_number_any_more_is_no_alarm(changed: Any) -> None:
    frame = changed(frame_of(TOPICS, {"topic": "a", "queued": 0, "dead_letter": 0}))
    assert lines_of(frame[["topic", "queued", "dead_letter"]])[-1].startswith("0 ")
    assert "tt-warning" not in html_of(frame).split("</style>")[1]


def test_means_and_sums_of_alarming_numbers_are_alarming() -> None:
    rows = ({"topic": name, "dead_letter": n, "consumers": 1} for name, n in (("a", 0), ("b", 3)))
    frame = frame_of(TOPICS, *rows)[["topic", "dead_letter"]]
    for made in (frame.groupby("topic").mean(), frame.groupby("topic").sum()):
        assert [line.split()[0] for line in lines_of(made) if "!" in line] == ["b"]


@pytest.mark.parametrize("sort", ["topic", "queued"])
def test_the_order_that_somebody_chose_is_kept(sort: str) -> None:
    rows = [{"topic": n, "queued": q, "consumers": c} for n, q, c in [("b", 1, 1), ("a", 2, 0)]]
    frame = frame_of(TOPICS, *rows).sort_values(sort, ascending=sort == "topic")
    shown = [line.split()[1] for line in lines_of(frame) if re.match(r"\d", line)]
    assert shown == list(frame["topic"])
    chosen = frame[["queued", "topic", "consumers"]]
    heading = next(line for line in lines_of(chosen, 20) if "queued" in line)
    assert heading.split()[:2] == ["queued", "topic"]


def test_rows_in_the_order_of_time_stay_in_it() -> None:
    rows = [{"at": AT, "sentence": "a"}, {"at": AT, "sentence": "b", "severity": "critical"}]
    shown = [
        line.split()[0] for line in lines_of(frame_of(TIMELINE, *rows)) if re.match(r"\d", line)
    ]
    assert shown == ["0", "1!!"]


def test_of_many_rows_all_alarming_ones_are_shown_and_the_others_counted() -> None:
    rows = [{"worker_id": f"w{n}", "state": "gone" if n >= 980 else "alive"} for n in range(1000)]
    text, html = repr(frame_of(WORKERS, *rows)), html_of(frame_of(WORKERS, *rows))
    assert text.count("!!") == 20
    assert "… 980 more rows" in text
    assert html.count("<tr") - 1 == 20 + 0
    many = frame_of(WORKERS, *[{"worker_id": "w", "state": "gone"}] * 1000)
    assert "… 940 more rows, 940 of them alarming" in repr(many)


def test_empty_columns_are_folded_and_named() -> None:
    frame = frame_of(WORKERS, {"worker_id": "a", "state": "alive"}, {"worker_id": "b"})
    assert "empty: role, host, pid" in repr(frame)
    assert "empty: role, host, pid" in html_of(frame)
    assert "<th>host</th>" not in html_of(frame)
    only = frame[["host", "pid"]]
    assert "host" in repr(only)
    assert "empty" not in repr(only)


def test_a_wide_frame_is_folded_and_nothing_of_it_is_lost() -> None:
    row: dict[str, Any] = {"kwargs": {"to": "x" * 50}, "size": 7, "position": 1, "attempts": 0}
    row |= {column.name: "a text " * 9 for column in DEAD_LETTERS.columns if column.kind == "text"}
    frame = frame_of(DEAD_LETTERS, *[row | {"key": f"k{n}"} for n in range(3)])
    head, _, folded = html_of(frame).replace("<wbr>", "").partition("<details>")
    names = re.findall(r"<summary>\d+ more columns: (.*)</summary>", folded)[0].split(", ")
    assert names
    for name in names:
        assert f">{name}</th>" in folded
        assert f">{name}</th>" not in head
    assert "no room for: " in " ".join(lines_of(frame))
    assert max(map(len, lines_of(frame))) <= 80


def test_one_row_is_shown_in_full_one_value_a_line() -> None:
    row = {column.name: "a text " * 9 for column in DEAD_LETTERS.columns if column.kind == "text"}
    frame = frame_of(DEAD_LETTERS, row | {"key": "k", "task_id": ID, "size": 7})
    lines, html = lines_of(frame), html_of(frame)
    assert f"task_id          {ID}" in lines
    assert "size             7 B" in lines
    assert "<details>" not in html
    assert f'<th>task_id</th><td class="tt-long">{ID}</td>' in html


def test_a_call_is_folded_between_its_names_not_within_one() -> None:
    call = "tt.failure_groups(cluster.dead_letters('orders'), by='size')"
    cell = html_of(frame_of(FINDINGS, {"call": call}, {"call": call}))
    folded = "tt.<wbr>failure_groups(<wbr>cluster.<wbr>dead_letters(<wbr>&#x27;orders&#x27;), by="
    assert folded in cell


EVIL = "<script>alert(1)</script>\x1b[2J\u202e\n$x$"


def test_markup_and_invisible_characters_are_text_wherever_they_stand() -> None:
    column = Schema("evil", "x", tuple(Column(k, k, "m", "-") for k in ("name", "text", "id")))
    row = {"name": EVIL, "text": EVIL, "id": EVIL}
    frame = frame_of(column, row, row, notes=[EVIL], summary=EVIL, cluster=EVIL)
    objects = frame_of(ACTIVE_TASKS, *[{"topic": EVIL, "kwargs": {EVIL: [EVIL]}}] * 2)
    labelled = frame.assign(**{EVIL: 1}).set_index("name")
    labelled.index.name = EVIL
    for shown in (frame, objects, frame.head(1), objects.head(1), labelled):
        html, text = html_of(shown), repr(shown)
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        for bad in ("\x1b", "\u202e"):
            assert bad not in html + text
        assert html.startswith('<div class="tasktools-frame tex2jax_ignore mathjax_ignore">')


def test_a_masked_value_stays_masked_and_a_huge_one_is_cut() -> None:
    rows = [{"key": "k", "kwargs": {"password": MASKED, "blob": "x" * 10**6}}] * 2
    frame = frame_of(ACTIVE_TASKS, *rows)[["key", "kwargs"]]
    assert "{&quot;password&quot;: &quot;•••&quot;" in html_of(frame)
    assert "characters]" in html_of(frame)
    assert len(html_of(frame)) < 20_000
    assert '{"password": "•••"' in repr(frame)


def test_without_style_and_scripts_it_can_still_be_read() -> None:
    frame = frame_of(WORKERS, {"worker_id": "w", "state": "gone"}, {"worker_id": "v"}, demo="DEMO")
    html = html_of(frame)
    assert "<script" not in html
    assert " style=" not in html
    bare = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    assert "<b" in bare.split("DEMO")[0]
    assert "✖" in bare
    assert "<b>gone</b>" in bare
