"""Names on the broker, exactly as peers use them."""

from __future__ import annotations

import pytest

from tasktools.core import layout
from tasktools.core.errors import MalformedDSN
from tasktools.core.layout import FP, TASKWORKER, Layout


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (set(), FP),
        ({"fp.tasks"}, FP),
        ({"taskworker.tasks"}, TASKWORKER),
        ({"fp.tasks", "taskworker.tasks"}, FP),
        ({"something.else"}, FP),
    ],
)
def test_the_layout_is_chosen_by_the_exchanges_present(present: set[str], chosen: Layout) -> None:
    assert layout.choose(present) is chosen


@pytest.mark.parametrize("each", [FP, TASKWORKER])
def test_a_layout_is_found_by_its_name(each: Layout) -> None:
    assert layout.named(each.name) is each


def test_a_layout_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(MalformedDSN, match="fp"):
        layout.named("celery")


def test_the_names_of_the_plugin_are_those_on_the_wire() -> None:
    assert (FP.task_exchange, FP.worker_exchange) == ("fp.tasks", "fp.workers")
    assert (FP.dead_queue("emails"), FP.dead_key("emails")) == ("emails.dead", "dlx.emails")
    assert FP.queue_arguments("emails") == {
        "x-dead-letter-exchange": "fp.dlx",
        "x-dead-letter-routing-key": "dlx.emails",
    }


@pytest.mark.parametrize("queue", ["emails", "emails.dead", "emails.dead.dead", "dead"])
def test_a_dead_letter_queue_is_known_by_its_name(queue: str) -> None:
    assert FP.is_dead_queue(queue) == (queue not in ("emails", "dead"))
    assert FP.is_dead_queue(FP.dead_queue(queue))
    assert FP.topic_of(FP.dead_queue(queue)) == queue


def test_only_the_layout_of_the_plugin_has_peers_that_need_more() -> None:
    for layout_ in (FP, TASKWORKER):
        needs = layout_.requires_peer_form, layout_.requires_functions, layout_.has_lock_tokens
        assert needs == (layout_ is FP,) * 3


def test_the_names_of_the_document_are_those_on_the_wire() -> None:
    assert TASKWORKER.task_exchange == "taskworker.tasks"
    assert TASKWORKER.queue_arguments("emails") == {
        "x-dead-letter-exchange": "taskworker.dlx",
        "x-dead-letter-routing-key": "dlx.emails",
    }
