"""The rules of the dead-letter widget, without a widget, a broker or a thread."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from traitlets import TraitError

from tasktools.core.clock import ManualClock
from tasktools.core.frames import schemas
from tasktools.core.frames.build import frame_from
from tasktools.core.models import Properties, SeenMessage, TaskMessage
from tasktools.core.peek_verdict import Cost, Verdict
from tasktools.core.plans import Plan
from tasktools.core.plans import Planned as PlannedMessage
from tasktools.replay.ramp import Ramp
from tasktools.widgets.dead_letters import DeadLettersState
from tasktools.widgets.dead_letters.browse_state import COLUMNS
from tasktools.widgets.dead_letters.plan_state import NO_REASON, READ_ONLY, STALE
from tasktools.widgets.dead_letters.requests import (
    LookOrder,
    LookResult,
    MessageOrder,
    PlanOrder,
    PlanResult,
    RunOrder,
    RunResult,
    TopicCount,
    TopicVerdict,
    WholeMessage,
)
from tasktools.widgets.dead_letters.state import label_of
from tasktools.widgets.table import Sort

QUEUE = "emails.dead"
CLOCK = ManualClock()
DIED = datetime.fromtimestamp(CLOCK.time(), UTC)
HARMLESS = Verdict(queue=QUEUE, cost=Cost.HARMLESS, why="only marks the messages redelivered")
ERRORS = (("Timeout", "smtp did not answer"), ("KeyError", "'customer'"), (None, None))


def letters(count: int, **columns: Any) -> pd.DataFrame:
    """Return *count* dead letters with the keys k0, k1 …; every third failed with a Timeout."""
    rows = []
    for n in range(count):
        error_type, error = ERRORS[n % 3]
        values = {
            "key": f"k{n}",
            "queue": QUEUE,
            "position": n,
            "task_id": f"t{n}",
            "task_name": "send",
            "topic": "emails",
            "reason": "failed",
            "deaths": 1,
            "last_death": DIED - timedelta(minutes=n),
            "error_type": error_type,
            "error": error,
            "fingerprint": f"{error_type}: {error}" if error_type else "failed in emails",
            "args": [],
            "kwargs": {"to": f"user{n}@example.com"},
            "size": 100,
        }
        values |= columns
        rows.append([values.get(name) for name in schemas.DEAD_LETTERS.names])
    return frame_from(schemas.DEAD_LETTERS, rows)


def at(topic: str = "emails", **options: Any) -> DeadLettersState:
    """Return a state that may look at *topic*."""
    state = DeadLettersState(topic=topic, clock=CLOCK, **options)
    state.judged = TopicVerdict(topic, HARMLESS)
    return state


def looked_state(count: int = 6, **options: Any) -> DeadLettersState:
    """Return a state that has looked at *count* dead letters."""
    state = at(**options)
    look(state, letters(count))
    return state


def look(state: DeadLettersState, frame: pd.DataFrame) -> None:
    """Answer an order to look."""
    state.busy = ""
    state.looked = LookResult("emails", QUEUE, frame)


def plan_of(state: DeadLettersState) -> Plan:
    """Answer an order to plan."""
    order = state.order
    assert isinstance(order, PlanOrder)
    verb: Any = order.wanted.verb
    to = "emails" if verb == "replay" else None
    plan = Plan.make(
        verb=verb,
        cluster="memory://",
        source=QUEUE,
        messages=tuple(PlannedMessage(key=key, to=to) for key in order.rows["key"]),
        made_at=DIED,
        archive=order.wanted.archive,
    )
    state.busy, state.planned = "", PlanResult(order.wanted, plan)
    return plan


def planned(count: int = 6, **options: Any) -> DeadLettersState:
    """Return a state with a plan for its first two dead letters that may be run."""
    state = looked_state(count, **options)
    state.table.select(["k0", "k1"])
    assert state.make_plan()
    plan_of(state)
    state.reason = "INC-1"
    return state


def outcome(*ends: str, ended: str = "finished", twice: int = 0) -> pd.DataFrame:
    rows = [
        (f"k{n}", f"t{n}", "send", "emails", end, n < twice, None) for n, end in enumerate(ends)
    ]
    frame = frame_from(schemas.OUTCOME, rows)
    frame.attrs.update(run=3, ended=ended, notes=[])
    return frame


# --- where to look -------------------------------------------------------------------


def test_topics_with_most_dead_letters_come_first_and_the_first_is_chosen() -> None:
    state = DeadLettersState()
    assert state.look_blockers == ("Choose a topic.",)
    state.topics = (TopicCount("a", 0), TopicCount("b", 17), TopicCount("c", None))
    assert state.choices == (
        ("b  ·  17 dead", "b"),
        ("a  ·  none dead", "a"),
        ("c  ·  ? dead", "c"),
    )
    assert state.topic == "b"
    state.topics = (TopicCount("a", 99), TopicCount("b", 17))
    assert state.topic == "b"


def test_a_topic_that_nobody_knows_can_be_looked_at_all_the_same() -> None:
    state = at("mine")
    state.topics = (TopicCount("a", 1),)
    assert state.choices[0] == ("mine  ·  ? dead", "mine")
    assert state.can_look


def test_what_a_look_costs_is_said_before_it() -> None:
    state = DeadLettersState(topic="emails")
    assert state.look_blockers == ("Finding out what a look would cost …",)
    state.judged = TopicVerdict("orders", HARMLESS)
    assert not state.can_look
    state.judged = TopicVerdict("emails", HARMLESS)
    assert state.cost == "A look is harmless: it only marks the messages redelivered."
    assert state.can_look
    assert state.order is None


def test_a_look_that_is_ordered_before_its_cost_is_known_follows_if_it_is_harmless() -> None:
    """Issue 15: such a click did nothing, and said nothing."""
    state = DeadLettersState(topic="emails")
    assert state.takes_look
    assert not state.look()
    assert not state.takes_look
    assert state.look_blockers == ("Finding out what a look would cost … A harmless look follows.",)
    state.judged = TopicVerdict("orders", HARMLESS)
    assert state.order is None
    state.judged = TopicVerdict("emails", HARMLESS)
    assert isinstance(state.order, LookOrder)
    assert state.order.topic == "emails"
    assert state.look_blockers == ("Looking at the dead letters of emails …",)


def test_a_look_that_costs_something_is_not_done_before_that_was_said() -> None:
    state = DeadLettersState(topic="emails")
    assert not state.look()
    reorders = Verdict(queue=QUEUE, cost=Cost.REORDERS, why="a consumer is active")
    state.judged = TopicVerdict("emails", reorders)
    assert state.order is None
    assert "a consumer is active" in state.cost
    assert "Nothing was looked at" in state.look_refusal
    assert "press Look again" in state.look_refusal
    assert state.look()
    assert state.look_refusal == ""


def test_a_look_that_was_ordered_early_is_forgotten_with_its_topic() -> None:
    state = DeadLettersState(topic="emails")
    assert not state.look()
    state.topic = "orders"
    assert state.look_blockers == ("Finding out what a look would cost …",)
    state.topic = "emails"
    state.judged = TopicVerdict("emails", HARMLESS)
    assert state.order is None
    assert state.can_look


def test_what_was_refused_of_a_topic_is_not_said_of_another() -> None:
    state = at()
    state.look_refusal = "Looking at 'emails.dead' was refused."
    state.topic = "orders"
    assert state.look_refusal == ""


def test_a_look_that_would_be_refused_says_so_with_the_remedy() -> None:
    state = at()
    why, remedy = "the first look can delete a message", "lift the limit: set_policy …"
    verdict = Verdict(queue=QUEUE, cost=Cost.COULD_DROP, why=why, remedy=remedy)
    state.judged = TopicVerdict("emails", verdict)
    (blocker,) = state.look_blockers
    assert why in blocker
    assert remedy in blocker
    assert not state.look()
    assert state.order is None


def test_a_read_only_cluster_is_looked_at_where_that_is_harmless() -> None:
    state = at(read_only=True)
    assert state.can_look
    reorders = Verdict(queue=QUEUE, cost=Cost.REORDERS, why="a consumer is active")
    state.judged = TopicVerdict("emails", reorders)
    assert "read_only" in state.look_blockers[0]


def test_one_order_is_done_at_a_time() -> None:
    state = at()
    assert state.look()
    assert isinstance(state.order, LookOrder)
    assert state.look_blockers == ("Looking at the dead letters of emails …",)
    assert not state.look()


# --- what was found ------------------------------------------------------------------


def test_groups_are_the_largest_first_and_a_click_shows_one_alone() -> None:
    state = looked_state(7)
    assert [(line.title, line.count) for line in state.groups.lines] == [
        ("Timeout: smtp did not answer", "3"),
        ("KeyError: 'customer'", "2"),
        ("failed in emails", "2"),
    ]
    state.choose("KeyError: 'customer'")
    state.table.select_all()
    assert state.table.selected == ("k1", "k4")
    state.choose("KeyError: 'customer'")
    assert state.table.shown == 7
    assert state.chosen == "2 messages selected"


def test_what_is_missing_is_a_group_as_well() -> None:
    state = looked_state(7)
    state.group_by = "error_type"
    assert [line.title for line in state.groups.lines] == [
        "Timeout",
        "KeyError",
        "failed in emails",
    ]
    state.choose("failed in emails")
    state.table.select_all()
    assert state.table.selected == ("k2", "k5")


def test_a_path_into_arguments_or_headers_groups_where_some_have_a_value_in_common() -> None:
    frame: Any = letters(6)
    frame["kwargs"] = [{"customer": {"id": n % 2}, "to": f"{n}@b"} for n in range(6)]
    frame["headers"] = [{"tenant": "acme" if n < 4 else "other", "lang": "py"} for n in range(6)]
    state = looked_state(6)
    look(state, frame)
    offered = [name for _, name in state.group_choices if "." in name]
    assert offered == ["kwargs.customer.id", "headers.tenant"]
    state.group_by = "kwargs.customer.id"
    assert [(line.title, line.count) for line in state.groups.lines] == [("0", "3"), ("1", "3")]
    state.choose("1")
    state.table.select_all()
    assert state.table.selected == ("k1", "k3", "k5")
    with pytest.raises(TraitError, match="not by 'kwargs'"):
        state.group_by = "kwargs"


def test_another_grouping_forgets_the_group() -> None:
    state = looked_state()
    state.choose("KeyError: 'customer'")
    state.group_by = "task_name"
    assert state.group is None
    assert state.table.shown == 6


def test_another_look_keeps_filter_sort_group_and_selection() -> None:
    state = looked_state(9)
    state.choose("Timeout: smtp did not answer")
    state.table.filter, state.table.sort = "example", Sort("last_death")
    state.table.select(["k0", "k3"])
    look(state, letters(9).iloc[1:])
    assert (state.table.filter, state.table.sort) == ("example", Sort("last_death"))
    assert state.group is not None
    assert state.table.shown == 2
    assert state.table.selected == ("k3",)


def test_a_group_that_is_no_more_is_no_longer_chosen() -> None:
    state = looked_state()
    state.choose("KeyError: 'customer'")
    look(state, letters(6).iloc[[0, 3]])
    assert state.group is None
    assert state.table.shown == 2


def test_an_empty_queue_says_so() -> None:
    state = looked_state(0)
    assert state.words == "emails.dead is empty."
    assert state.has_looked
    assert state.plan_blockers == ("Select messages in the table.",)


# --- one of them in full -------------------------------------------------------------


def whole(key: str) -> SeenMessage:
    return SeenMessage(
        key=key,
        position=0,
        task=TaskMessage(dialect="fastpluggy"),
        properties=Properties(),
        deaths=(),
        redelivered=False,
        size=1,
    )


def test_the_row_that_is_looked_at_is_shown_and_the_rest_is_fetched_when_asked_for() -> None:
    state = looked_state()
    assert state.detail is None
    assert not state.show_whole()
    state.table.open("k2")
    assert state.detail is not None
    assert state.detail.row["task_id"] == "t2"
    assert state.show_whole()
    order = state.order
    assert isinstance(order, MessageOrder)
    assert (order.queue, order.key) == (QUEUE, "k2")
    state.busy, state.whole = "", WholeMessage("k2", whole("k2"))
    assert state.detail.whole is state.whole
    assert not state.can_show_whole
    state.table.open("k3")
    assert state.detail.whole is None
    assert state.can_show_whole


def test_an_answer_that_comes_late_is_not_shown_at_another_row() -> None:
    state = looked_state()
    state.table.open("k2")
    state.show_whole()
    state.table.open("k3")
    state.busy, state.whole = "", WholeMessage("k2", whole("k2"))
    assert state.detail is not None
    assert state.detail.whole is None


def test_a_refusal_to_fetch_is_shown_at_its_row_only() -> None:
    state = looked_state()
    state.table.open("k2")
    state.message_refusal = "Looking was refused."
    assert state.detail is not None
    assert state.detail.refusal == "Looking was refused."
    state.table.open("k3")
    assert state.detail.refusal == ""


# --- the plan ------------------------------------------------------------------------


def test_a_plan_is_ordered_for_exactly_the_selected_rows() -> None:
    state = looked_state()
    assert state.chosen == "Nothing is selected."
    assert not state.make_plan()
    state.table.select(["k4", "k1"])
    state.table.filter = "user4"
    assert state.chosen == "2 messages selected, 1 of them not shown by the filter"
    assert state.make_plan()
    order = state.order
    assert isinstance(order, PlanOrder)
    assert order.rows["key"].tolist() == ["k1", "k4"]
    assert order.edits == {}


def test_edits_are_read_as_json_or_as_text_and_say_as_what() -> None:
    state = looked_state()
    state.table.select(["k1"])
    assert state.paths == ("kwargs.to",)
    for path, value in (
        ("kwargs.to", "ann@shop.example"),
        ("kwargs.n", "7"),
        ("kwargs.s", '"7"'),
        ("kwargs.l", "[1]"),
        ("kwargs.e", ""),
        ("kwargs.f", "true"),
        ("kwargs.x", "NaN"),
    ):
        state.add_edit(path, value)
    state.add_edit("kwargs.gone")
    state.change_edit(7, remove=True)
    assert state.kinds == (
        *("text", "number", "text", "list", "empty text", "true or false", "text"),
        "is taken out",
    )
    assert state.make_plan()
    order = state.order
    assert isinstance(order, PlanOrder)
    assert list(order.edits.values())[:-1] == [
        *("ann@shop.example", 7, "7", [1], "", True, "NaN"),
    ]
    assert repr(order.edits["kwargs.gone"]) == "(removed)"


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([("kwargs.password", "•••")], "it holds •••, which stands for a secret"),
        ([("password", "x")], "'password' is no path of a task."),
        ([("kwargs.a", "1"), ("kwargs.a", "2")], "kwargs.a is edited twice."),
        ([("kwargs.a", "1"), ("kwargs.a.b", "2")], "Edits of kwargs.a and kwargs.a.b overlap"),
        ([("", "1")], "An edit has no path; name one, like kwargs.to."),
        ([("attempts", "-1")], "attempts cannot be negative"),
    ],
)
def test_an_edit_that_is_none_says_why(edits: list[tuple[str, str]], reason: str) -> None:
    state = looked_state()
    state.table.select(["k1"])
    for path, value in edits:
        state.add_edit(path, value)
    (blocker,) = state.plan_blockers
    assert reason in blocker
    assert "nothing was done" not in blocker
    assert not state.make_plan()
    for _ in edits:
        state.drop_edit(0)
    assert state.can_plan


def test_a_rate_that_is_none_says_so() -> None:
    state = looked_state()
    state.table.select(["k1"])
    for rate in ("fast", "0", "-1", "inf", "nan"):
        state.rate = rate
        assert state.plan_blockers == (f"The rate is {rate!r}, not a number of messages a second.",)
    state.rate = " 20 "
    assert state.make_plan()
    assert isinstance(state.order, PlanOrder)
    assert state.order.wanted.rate == 20


def test_discarding_keeps_them_in_a_file_unless_its_name_is_emptied() -> None:
    state = looked_state()
    state.table.select(["k1"])
    state.verb = "discard"
    assert state.archive == "emails.dead-20270115-080000.archive"
    assert state.make_plan()
    assert label_of(plan_of(state)) == "Discard 1 message"
    state.archive = ""
    assert state.is_stale
    assert state.make_plan()
    assert label_of(plan_of(state)) == "Discard 1 message for good"


def test_the_name_of_the_file_that_was_entered_stays() -> None:
    state = looked_state()
    state.archive = "mine"
    look(state, letters(3))
    assert state.archive == "mine"


def test_a_plan_says_what_keeps_it_from_being_run() -> None:
    state = looked_state()
    assert state.blockers == ("Make a plan first.", NO_REASON)
    state = planned()
    assert state.blockers == ()
    assert state.label == "Replay 2 messages to emails"


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.table.toggle("k5"),
        lambda state: state.add_edit("kwargs.n", "1"),
        lambda state: setattr(state, "to", "elsewhere"),
        lambda state: setattr(state, "rate", "7"),
        lambda state: setattr(state, "verb", "discard"),
        lambda state: look(state, letters(6).iloc[1:]),
    ],
    ids=["selection", "edits", "target", "rate", "verb", "gone"],
)
def test_what_changes_after_the_plan_makes_it_stale(change: Any) -> None:
    state = planned()
    assert state.run()
    change(state)
    assert state.blockers == (STALE,)
    assert not state.armed
    assert not state.confirm()


def test_what_is_as_it_was_when_the_plan_was_made_is_not_stale() -> None:
    state = planned()
    state.table.toggle("k5")
    state.table.toggle("k5")
    state.add_edit()
    state.to = " "
    look(state, letters(7))
    assert state.can_run


def test_an_edit_from_1_to_true_makes_the_plan_stale() -> None:
    state = looked_state()
    state.table.select(["k0"])
    state.add_edit("kwargs.n", "1")
    state.make_plan()
    plan_of(state)
    assert not state.is_stale
    state.change_edit(0, value="true")
    assert state.is_stale


def test_a_plan_that_skips_everything_cannot_be_run() -> None:
    state = planned()
    assert state.planned is not None
    skipped = PlannedMessage(key="k0", skipped="it is no task")
    plan = Plan.make(
        verb="replay", cluster="memory://", source=QUEUE, messages=(skipped,), made_at=DIED
    )
    state.planned = PlanResult(state.planned.wanted, plan)
    assert state.blockers == ("The plan skips every message; it says why.",)


# --- the run -------------------------------------------------------------------------


def test_a_run_needs_a_second_click() -> None:
    state = planned()
    assert not state.confirm()
    assert state.run()
    assert state.armed
    state.decline()
    assert not state.confirm()
    state.run()
    assert state.confirm()
    order = state.order
    assert isinstance(order, RunOrder)
    assert (len(order.plan), order.reason, order.ramp) == (2, "INC-1", None)
    assert (state.running, state.progress) == (True, "0 of 2")
    assert not state.can_run


def test_a_reason_is_asked_for() -> None:
    state = planned()
    state.run()
    state.reason = "  "
    assert state.blockers == (NO_REASON,)
    assert not state.armed


def test_a_read_only_cluster_says_why_nothing_can_be_run() -> None:
    state = planned(read_only=True)
    assert state.blockers == (READ_ONLY,)
    assert not state.run()


def test_a_ramp_has_a_limit_in_per_cent() -> None:
    state = planned()
    state.ramps = True
    state.limit = "25"
    assert state.ramp == Ramp(limit=0.25)
    for limit in ("much", "100", "-1", ""):
        state.limit = limit
        assert "not a number of per cent" in state.blockers[0]
    state.ramps = False
    assert state.can_run


def test_a_discard_has_no_ramp() -> None:
    state = looked_state()
    state.verb, state.ramps = "discard", True
    assert state.ramp is None


def test_cancelling_sets_what_the_run_watches() -> None:
    state = planned()
    state.cancel()
    state.run()
    state.confirm()
    order = state.order
    assert isinstance(order, RunOrder)
    assert not order.cancelled.is_set()
    state.settled = 1
    state.cancel()
    assert order.cancelled.is_set()
    assert state.progress == "1 of 2 · ending …"


def run_to(state: DeadLettersState, frame: pd.DataFrame | None) -> None:
    """Run the plan, and answer that it ended with *frame*."""
    state.run()
    state.confirm()
    assert state.plan is not None
    state.busy, state.ended = "", RunResult(state.plan, frame)


def test_the_outcome_is_told_in_words_and_the_queue_is_looked_at_again() -> None:
    state = planned()
    state.add_edit()
    run_to(state, outcome("replayed", "replayed", "gone", "returned", twice=1))
    assert state.summary == (
        "Run 3: 2 replayed, 1 gone, 1 returned (1 may have arrived twice). "
        "In the ledger: cluster.ledger(3)."
    )
    assert isinstance(state.order, LookOrder)
    assert (state.running, state.plan, state.reason, state.edits) == (False, None, "", ())


@pytest.mark.parametrize(
    ("ended", "ending"),
    [
        ("cancelled", "Run 3 was cancelled: 1 replayed, 1 not sent."),
        ("stopped", "Run 3 was stopped by its ramp: 1 replayed, 1 not sent."),
        ("failed", "Run 3 broke off: 1 replayed, 1 not sent."),
    ],
)
def test_a_run_that_ended_early_says_how(ended: str, ending: str) -> None:
    state = planned()
    run_to(state, outcome("replayed", "not sent", ended=ended))
    assert state.summary.startswith(ending)


def test_the_queue_that_was_looked_at_is_looked_at_again_whatever_topic_is_chosen_by_then() -> None:
    state = planned()
    state.run()
    state.confirm()
    state.topic = "orders"
    assert state.plan is not None
    state.busy, state.ended = "", RunResult(state.plan, outcome("replayed"))
    assert isinstance(state.order, LookOrder)
    assert state.order.topic == "emails"


def test_where_tasks_go_is_not_carried_over_to_another_topic_or_plan() -> None:
    """A new user's next plan went to the queue of the plan before."""
    state = planned()
    state.to = "images"
    state.add_edit("kwargs.to", "a@b")
    state.topic = "orders"
    assert (state.to, state.edits) == ("", ())
    state = planned()
    state.to = "images"
    assert state.make_plan()
    plan_of(state)
    state.run()
    assert state.confirm()
    assert state.plan is not None
    state.busy, state.ended = "", RunResult(state.plan, outcome("replayed", "replayed"))
    assert state.to == ""


