"""Plans are values: frozen, hashed, kept in files, and read by people."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

import tasktools as tt
from tasktools.core.frames.schema import DTYPES
from tasktools.core.frames.schemas import PLANNED
from tasktools.core.plans import Change, Plan, Planned
from tasktools.testing import eventually

AT = datetime(2026, 11, 24, 2, 49, 3, tzinfo=UTC)


def planned(n: int = 0, **fields: Any) -> Planned:
    usual: dict[str, Any] = {
        "key": f"k{n}",
        "task_id": f"t{n}",
        "task_name": "send",
        "to": "emails",
        "size": 100,
    }
    return Planned(**(usual | fields))


def plan(*messages: Planned, **fields: Any) -> Plan:
    usual: dict[str, Any] = {
        "verb": "replay",
        "cluster": "memory://",
        "source": "emails.dead",
        "made_at": AT,
    }
    return Plan.make(messages=messages or (planned(),), **usual | fields)


EDITED = planned(1, edits={"set": {"kwargs.to": "b"}}, changes=(Change("kwargs.to", "'a'", "'b'"),))
SKIPPED = planned(2, skipped="it is no task")

# --- a value -------------------------------------------------------------------------


def test_a_plan_is_frozen_and_so_are_its_messages() -> None:
    made = plan(EDITED)
    with pytest.raises(AttributeError):
        made.rate = 5.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        made.messages[0].to = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (planned(to="elsewhere"),)},
        {"messages": (planned(), planned(1))},
        {"messages": (planned(edits={"set": {"kwargs.to": "b"}}),)},
        {"source": "other.dead"},
        {"cluster": "amqp://elsewhere/"},
        {"rate": 5.0},
        {"verb": "discard"},
        {"archive": "kept"},
        {"made_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
    ids=str,
)
def test_the_hash_covers_everything(change: dict[str, Any]) -> None:
    made = plan()
    changed = msgspec.structs.replace(made, **change)
    assert changed.computed_hash() != made.hash
    made.check()
    with pytest.raises(tt.InvalidPlan, match="changed after it was made; nothing was done"):
        changed.check()


def test_edits_that_are_changed_in_place_are_found_out() -> None:
    made = plan(planned(edits={"set": {"kwargs.to": "b"}}))
    made.messages[0].edits["set"]["kwargs.to"] = "somebody else"
    with pytest.raises(tt.InvalidPlan, match="changed"):
        made.check()


def test_the_same_contents_have_the_same_hash() -> None:
    assert plan(EDITED, SKIPPED) == plan(EDITED, SKIPPED)
    assert len(plan().hash) == 20


def test_what_is_skipped_counts_for_nothing() -> None:
    made = plan(planned(), EDITED, SKIPPED, planned(3, to="elsewhere"), rate=2.0)
    assert len(made) == 3
    assert [message.key for message in made.chosen] == ["k0", "k1", "k3"]
    assert made.targets == {"emails": 2, "elsewhere": 1}
    assert made.skipped == {"it is no task": 1}
    assert (made.size, made.seconds) == (300, 1.5)
    assert plan().seconds is None


# --- in files ------------------------------------------------------------------------


def test_a_plan_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    made = plan(planned(), EDITED, SKIPPED, rate=0.1)
    made.save(tmp_path / "plan.json")
    assert tt.load_plan(tmp_path / "plan.json") == made
    assert tt.load_plan(str(tmp_path / "plan.json")).hash == made.hash


def test_warnings_of_a_plan_from_a_file_are_those_of_when_it_was_made(tmp_path: Path) -> None:
    """They speak of the present, and a worker may have come since."""
    made = plan(warnings=("nobody consumes 'emails' now",))
    made.save(tmp_path / "plan.json")
    assert "  warning: nobody consumes 'emails' now" in repr(made).splitlines()
    later = tt.load_plan(tmp_path / "plan.json")
    for shown in (repr(later), later._repr_html_().replace("&#x27;", "'")):
        assert "warning when it was made: nobody consumes 'emails' now" in shown
        assert "warning: " not in shown


@pytest.mark.parametrize("value", [20, 0.1, 10**30, -(2**63), 5e-324, None, ["é", {"a": 1.0}]])
def test_numbers_of_every_kind_come_back_with_the_same_hash(value: Any, tmp_path: Path) -> None:
    made = plan(planned(edits={"set": {"kwargs.n": value}}), rate=20)
    made.save(tmp_path / "plan.json")
    assert tt.load_plan(tmp_path / "plan.json") == made


def test_a_saved_plan_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch(mode=0o644)
    for file in (new, old):
        plan().save(file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"to":"emails"', '"to":"elsewhere"'),
        ('"rate":null', '"rate":9'),
        ('"key":"k0"', '"key":"k9"'),
        ("replay", "discard"),
    ],
)
def test_a_plan_that_was_changed_in_its_file_is_refused(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    plan().save(file)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(tt.InvalidPlan, match="nothing was done"):
        tt.load_plan(file)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"verb":"dance"}', "\ud83c", "no JSON"])
def test_what_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(tt.InvalidPlan, match="This is no plan"):
        tt.load_plan(file)


def test_a_plan_of_a_later_format_is_refused() -> None:
    with pytest.raises(tt.InvalidPlan, match="'tasktools plan 2', not 'tasktools plan 1'"):
        Plan.from_json(msgspec.structs.replace(plan(), format="tasktools plan 2").to_json())


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tt.load_plan(tmp_path / "nowhere")


# --- for people ----------------------------------------------------------------------


def test_a_plan_says_what_would_happen() -> None:
    made = plan(planned(), EDITED, SKIPPED, planned(3, to="elsewhere", size=2_000_000), rate=2.0)
    assert repr(made).splitlines() == [
        "<Plan: replay 3 messages of emails.dead to emails, elsewhere>",
        "  on memory://",
        "  2 MB of bodies, 1.5 s at 2 a second",
        "  to emails: 2, elsewhere: 1",
        "  edits kwargs.to of 1: 'a' → 'b'",
        "  skips 1: it is no task",
        f"  plan {made.hash}, made 2026-11-24 02:49:03 UTC; nothing has happened",
    ]


def test_a_discard_says_whether_the_messages_are_kept() -> None:
    assert "kept in /kept" in repr(plan(verb="discard", archive="/kept"))
    assert "NOT kept: they are gone for good" in repr(plan(planned(to=None), verb="discard"))


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (planned(), "replay 1 message of emails.dead to emails"),
        (SKIPPED, "replay 0 messages of emails.dead to nowhere"),
    ],
)
def test_a_title_is_in_good_english(message: Planned, title: str) -> None:
    assert plan(message).title == title


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (10**6, "1 MB"), (3 * 10**9, "3 GB")],
)
def test_sizes_are_said_in_units(size: int, words: str) -> None:
    assert f"{words} of bodies" in repr(plan(planned(size=size)))


def test_html_shows_markup_from_messages_as_text() -> None:
    evil = "<script>alert(1)</script>"
    change = Change("kwargs.to", evil, f"'{evil}'")
    message = planned(key=evil, task_name=evil, to=evil, changes=(change,))
    made = plan(message, planned(1, skipped=evil), source=evil, cluster=evil)
    html = made._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 7
    assert "<td>kwargs.to</td>" in html


def test_html_has_no_table_without_edits() -> None:
    assert "<table>" not in plan()._repr_html_()


def test_a_frame_has_a_row_for_each_message_and_edit() -> None:
    two = (Change("kwargs.to", "'a'", "'b'"), Change("kwargs.n", "1", "(not there)"))
    made = plan(planned(), planned(1, changes=two), SKIPPED)
    frame = made.frame()
    assert dict(frame.dtypes.astype(str)) == {c.name: DTYPES[c.kind] for c in PLANNED.columns}
    assert frame["key"].tolist() == ["k0", "k1", "k1", "k2"]
    assert frame["edit"].tolist() == [pd.NA, "kwargs.to", "kwargs.n", pd.NA]
    assert frame["after"].tolist()[1:3] == ["'b'", "(not there)"]
    assert frame["to"].tolist() == ["emails"] * 3 + [pd.NA]
    assert frame["skipped"].tolist() == [pd.NA] * 3 + ["it is no task"]
    assert frame.attrs["plan"] == made.hash
    assert frame.attrs["cluster"] == made.cluster
    assert "demo" not in frame.attrs


def test_a_plan_of_the_demo_is_marked_as_such_in_its_frame_too() -> None:
    """Issue 15: it had no DEMO, so that it was as good as one of production."""
    with tt.connect("demo://?incident=bad_deploy") as demo:
        eventually(lambda: demo.topics()["dead_letter"].sum() > 0)
        topics = demo.topics().sort_values("dead_letter", ascending=False)
        made = demo.plan_discard(demo.dead_letters(topics["topic"].iloc[0]), archive=None)
    frame: Any = made.frame()
    assert "DEMO" in frame._repr_html_()
    assert "demo://?incident=bad_deploy" in frame._repr_html_()


def test_edits_show_all_values_there_are_with_their_counts() -> None:
    """Issue 11, new user: `--set` showed one example of `before` where there are three values."""

    def edited(n: int, before: str, after: str = "'x'") -> Planned:
        return planned(n, changes=(Change("kwargs.to", before, after),))

    three = [edited(n, before) for n, before in enumerate(["'a'", "'a'", "'b'", "'c'"])]
    assert "  edits kwargs.to of 4: 'a' (2), 'b' (1), 'c' (1) → 'x'" in repr(plan(*three))
    many = [edited(n, f"'{n}'") for n in range(40)]
    assert "'4' (1) and 35 other values → 'x'" in repr(plan(*many))
    different = [edited(0, "'a'", "'x'"), edited(1, "'a'", "'x'"), edited(2, "'b'", "'y'")]
    assert "kwargs.to of 3: 'a' → 'x' (2), 'b' → 'y' (1)" in repr(plan(*different))
    assert "edits kwargs.to of 1: 'a' → 'x'" in repr(plan(edited(0, "'a'")))


@pytest.mark.parametrize(
    ("verb", "source", "kind"),
    [
        ("replay", "emails.dead", "queue"),
        ("discard", "emails.dead", "queue"),
        ("replay", "sqlite:////data/ops.db", "recording"),
        ("replay", "tasktools.tap.audit", "tap"),
        ("restore", "/data/emails.archive", "archive"),
        ("restore", "tasktools.tap", "archive"),
    ],
)
def test_a_plan_says_where_its_messages_lie(verb: str, source: str, kind: str) -> None:
    made = plan(verb=verb, source=source)
    assert made.source_kind == kind
    assert b"source_kind" not in made.to_json()
