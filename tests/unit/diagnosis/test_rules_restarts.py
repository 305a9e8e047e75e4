"""Workers that are started again and again."""

from __future__ import annotations

import pytest

from tasktools.diagnosis.facts import Facts, Presence
from tasktools.diagnosis.rules.restarts import restart_loop, restarts_often
from tests.unit.diagnosis import facts_factory as make
from tests.unit.diagnosis.judging import only, says_nothing, unknown


def life(
    began: float,
    ended: float | None = None,
    *,
    goodbye: bool = False,
    host: str = "host-1",
    started: float | None = None,
) -> Presence:
    """Return a worker that began and ended so many seconds ago."""
    last = make.NOW - (1.0 if ended is None else ended)
    return Presence(
        worker_id=f"worker-{began:g}",
        host=host,
        role="worker",
        topics=("emails",),
        started_at=make.NOW - (began if started is None else started),
        first_beat=make.NOW - began,
        last_beat=last,
        stopped_at=last if goodbye else None,
    )


def with_lives(*lives: Presence) -> Facts:
    """Return facts with these workers."""
    return make.facts(presence=lives)


def test_workers_that_die_soon_after_each_start_are_found() -> None:
    facts = with_lives(life(28, 22), life(18, 12), life(6))
    finding = only(restart_loop, facts)
    assert (finding.severity, finding.subject) == ("critical", "host-1: emails")
    assert finding.topics == ("emails",)
    assert finding.workers == ("worker-18", "worker-28", "worker-6")
    assert finding.finding == (
        "Workers of emails start again and again on host-1: 3 in 28 s, of which 2 fell silent "
        "within 6 s."
    )
    assert finding.since == make.NOW - 28
    assert says_nothing(restarts_often, facts)


def test_a_loop_whose_last_worker_lives_has_ended() -> None:
    finding = only(restart_loop, with_lives(life(98, 92), life(88, 82), life(76)))
    assert finding.severity == "suspect"
    assert finding.against["the newest worker"] == "lives for longer"


def test_workers_that_say_goodbye_each_time_are_suspected() -> None:
    facts = with_lives(*(life(ago, ago - 8, goodbye=True) for ago in (60, 40, 20)))
    finding = only(restarts_often, facts)
    assert finding.severity == "suspect"
    assert "3 said goodbye" in finding.finding
    assert says_nothing(restart_loop, facts)


@pytest.mark.parametrize(
    "lives",
    [
        [life(3000)],
        [life(170, 40), life(130, 20), life(90)],
        [life(28, 22), life(18, 12)],
        [life(28, 22, host="a"), life(18, 12, host="b"), life(8, 5, host="c")],
        [life(28, 22), life(18), life(8)],
        [life(400, 390), life(300, 290), life(200, 190)],
        [life(20, 15, started=600), life(19, 12, started=600), life(8)],
    ],
    ids=[
        "healthy",
        "a rolling deploy",
        "two",
        "other hosts",
        "a scale-up",
        "long ago",
        "first heard shortly before a deploy",
    ],
)
def test_no_restarts(lives: list[Presence]) -> None:
    assert says_nothing(restart_loop, with_lives(*lives))
    assert says_nothing(restarts_often, with_lives(*lives))


def test_restarts_cannot_be_told_by_who_has_just_connected() -> None:
    for judge in (restart_loop, restarts_often):
        assert unknown(judge, make.cold(make.facts())) == [
            "which workers come and go: events are received for 0 s only"
        ]
        assert unknown(judge, make.deaf(make.facts())) == [
            "which workers come and go: the exchange of events cannot be bound"
        ]