def test_a_run_that_was_refused_keeps_its_plan() -> None:
    state = planned()
    run_to(state, None)
    look(state, letters(6))
    assert state.plan is not None
    assert state.can_run
    assert state.summary == ""


def test_what_became_of_the_replayed_tasks_is_told_in_words() -> None:
    state = planned()
    state.fates = {"queued": 2, "running": 12, "failed": 3}
    assert state.followed == "2 waiting, 12 running, 3 failed again"


# --- very many -----------------------------------------------------------------------


def test_of_100_000_exactly_the_selected_rows_are_planned_after_filter_sort_and_scroll() -> None:
    state, frame = at(), many(100_000)
    began = time.process_time()
    look(state, frame)
    first = state.table.page(0, 40)
    shown = time.process_time() - began
    assert len(first.rows) == 40
    state.choose("Timeout: smtp did not answer")
    state.table.sort_by("error")
    began = time.process_time()
    state.table.select_all()
    selected = time.process_time() - began
    assert max(shown, selected) < 1.0
    expected = set(frame.loc[frame["error_type"] == "Timeout", "key"])

    dice = random.Random(4)
    for _ in range(20):  # single ones, wherever they are after scrolling, and hidden ones too
        state.choose(dice.choice(state.groups.lines).name)
        first_row = dice.randrange(state.table.shown)
        page = state.table.page(first_row, first_row + 20)
        row = dice.choice(page.rows)
        state.table.toggle(row.key)
        expected ^= {row.key}
        state.table.filter = dice.choice(("", "user7", "send user9"))
    assert state.make_plan()
    order = state.order
    assert isinstance(order, PlanOrder)
    assert set(order.wanted.keys) == set(order.rows["key"]) == expected
    assert order.rows["key"].is_unique


