"""Locks of workers that are gone, lost tokens, long holds, and locks that are simply held."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tasktools.core.models import Lock, Orphan
from tasktools.diagnosis.facts import Facts
from tasktools.diagnosis.finding import Finding
from tasktools.diagnosis.rules import locks
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis import judging

RULES = {rule.check: rule for rule in locks.RULES}


def judged(check: str, facts: Facts) -> list[Any]:
    return list(RULES[check].judge(facts))


def finding(check: str, facts: Facts) -> Finding:
    return judging.only(RULES[check].judge, facts)


def why_unknown(check: str, facts: Facts) -> str:
    (why,) = judging.unknown(RULES[check].judge, facts)
    return why


def held(
    seconds: float = 30.0, *, orphaned: bool | None = False, lock: str = "nightly", **fields: Any
) -> Facts:
    """Return the facts of a cluster in which a worker has held a lock for so long."""
    each = Lock(
        lock=lock,
        task_id="t1",
        worker_id="worker-1",
        acquired_at=make.moment(seconds),
        orphaned=orphaned,
    )
    return make.facts(state={"locks": (each,)}, **fields)


@pytest.mark.parametrize("check", RULES)
def test_a_lock_that_is_held_is_no_finding(check: str) -> None:
    assert judged(check, make.facts()) == []
    assert judged(check, held(locks_of_peers={"nightly": (0, 0)})) == []


# --- lock_orphaned ----------------------------------------------------------------------


def test_a_lock_of_a_worker_that_is_gone_is_orphaned() -> None:
    gone = [make.worker(silence=31)]
    orphaned = finding("lock_orphaned", held(60, orphaned=True, workers=gone))
    assert orphaned.severity == "warning"
    assert orphaned.subject == "nightly"
    assert "which is gone: silent for 31 s" in orphaned.finding
    assert orphaned.since == make.NOW - 31
    assert orphaned.workers == ("worker-1",)
    assert finding("lock_orphaned", make.amqp_only(held(60, orphaned=True))).needs_second_look


def test_it_concerns_the_topic_of_the_task_that_took_it() -> None:
    """Peers publish a task again and again that wants the lock: a loop, which is its symptom."""
    orphan = Orphan(task=make.running("t1"), silent_since=make.NOW - 31)
    facts = held(60, orphaned=True, orphans=(orphan,))
    assert finding("lock_orphaned", facts).topics == ("emails",)


def test_the_locks_of_a_worker_are_one_row() -> None:
    facts = held(60, orphaned=True)
    more = (
        *facts.state.locks,
        *(replace(facts.state.locks[0], lock=f"l{number}") for number in range(3)),
    )
    facts = replace(facts, state=replace(facts.state, locks=more))
    orphaned = finding("lock_orphaned", facts)
    assert orphaned.evidence["count"] == 4
    assert "and 3 more" in orphaned.finding


def test_a_silent_worker_of_ours_without_its_connection_is_gone() -> None:
    silent = [make.worker(silence=5, is_tasktools=True)]
    cut_off = held(workers=silent)
    assert finding("lock_orphaned", cut_off).subject == "nightly"
    there = make.connection(client="tasktools worker host-1:4711")
    alive = held(workers=silent, server=make.server([make.topic()], connections=(there,)))
    assert judged("lock_orphaned", alive) == []
    assert judged("lock_orphaned", held(workers=[make.worker(silence=5)])) == []


@pytest.mark.parametrize("check", ["lock_orphaned", "lock_held_long"])
def test_without_events_nobody_is_known_to_hold_a_lock(check: str) -> None:
    assert "cannot be bound" in why_unknown(check, make.deaf(make.amqp_only(make.facts())))
    taken = make.deaf(make.facts(locks_of_peers={"nightly": (0, 1)}))
    assert "cannot be bound" in why_unknown(check, taken)
    free = make.deaf(make.facts(locks_of_peers={"nightly": (1, 0)}))
    assert judged(check, free) == []


# --- lock_token_lost --------------------------------------------------------------------


def test_a_token_that_is_nowhere_is_lost() -> None:
    nowhere = {"nightly": (0, 0)}
    unannounced = finding("lock_token_lost", make.facts(locks_of_peers=nowhere))
    assert unannounced.severity == "warning"
    assert "nobody took it within the 15 min" in unannounced.finding
    gone = finding("lock_token_lost", held(20, orphaned=True, locks_of_peers=nowhere))
    assert gone.severity == "warning"
    assert gone.evidence["holder"] == "worker-1"
    long_ago = finding("lock_token_lost", held(331, locks_of_peers=nowhere))
    assert "it was taken 5 min 31 s ago" in long_ago.finding


def test_a_process_that_has_just_connected_suspects_it() -> None:
    cold = make.cold(make.facts(locks_of_peers={"nightly": (0, 0)}))
    assert finding("lock_token_lost", cold).severity == "suspect"


@pytest.mark.parametrize("token", [(1, 0), (0, 1), (None, None)])
def test_a_token_that_is_there_or_not_known_is_not_lost(
    token: tuple[int | None, int | None],
) -> None:
    assert judged("lock_token_lost", make.facts(locks_of_peers={"nightly": token})) == []


def test_over_amqp_alone_tokens_are_not_known() -> None:
    assert make.NO_TAG in why_unknown("lock_token_lost", make.amqp_only(held(10)))
    assert judged("lock_token_lost", make.amqp_only(make.facts())) == []


# --- lock_held_long ---------------------------------------------------------------------


def test_a_lock_that_is_held_ten_times_as_long_as_usual() -> None:
    usual = {"nightly": (40.0, 60.0, 20.0, 40.0, 45.0)}
    held_long = finding("lock_held_long", held(401, lock_holds=usual))
    assert held_long.severity == "warning"
    assert "for 6 min 41 s; usually it is held for 40 s" in held_long.finding
    assert held_long.since == make.NOW - 1
    assert judged("lock_held_long", held(399, lock_holds=usual)) == []
    short = {"nightly": (1.0,) * 5}
    assert judged("lock_held_long", held(299, lock_holds=short)) == []
    assert judged("lock_held_long", held(401, orphaned=True, lock_holds=usual)) == []


def test_how_long_it_is_usually_held_takes_some_holds() -> None:
    assert "4 holds" in why_unknown("lock_held_long", held(301, lock_holds={"nightly": (1.0,) * 4}))
