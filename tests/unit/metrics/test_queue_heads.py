"""The wait of the head of a queue, counted, against queues of which each message is known."""

from __future__ import annotations

import random
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.metrics.queue_heads import HeadWait, QueueHead, QueueHeads
from tests.unit.diagnosis import facts_factory as make


@pytest.mark.parametrize("seed", range(5))
def test_the_wait_of_a_busy_queue_is_right_to_the_time_between_two_looks(seed: int) -> None:
    chance = random.Random(seed)
    queue: deque[float] = deque()
    head, arrived, at, exact = QueueHead(), 0, 0.0, 0
    for look in range(400):
        head.see(at, len(queue), arrived)
        wait = head.wait()
        if wait is not None and wait.is_exact:
            truth = at - queue[0] if queue else 0.0
            assert wait.seconds == pytest.approx(truth, abs=5.0)
            exact += 1
        for _ in range(chance.randrange(12 if look % 100 < 50 else 4)):
            queue.append(at + chance.random() * 5)
            arrived += 1
        queue = deque(sorted(queue))
        for _ in range(min(len(queue), chance.randrange(9))):
            queue.popleft()
        at += 5
    assert exact > 350


def test_of_messages_that_were_there_before_it_is_a_lower_limit() -> None:
    head = QueueHead()
    head.see(0, 30, 100)
    assert head.wait() is None
    head.see(5, 29, 100)
    head.see(600, 29, 103)
    assert head.wait() == HeadWait(600, is_exact=False)
    head.see(605, 3, 103)
    wait = head.wait()
    assert wait is not None
    assert wait.is_exact
    assert wait.seconds == pytest.approx(605 - 5 - 595 / 3)


def test_a_queue_that_was_made_anew_is_followed_from_then_on() -> None:
    head = QueueHead()
    for at, queued, arrived in ((0, 0, 900), (5, 9, 909), (10, 2, 3)):
        head.see(at, queued, arrived)
    assert head.wait() is None
    head.see(15, 0, 3)
    head.see(20, 1, 4)
    assert head.wait() == HeadWait(0.0, is_exact=True)


def test_a_queue_that_stands_still_for_a_day_costs_no_memory_and_its_wait_grows() -> None:
    head = QueueHead()
    head.see(0, 0, 0)
    for at in range(5, 86_400, 5):
        head.see(at, 3, 3)
    assert len(head._steps) <= 3
    wait = head.wait()
    assert wait is not None
    assert (round(wait.seconds, -1), wait.is_exact) == (86_390, True)


def test_a_long_backlog_is_kept_coarser() -> None:
    head = QueueHead()
    head.see(0, 0, 0)
    for at in range(5, 50_000, 5):
        head.see(at, at, at)
    assert len(head._steps) <= 2_001
    wait = head.wait()
    assert wait is not None
    assert wait.seconds == pytest.approx(50_000, rel=0.01)


def looks(*topics: tuple[float, int, int], **fields: Any) -> list[float | None]:
    """Return the waits of `emails`, of which so many were queued and begun at each time."""
    heads = QueueHeads()
    shown = []
    for at, queued, begun in topics:
        entry = make.topic(queued=queued, queue=None, **fields)
        facts = replace(make.facts(entry), at=at)
        shown.append(heads.see(facts, {"emails": begun}).get("emails"))
    return shown


def test_begins_of_workers_tell_it_without_the_management_api() -> None:
    now = make.NOW
    waits = looks((now, 0, 0), (now + 5, 4, 1), (now + 10, 4, 3), (now + 15, 0, 7))
    assert waits[0] == 0
    assert waits[1] == pytest.approx(5, abs=5)
    assert waits[2] == pytest.approx(7, abs=3)
    assert waits[3] == 0


def test_a_message_that_is_fetched_and_not_begun_is_no_arrival_once_it_begins() -> None:
    now = make.NOW
    fetched = [(now, 0, 0), (now + 5, 4, 0), (now + 10, 3, 0), (now + 15, 3, 1), (now + 20, 3, 1)]
    waits = looks(*fetched)
    assert waits[-1] is not None
    assert all(later > earlier for earlier, later in pairwise(waits[2:]))  # type: ignore[operator]


def test_a_consumer_that_sends_no_events_leaves_it_unknown() -> None:
    now = make.NOW
    assert looks((now, 5, 0), (now + 60, 5, 0), consumers=2) == [None, None]


def test_the_broker_tells_the_last_minute_at_the_first_look() -> None:
    queue = make.queue(
        ready=6,
        ready_series=make.growing(0.1),
        published=make.growing(0.1, start=70),
    )
    entry = make.topic(queued=6, queue=queue)
    waits = QueueHeads().see(make.facts(entry), {})
    assert waits["emails"] == pytest.approx(50, abs=5)


def test_begins_that_were_missed_are_no_wait() -> None:
    heads = QueueHeads()
    now = make.NOW
    for at, queued, heard_since in ((now, 0, now), (now + 5, 3, now), (now + 900, 9, now + 890)):
        entry = make.topic(queued=queued, queue=None)
        facts = replace(make.facts(entry, heard_since=heard_since), at=at)
        waits = heads.see(facts, {"emails": 0})
    assert "emails" not in waits