def many(count: int) -> pd.DataFrame:
    """Return *count* dead letters, every fourth a Timeout, quicker than `letters` does."""
    few = letters(12)
    errors = [*ERRORS, ("ValueError", "amount")]
    frame = pd.concat([few] * (count // 12 + 1), ignore_index=True).head(count)
    errors_of_rows = [errors[n % 4] for n in range(count)]
    return frame.assign(
        key=pd.array([f"k{n}" for n in range(count)], dtype="string"),
        error_type=pd.array([name for name, _ in errors_of_rows], dtype="string"),
        error=pd.array([text for _, text in errors_of_rows], dtype="string"),
        fingerprint=pd.array([f"{name}: {text}" for name, text in errors_of_rows], dtype="string"),
        kwargs=pd.Series([{"to": f"user{n}@example.com"} for n in range(count)], dtype=object),
    )


def test_the_columns_that_are_seen_have_room_beside_each_other_at_1280_px() -> None:
    """JupyterLab leaves 1110 px, of which the boxes take 32 and a scrollbar 15."""
    unseen = DeadLettersState().table.unseen
    seen = [column for column in COLUMNS if not column.under and column.name not in unseen]
    assert sum(column.width for column in seen) + 32 + 15 <= 1110
    assert {"error", "size", "problem"} < {column.name for column in seen}
